"""What the sensors leave in the triggerer: loops that list, and never read.

A listing is a few requests, whatever lies in the files. What has to be read (how many captures found their label) is counted
by the sensor in a worker, which a trigger wakes only when there is something new to count.
"""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import TYPE_CHECKING, Any

from airflow_mq_provider.triggers.looking import Looking
from airflow_mq_provider.window import hour_folder

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


class _ListingTrigger(Looking["Storage"]):
    """Lists what lies under a root."""

    def __init__(self, *, root: str, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.root = root

    @property
    def where(self) -> str:
        """The root."""
        return self.root

    def connect(self) -> Storage:
        """Return the storage that reaches the root."""
        from airflow_mq_provider.hooks.model_quality import storage_for

        storage, _ = storage_for([self.root], **self.connection)
        return storage


class CaptureTrigger(_ListingTrigger):
    """Waits for a captured object in the hour folder ``last_hour`` or in a later one. The event holds its ``key``."""

    def __init__(self, *, last_hour: str, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.last_hour = last_hour

    def own_arguments(self) -> dict[str, Any]:
        """Return root and hour folder."""
        return {"root": self.root, "last_hour": self.last_hour}

    def found(self, source: Storage, now: datetime) -> dict[str, Any] | None:  # noqa: ARG002 - any time will do
        """Return the key."""
        key = first_capture(source, self.root, self.last_hour)
        return None if key is None else {"key": key}


class GroundTruthTrigger(_ListingTrigger):
    """Waits until the labels that may be read are others than those counted last, whose digest is ``counted``."""

    def __init__(self, *, first_hour: str, counted: str, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.first_hour = first_hour
        self.counted = counted

    def own_arguments(self) -> dict[str, Any]:
        """Return root, hour folder and digest."""
        return {"root": self.root, "first_hour": self.first_hour, "counted": self.counted}

    def found(self, source: Storage, now: datetime) -> dict[str, Any] | None:
        """Return an empty content where the digest is another one."""
        return None if labels_listed(source, self.root, self.first_hour, now) == self.counted else {}
