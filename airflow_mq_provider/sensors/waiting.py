"""What all sensors of this package share: a connection to AWS, and three ways of waiting."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseSensorOperator, PokeReturnValue

from airflow_mq_provider.exceptions import InputError
from airflow_mq_provider.hooks.task_context import failing_for_good

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_mq_provider.triggers.looking import OverConnection


class Waiting(BaseSensorOperator):
    """A sensor that looks, and where there is nothing yet waits in one of three ways.

    ``deferrable`` (the default, unless ``mode`` is given) waits in the triggerer and holds no worker meanwhile;
    ``mode="reschedule"`` frees the worker between two looks, ``mode="poke"`` keeps it.
    """

    template_fields: Sequence[str] = ("aws_conn_id", "region_name", "verify")
    ui_color = "#e6f1f2"

    def __init__(
        self,
        *,
        aws_conn_id: str | None = "aws_default",
        region_name: str | None = None,
        verify: bool | str | None = None,
        botocore_config: dict[str, Any] | None = None,
        deferrable: bool | None = None,
        **kwargs: Any,
    ) -> None:
        self.deferrable = "mode" not in kwargs if deferrable is None else deferrable
        super().__init__(**kwargs)
        self.aws_conn_id = aws_conn_id
        self.region_name = region_name
        self.verify = verify
        self.botocore_config = botocore_config

    def execute(self, context: Context) -> Any:
        """Look; where there is nothing yet, wait in the way that was chosen."""
        if not self.deferrable:
            with failing_for_good():
                return super().execute(context)
        return self._look_or_defer(context)

    def execute_complete(self, context: Context, event: dict[str, Any]) -> Any:
        """Look again, whatever woke this task. What made the triggerer fail fails the task, unless all is there."""
        failure = event.get("message") if event["event"] == "error" else None
        return self._look_or_defer(context, failure)

    def _look_or_defer(self, context: Context, failure: str | None = None) -> Any:
        with failing_for_good():
            seen = self._look(context)
        if not isinstance(seen, PokeReturnValue):
            if failure:
                raise InputError(
                    expected="an answer of AWS to the triggerer",
                    came=failure,
                    where=seen.where,
                    next_step="a worker gets one, so give the triggerer the same connection and the same network",
                )
            self.defer(trigger=seen, method_name="execute_complete", timeout=timedelta(seconds=self.timeout))
        return seen.xcom_value

    def poke(self, context: Context) -> bool | PokeReturnValue:
        """Look once."""
        seen = self._look(context)
        return seen if isinstance(seen, PokeReturnValue) else False

    def _look(self, context: Context) -> PokeReturnValue | OverConnection:
        """Return the result, or what to wait for."""
        raise NotImplementedError
