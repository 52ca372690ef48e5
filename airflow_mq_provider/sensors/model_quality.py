"""Waiting for what a run needs: for captures, and for labels, which come hours or weeks later."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import PokeReturnValue

from airflow_mq_provider.exceptions import ModelQualityError
from airflow_mq_provider.hooks.spark import spark_of
from airflow_mq_provider.hooks.task_context import (
    PARAM_AS_OF,
    Declaration,
    OpenedMonitor,
    connection_of,
    declaration,
    engine_and_workers,
    memory_limit,
    open_monitor,
    progress_log,
    run_as_of,
)
from airflow_mq_provider.sensors.waiting import Waiting
from airflow_mq_provider.window import format_time, ground_truth_as_of, hour_folder, parse_delay

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_mq_provider.monitor import ModelQualityMonitor
    from airflow_mq_provider.triggers.model_quality import CaptureTrigger, GroundTruthTrigger

_HOUR = timedelta(hours=1)


class _MonitorSensor(Waiting):
    """What both sensors share: a monitor."""

    template_fields: Sequence[str] = ("monitor", *Waiting.template_fields)

    def __init__(self, *, monitor: ModelQualityMonitor | Declaration, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.monitor = declaration(monitor)

    def _trigger_arguments(self, root: str, deadline: datetime) -> dict[str, Any]:
        return {
            "root": root,
            "deadline": format_time(deadline),
            "poll_interval": self.poke_interval,
            **connection_of(self),
        }


class CaptureSensor(_MonitorSensor):
    """Waits until the window's captures are there, as far as that can be told.

    Satisfied when an object stands in the hour folder of the window's last hour or in a later one, or when the scheduled
    time plus ``grace`` has passed: an hour without traffic writes nothing and is no reason to hang. Endpoints flush captures
    within a few minutes, so an hour of grace is plenty.

    Returns ``{"captures": bool, "key": the first such object or null}``.

    Args:
        monitor: As of `GroundTruthMergeOperator`.
        grace: ISO 8601 duration after the scheduled time.
        timeout: When the task fails; after the grace unless given.
        **kwargs: ``deferrable``; ``poke_interval``, the seconds between two looks, in the triggerer too; the connection as of
            `GroundTruthMergeOperator`; what every sensor takes.
    """

    def __init__(
        self,
        *,
        monitor: ModelQualityMonitor | Declaration,
        grace: str = "PT1H",
        timeout: timedelta | float | None = None,
        **kwargs: Any,
    ) -> None:
        self.grace = grace
        self._bound = parse_delay(grace, field="grace")
        super().__init__(monitor=monitor, timeout=self._bound + _HOUR if timeout is None else timeout, **kwargs)

    def _look(self, context: Context) -> PokeReturnValue | CaptureTrigger:
        from airflow_mq_provider.triggers.model_quality import CaptureTrigger, first_capture

        opened = open_monitor(self, context)
        root = opened.monitor.capture_root
        last_hour = hour_folder(opened.window.hours()[-1])
        key = first_capture(opened.storage, root, last_hour)
        if key is not None:
            self.log.info("Captures have reached %s.", key)
            return PokeReturnValue(True, {"captures": True, "key": key})
        deadline = opened.window.scheduled_time + self._bound
        if datetime.now(UTC) >= deadline:
            self.log.info("No capture in %s/%s or later until %s.", root, last_hour, format_time(deadline))
            return PokeReturnValue(True, {"captures": False, "key": None})
        return CaptureTrigger(last_hour=last_hour, **self._trigger_arguments(root, deadline))


class GroundTruthSensor(_MonitorSensor):
    """Waits until enough of the window's captures have found their label, or until a latest time has come.

    The time at which it is satisfied is the run's as-of time: that of the look which found the coverage, or the latest
    time itself. The triggerer only lists the labels' hour folders; each time something new is there to be read, a worker
    counts, with the engine of the run and nothing written. Labels in a folder whose hour has not ended do not count
    (rule I2), so looking more often than every few minutes gains nothing.

    A run whose param ``as_of`` is given does not wait: who names the time does not want another.
    A window without captures is not waited for either, once the hour in which they could still be flushed is over.

    Returns ``{"as_of", "source", "label_coverage"}``, to be handed to the merge as its ``as_of``.

    Args:
        monitor: As of `GroundTruthMergeOperator`.
        coverage: The share of the window's readable captures that must have a label, above 0 and at most 1.
        latest: ISO 8601 duration after the scheduled time. The monitor's ``ground_truth_max_delay`` bounds it too.
        engine: As of `GroundTruthMergeOperator`.
        workers: The same.
        spark_conn_id: The same.
        poke_interval: Seconds between two looks, in the triggerer too.
        timeout: When the task fails; after the latest time unless given.
        **kwargs: As of `CaptureSensor`.
    """

    def __init__(
        self,
        *,
        monitor: ModelQualityMonitor | Declaration,
        coverage: float = 0.95,
        latest: str = "P7D",
        engine: str | None = None,
        workers: int | None = None,
        spark_conn_id: str | None = None,
        poke_interval: timedelta | float = 300,
        timeout: timedelta | float | None = None,
        **kwargs: Any,
    ) -> None:
        if not 0 < coverage <= 1:
            raise ModelQualityError(
                expected="a share of the captures, above 0 and at most 1",
                came=repr(coverage),
                where="coverage of the GroundTruthSensor",
                next_step="correct it in the DAG file; 0.95 is the default",
            )
        self.coverage = coverage
        self.latest = latest
        self._bound = parse_delay(latest, field="latest")
        self.engine = engine
        self.workers = workers
        self.spark_conn_id = spark_conn_id
        super().__init__(
            monitor=monitor,
            poke_interval=poke_interval,
            timeout=self._bound + _HOUR if timeout is None else timeout,
            **kwargs,
        )

    def _look(self, context: Context) -> PokeReturnValue | GroundTruthTrigger:
        from airflow_mq_provider.triggers.model_quality import GroundTruthTrigger, labels_listed

        opened = open_monitor(self, context)
        window, monitor = opened.window, opened.monitor
        if context["params"].get(PARAM_AS_OF):
            given = run_as_of(opened, context)
            self.log.info("The run's as-of time is given: %s (%s). Not waiting.", format_time(given.time), given.source)
            return PokeReturnValue(True, _as_of(given.time, given.source, None))
        now = datetime.now(UTC)
        delay = monitor.ground_truth_max_delay
        latest = ground_truth_as_of(window.scheduled_time + self._bound, window, max_delay=delay).time
        if now >= latest:
            self.log.info("The latest time, %s, has come.", format_time(latest))
            return PokeReturnValue(True, _as_of(latest, "sensor", None))
        # Listed before it is counted: what comes in between is counted now, and at worst once more.
        first_hour = hour_folder(window.start)
        listed = labels_listed(opened.storage, monitor.ground_truth_uri, first_hour, now)
        used, share = self._count(opened, now)
        flushed = window.end + _HOUR
        if (share is not None and share >= self.coverage) or (not used and now >= flushed):
            self.log.info("%d captures, label coverage %s.", used, share)
            return PokeReturnValue(True, _as_of(now, "sensor", share))
        self.log.info(
            "%d captures, label coverage %s of %s. Waiting until %s.", used, share, self.coverage, format_time(latest)
        )
        deadline = latest if used else min(latest, flushed)
        arguments = self._trigger_arguments(monitor.ground_truth_uri, deadline)
        return GroundTruthTrigger(first_hour=first_hour, counted=listed, **arguments)

    def _count(self, opened: OpenedMonitor, now: datetime) -> tuple[int, float | None]:
        """Join as a run would, into a folder that is thrown away, and return captures and their label coverage."""
        from airflow_mq_provider.airflow_internals import let_task_have_children
        from airflow_mq_provider.engines import engine as engine_named
        from airflow_mq_provider.engines.choosing import choose
        from airflow_mq_provider.engines.task import MergeTask
        from airflow_mq_provider.inputs import capture_inputs, label_inputs
        from airflow_mq_provider.quality.records import reading
        from airflow_mq_provider.retention import prepared_place

        let_task_have_children()
        monitor, window, storage = opened.monitor, opened.window, opened.storage
        engine, workers = engine_and_workers(self.engine, self.workers)
        as_of = ground_truth_as_of(now, window, source="sensor")
        with tempfile.TemporaryDirectory(prefix="ground-truth-sensor-") as folder:
            task = MergeTask(
                reading=reading(monitor),
                window=window,
                captures=capture_inputs(monitor, window, storage).objects,
                labels=label_inputs(monitor, window, as_of, storage).objects,
                labels_until=as_of.time,
                merged_uri=f"{folder}/merged",
                rejected_uri=f"{folder}/rejected.jsonl",
                counts_only=True,
                memory_limit=memory_limit(),
                keep_rejected_lines=monitor.keep_rejected == "lines",
                # so each look reads what is new, and the run after it nothing twice
                prepared=prepared_place(monitor, window),
            )
            with spark_of(self.spark_conn_id):
                engine = choose(engine, task, storage, workers).engine
                counts = engine_named(engine).merge(task, storage, workers=workers, progress=progress_log(self.log))
        return counts.capture.used, counts.merge.label_coverage


def _as_of(time: datetime, source: str, share: float | None) -> dict[str, Any]:
    return {"as_of": format_time(time), "source": source, "label_coverage": share}
