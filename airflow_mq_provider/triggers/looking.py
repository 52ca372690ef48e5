"""What all triggers of this package share that look, wait, and look again."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any, Generic, TypeVar

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_mq_provider.airflow_internals import in_thread
from airflow_mq_provider.window import parse_time

Source = TypeVar("Source")


class OverConnection(BaseTrigger):
    """A trigger that reaches AWS over the connection of the task that left it, in the same region and in the same way."""

    def __init__(
        self,
        *,
        aws_conn_id: str | None = "aws_default",
        region_name: str | None = None,
        verify: bool | str | None = None,
        botocore_config: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call] # Airflow's own
        self.connection: dict[str, Any] = {
            "aws_conn_id": aws_conn_id,
            "region_name": region_name,
            "verify": verify,
            "botocore_config": botocore_config,
        }

    @property
    @abstractmethod
    def where(self) -> str:
        """What this trigger looks at, for messages."""

    @abstractmethod
    def own_arguments(self) -> dict[str, Any]:
        """Return the arguments of this trigger beside those that all of its kind take."""

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class and the arguments that make this trigger again, in any triggerer; all of it plain JSON."""
        return f"{type(self).__module__}.{type(self).__qualname__}", self.connection | self.own_arguments()


class Looking(OverConnection, Generic[Source]):
    """Looks until `found` returns an event's content, an error comes up, or the deadline has passed."""

    def __init__(self, *, deadline: str, poll_interval: float, **connection: Any) -> None:
        super().__init__(**connection)
        self.deadline = deadline
        self.poll_interval = poll_interval

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class and the arguments that make this trigger again."""
        path, arguments = super().serialize()
        return path, {"deadline": self.deadline, "poll_interval": self.poll_interval} | arguments

    @abstractmethod
    def connect(self) -> Source:
        """Return what `found` looks with. Runs in a thread."""

    @abstractmethod
    def found(self, source: Source, now: datetime) -> dict[str, Any] | None:
        """Return what the sensor is to be told, or None as long as there is nothing to tell. Runs in a thread."""

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Yield one event: ``found`` with what was found, ``deadline``, or ``error`` with the message of what failed.

        An error wakes the sensor too, which then looks for itself, in a worker, where a failure has retries and a log.
        """
        deadline = parse_time(self.deadline, field="deadline")
        try:
            source = await in_thread(self.connect)()
            while True:
                now = datetime.now(UTC)
                if (content := await in_thread(self.found)(source, now)) is not None:
                    yield event("found", **content)
                    return
                if now >= deadline:
                    yield event("deadline")
                    return
                pause = min(timedelta(seconds=self.poll_interval), deadline - now)
                await asyncio.sleep(max(pause.total_seconds(), 0.01))
        except Exception as error:  # noqa: BLE001 - whatever it is, the worker looks for itself
            yield event("error", message=f"{type(error).__name__}: {error}")


def event(event: str, **content: Any) -> TriggerEvent:
    """Return an event of this package's kind."""
    return TriggerEvent({"event": event} | content)  # type: ignore[no-untyped-call] # Airflow's own
