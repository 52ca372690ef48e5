"""What the sensors leave in the triggerer: loops that list, and never read.

A listing is a few requests, whatever lies in the files. What has to be read (how many captures found their label) is counted
by the sensor in a worker, which a trigger wakes only when there is something new to count.
"""

from __future__ import annotations

import asyncio
import hashlib
from abc import abstractmethod
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_mq_provider.airflow_internals import in_thread
from airflow_mq_provider.window import hour_folder, parse_time

if TYPE_CHECKING:
    from airflow_mq_provider.storage import Storage


def first_capture(storage: Storage, root: str, last_hour: str) -> str | None:
    """Return the key of the first object in the hour folder ``last_hour`` or later, or None. One request, or a few."""
    return next((stored.key for stored in storage.list(root, start_after=last_hour + "/")), None)


def labels_listed(storage: Storage, root: str, first_hour: str, now: datetime) -> str:
    """Return a digest of what may be read of the labels at ``now``: the hour folders from the first on that have ended.

    It changes when an object comes, goes or is replaced, and when an hour that holds objects ends.
    """
    digest = hashlib.sha256()
    for stored in storage.list(root, start_after=first_hour + "/", until=hour_folder(now)):
        digest.update(f"{stored.key}\0{stored.size}\0{stored.etag}\n".encode())
    return digest.hexdigest()


def _event(event: str, **content: Any) -> TriggerEvent:
    return TriggerEvent({"event": event} | content)  # type: ignore[no-untyped-call] # Airflow's own


class _ListingTrigger(BaseTrigger):
    """Lists until `found` returns an event's content, an error comes up, or the deadline has passed."""

    def __init__(
        self,
        *,
        root: str,
        deadline: str,
        poll_interval: float,
        aws_conn_id: str | None = "aws_default",
        region_name: str | None = None,
        verify: bool | str | None = None,
        botocore_config: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call] # Airflow's own
        self.root = root
        self.deadline = deadline
        self.poll_interval = poll_interval
        self.aws_conn_id = aws_conn_id
        self.region_name = region_name
        self.verify = verify
        self.botocore_config = botocore_config

    @abstractmethod
    def found(self, storage: Storage, now: datetime) -> dict[str, Any] | None:
        """Return what the sensor is to be told, or None as long as there is nothing to tell. Runs in a thread."""

    @abstractmethod
    def own_arguments(self) -> dict[str, Any]:
        """Return the arguments of this trigger beside those that all of them take."""

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class and the arguments that make this trigger again, in any triggerer; all of it plain JSON."""
        arguments = {
            "root": self.root,
            "deadline": self.deadline,
            "poll_interval": self.poll_interval,
            "aws_conn_id": self.aws_conn_id,
            "region_name": self.region_name,
            "verify": self.verify,
            "botocore_config": self.botocore_config,
        }
        return f"{type(self).__module__}.{type(self).__qualname__}", arguments | self.own_arguments()

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Yield one event: ``found`` with what was found, ``deadline``, or ``error`` with the message of what failed.

        An error wakes the sensor too, which then looks for itself, in a worker, where a failure has retries and a log.
        """
        deadline = parse_time(self.deadline, field="deadline")
        try:
            storage = await in_thread(self._connect)()
            while True:
                now = datetime.now(UTC)
                if (content := await in_thread(self.found)(storage, now)) is not None:
                    yield _event("found", **content)
                    return
                if now >= deadline:
                    yield _event("deadline")
                    return
                pause = min(timedelta(seconds=self.poll_interval), deadline - now)
                await asyncio.sleep(max(pause.total_seconds(), 0.01))
        except Exception as error:  # noqa: BLE001 - whatever it is, the worker looks for itself
            yield _event("error", message=f"{type(error).__name__}: {error}")

    def _connect(self) -> Storage:
        from airflow_mq_provider.hooks.model_quality import storage_for

        storage, _ = storage_for(
            [self.root],
            aws_conn_id=self.aws_conn_id,
            region_name=self.region_name,
            verify=self.verify,
            botocore_config=self.botocore_config,
        )
        return storage


class CaptureTrigger(_ListingTrigger):
    """Waits for a captured object in the hour folder ``last_hour`` or in a later one. The event holds its ``key``."""

    def __init__(self, *, last_hour: str, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.last_hour = last_hour

    def own_arguments(self) -> dict[str, Any]:
        """Return the hour folder."""
        return {"last_hour": self.last_hour}

    def found(self, storage: Storage, now: datetime) -> dict[str, Any] | None:  # noqa: ARG002 - any time will do
        """Return the key."""
        key = first_capture(storage, self.root, self.last_hour)
        return None if key is None else {"key": key}


class GroundTruthTrigger(_ListingTrigger):
    """Waits until the labels that may be read are others than those counted last, whose digest is ``counted``."""

    def __init__(self, *, first_hour: str, counted: str, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.first_hour = first_hour
        self.counted = counted

    def own_arguments(self) -> dict[str, Any]:
        """Return the hour folder and the digest."""
        return {"first_hour": self.first_hour, "counted": self.counted}

    def found(self, storage: Storage, now: datetime) -> dict[str, Any] | None:
        """Return an empty content where the digest is another one."""
        return None if labels_listed(storage, self.root, self.first_hour, now) == self.counted else {}
