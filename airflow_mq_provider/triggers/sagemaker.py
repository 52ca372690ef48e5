"""What waits for SageMaker in the triggerer: for a state that a waiter describes, and for the execution of a slot."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import TriggerEvent

from airflow_mq_provider.airflow_internals import in_thread
from airflow_mq_provider.triggers.looking import Looking, OverConnection, event
from airflow_mq_provider.window import parse_time

if TYPE_CHECKING:
    from airflow_mq_provider.hooks.sagemaker import ModelQualityHook


class SageMakerWaiterTrigger(OverConnection):
    """Waits with one of `ModelQualityHook`'s waiters, over an asynchronous client.

    The event is ``found``, or ``error`` with the waiter's message: that of a state from which nothing comes any more, of a
    refused call, or of having looked ``waiter_max_attempts`` times. It holds ``done``, which the operator gave to have it back.
    Where ``job`` is given, that Processing job is stopped when a user ends the task (Airflow 3.3 and later tell a trigger).
    """

    def __init__(
        self,
        *,
        waiter_name: str,
        waiter_args: dict[str, str],
        waiter_delay: float,
        waiter_max_attempts: int,
        done: list[str] | None = None,
        job: str | None = None,
        **connection: Any,
    ) -> None:
        super().__init__(**connection)
        self.waiter_name = waiter_name
        self.waiter_args = waiter_args
        self.waiter_delay = waiter_delay
        self.waiter_max_attempts = waiter_max_attempts
        self.done = done
        self.job = job

    @property
    def where(self) -> str:
        """What is waited for."""
        return f"{self.waiter_name} of {' '.join(self.waiter_args.values())}"

    def own_arguments(self) -> dict[str, Any]:
        """Return the waiter's name and arguments, and how it looks."""
        return {
            "waiter_name": self.waiter_name,
            "waiter_args": self.waiter_args,
            "waiter_delay": self.waiter_delay,
            "waiter_max_attempts": self.waiter_max_attempts,
            "done": self.done,
            "job": self.job,
        }

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Yield one event."""
        from airflow_mq_provider.hooks.sagemaker import ModelQualityHook

        try:
            hook = ModelQualityHook.over(**self.connection)
            async with await hook.get_async_conn() as client:  # type: ignore[no-untyped-call] # the amazon provider's own
                waiter = hook.get_waiter(self.waiter_name, deferrable=True, client=client)
                await waiter.wait(
                    **self.waiter_args,
                    WaiterConfig={"Delay": self.waiter_delay, "MaxAttempts": self.waiter_max_attempts},
                )
            yield event("found", done=self.done)
        except Exception as error:  # noqa: BLE001 - whatever it is, the worker looks for itself
            yield event("error", message=f"{type(error).__name__}: {error}", done=self.done)

    async def on_kill(self) -> None:
        """Stop the job, unless it has ended meanwhile."""
        from airflow_mq_provider.hooks.sagemaker import ModelQualityHook

        if self.job is None:
            return
        hook = ModelQualityHook.over(**self.connection)
        async with await hook.get_async_conn() as client:  # type: ignore[no-untyped-call] # the amazon provider's own
            described = await client.describe_processing_job(ProcessingJobName=self.job)
            if described["ProcessingJobStatus"] == "InProgress":
                await client.stop_processing_job(ProcessingJobName=self.job)


class MonitoringExecutionTrigger(Looking["ModelQualityHook"]):
    """Waits until the execution of one slot has ended. The event holds its ``status``."""

    def __init__(self, *, schedule_name: str, scheduled_time: str, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.schedule_name = schedule_name
        self.scheduled_time = scheduled_time

    @property
    def where(self) -> str:
        """The schedule and the slot."""
        return f"executions of {self.schedule_name} scheduled for {self.scheduled_time}"

    def own_arguments(self) -> dict[str, Any]:
        """Return schedule and slot."""
        return {"schedule_name": self.schedule_name, "scheduled_time": self.scheduled_time}

    @property
    def reach(self) -> str:
        """SageMaker."""
        return "sagemaker"

    def connect(self) -> ModelQualityHook:
        """Return the hook that lists executions."""
        from airflow_mq_provider.hooks.sagemaker import ModelQualityHook

        return ModelQualityHook.over(**self.connection)

    async def look(self, source: ModelQualityHook, now: datetime) -> dict[str, Any] | None:  # noqa: ARG002 - any time will do
        """Return the status that stays."""
        from airflow_mq_provider.hooks.sagemaker import TERMINAL

        slot = parse_time(self.scheduled_time, field="scheduled_time")
        execution = await in_thread(source.execution_of)(self.schedule_name, slot)
        status = execution["MonitoringExecutionStatus"] if execution else None
        return {"status": status} if status in TERMINAL else None
