"""Tells people when a model becomes worse than its constraints, and when it recovers, through Airflow's own notifiers."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow_mq_provider.airflow_internals import latest_asset_events, notified, of_airflow
from airflow_mq_provider.exceptions import ModelQualityError

if TYPE_CHECKING:
    from airflow.sdk import BaseNotifier, Context

    from airflow_mq_provider.publish.alerts import Alert
else:
    BaseNotifier = of_airflow("BaseNotifier")

HISTORY = 1000
"""How many of the monitor's latest asset events are looked at for the windows before."""


class ModelQualityNotifier(BaseNotifier):
    """Sends a message through other notifiers when the quality of a model turns, and not again every hour.

    Give it to ``model_quality_dag(..., notify=...)``, which makes it a task of its own: seen, and tried again where a message
    cannot be sent. It also works as ``on_success_callback`` of a `QualityAnalysisOperator`; a callback that fails is only
    logged by Airflow.

    Which windows came before, and how they were judged, is read from the events of the monitor's asset. Only the newest window
    is told of, never a backfill nor a window given by hand.

    Args:
        send: What carries the message, one or several. A notifier's templates see it as ``alert``, as in
            ``SnsNotifier(target_arn=..., subject="{{ alert.subject }}", message="{{ alert.plain }}")``; or a function that takes
            the `Alert` and returns a notifier, for what is no text, as the ``blocks`` of a chat.
        repeat: ``first`` tells when an alarm begins and when it ends; ``every`` also of each bad window in between.
        datapoints_to_alert: An alarm begins with so many bad windows …
        evaluation_period: … among the last so many, as SageMaker's alerts have it; by default one of one.
        not_judged: Whether people are told too when windows can no longer be judged.

    Raises:
        ModelQualityError: a choice that is none, or nothing that carries a message.
    """

    def __init__(
        self,
        send: BaseNotifier | Callable[[Alert], BaseNotifier] | Sequence[BaseNotifier | Callable[[Alert], BaseNotifier]],
        *,
        repeat: str = "first",
        datapoints_to_alert: int = 1,
        evaluation_period: int = 1,
        not_judged: bool = False,
    ) -> None:
        super().__init__()
        self.send: list[Any] = list(send) if isinstance(send, Sequence) else [send]
        if not self.send or not all(map(callable, self.send)):
            raise ModelQualityError(
                expected="notifiers, or functions that take an alert and return a notifier",
                came=repr(send),
                where="send",
                next_step='give one, as SnsNotifier(target_arn=..., message="{{ alert.plain }}"); docs/alerts.md',
            )
        self.policy = {
            "repeat": repeat,
            "datapoints_to_alert": datapoints_to_alert,
            "evaluation_period": evaluation_period,
            "not_judged": not_judged,
        }
        self._policy()  # a choice that is none is refused when the DAG is parsed

    def _policy(self) -> Any:
        from airflow_mq_provider.publish.alerts import AlertPolicy

        return AlertPolicy(**self.policy)  # type: ignore[arg-type] # checked by the policy itself

    def notify(self, context: Context) -> None:
        """Tell what this run's verdict is news of, if it is of any.

        All notifiers are tried, then the first error is raised. ``context["verdict"]`` is the verdict where it is there, else
        what the task itself returned.
        """
        from airflow_mq_provider.publish.alerts import alert_of, former_statuses, may_tell

        given: Mapping[str, Any] = context
        verdict = given["verdict"] if "verdict" in given else context["ti"].xcom_pull(task_ids=context["ti"].task_id)
        if not may_tell(verdict):
            self.log.info("Nobody is told: this is not the newest window, or a backfill, or a window given by hand.")
            return
        former = former_statuses(verdict, latest_asset_events(f"x-model-quality://{verdict['monitor']}", HISTORY))
        kind = self._policy().turn(former, verdict["status"])
        if kind is None:
            self.log.info("Nobody is told: %s is no news after %s.", verdict["status"], former[-3:] or "no window")
            return
        alert = alert_of(kind, verdict)
        self.log.info("%s", alert.short)
        failed: list[Exception] = []
        for carrier in self.send:
            try:
                # a copy, for a notifier keeps what it rendered
                notifier = copy.copy(carrier) if isinstance(carrier, BaseNotifier) else carrier(alert)
                notified(notifier, {**context, "alert": alert})
            except Exception as error:  # noqa: BLE001 - of whatever kind, it may not keep the other notifiers from theirs
                failed.append(error)
                self.log.error("A message was not sent by %s: %s", carrier, error)
        if failed:
            raise failed[0]
