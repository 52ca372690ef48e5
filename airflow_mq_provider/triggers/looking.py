"""What all triggers of this package share that look, wait, and look again."""

from __future__ import annotations

import asyncio
import json
import random
import time
from abc import abstractmethod
from collections.abc import AsyncIterator, Callable, Hashable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Generic, TypeVar, cast

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_mq_provider.airflow_internals import in_thread
from airflow_mq_provider.window import parse_time

Source = TypeVar("Source")
Made = TypeVar("Made")

RENEWED = 600.0
"""Seconds after which a connection is read anew, and with it credentials that were changed meanwhile."""


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


@dataclass(frozen=True, slots=True)
class _Held:
    at: float
    loop: asyncio.AbstractEventLoop
    made: asyncio.Future[Any]


class Shared:
    """What the triggers of one triggerer make once for all of them: clients, and listings of one place.

    A thousand triggers with a client each would need gigabytes, and those that wait for labels of one model would each list
    the same objects.
    """

    def __init__(self) -> None:
        self._held: dict[Hashable, _Held] = {}

    async def get(self, key: Hashable, make: Callable[[], Made], *, since: float) -> Made:
        """Return what was made under the key since a time (of `time.monotonic`), or make it now, in a thread.

        Whoever asks while it is being made waits for the same. Where making fails, all who wait are told, and the next one
        tries again.
        """
        loop, now = asyncio.get_running_loop(), time.monotonic()
        held = self._held.get(key)
        if held is None or held.at < since or held.loop is not loop:
            self._held = {of: one for of, one in self._held.items() if one.at > now - RENEWED}
            held = self._held[key] = _Held(now, loop, asyncio.ensure_future(in_thread(make)()))
        try:
            # a trigger that is cancelled must not end what others wait for
            return cast(Made, await asyncio.shield(held.made))
        except Exception:
            if self._held.get(key) is held:
                del self._held[key]
            raise


_sources = Shared()


class Looking(OverConnection, Generic[Source]):
    """Looks until `look` returns an event's content, an error comes up, or the deadline has passed."""

    def __init__(self, *, deadline: str, poll_interval: float, **connection: Any) -> None:
        super().__init__(**connection)
        self.deadline = deadline
        self.poll_interval = poll_interval

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class and the arguments that make this trigger again."""
        path, arguments = super().serialize()
        return path, {"deadline": self.deadline, "poll_interval": self.poll_interval} | arguments

    @property
    @abstractmethod
    def reach(self) -> str:
        """The kind of source that `connect` returns. Triggers of one reach and one connection share it."""

    @abstractmethod
    def connect(self) -> Source:
        """Return what `look` looks with. Runs in a thread."""

    @abstractmethod
    async def look(self, source: Source, now: datetime) -> dict[str, Any] | None:
        """Return what the sensor is to be told, or None as long as there is nothing to tell."""

    @property
    def shared_key(self) -> tuple[str, str]:
        """The reach and the connection."""
        return self.reach, json.dumps(self.connection, sort_keys=True)

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Yield one event: ``found`` with what was found, ``deadline``, or ``error`` with the message of what failed.

        An error wakes the sensor too, which then looks for itself, in a worker, where a failure has retries and a log. The
        first pause is of any length up to the interval, so that triggers that start at once do not look at once for ever.
        """
        deadline = parse_time(self.deadline, field="deadline")
        pause = self.poll_interval * random.random()
        try:
            while True:
                source = await _sources.get(self.shared_key, self.connect, since=time.monotonic() - RENEWED)
                now = datetime.now(UTC)
                if (content := await self.look(source, now)) is not None:
                    yield event("found", **content)
                    return
                if now >= deadline:
                    yield event("deadline")
                    return
                left = min(timedelta(seconds=pause), deadline - now)
                await asyncio.sleep(max(left.total_seconds(), 0.01))
                pause = self.poll_interval
        except Exception as error:  # noqa: BLE001 - whatever it is, the worker looks for itself
            yield event("error", message=f"{type(error).__name__}: {error}")


def event(event: str, **content: Any) -> TriggerEvent:
    """Return an event of this package's kind."""
    return TriggerEvent({"event": event} | content)  # type: ignore[no-untyped-call] # Airflow's own
