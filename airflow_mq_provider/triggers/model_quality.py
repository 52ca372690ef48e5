"""What the sensors leave in the triggerer: loops that list, and never read.

A listing is a few requests, whatever lies in the files. What has to be read (how many captures found their label) is counted
by the sensor in a worker, which a trigger wakes only when there is something new to count.
"""

from __future__ import annotations

import hashlib
import time
from datetime import datetime
from typing import TYPE_CHECKING, Any

from airflow_mq_provider.airflow_internals import in_thread
from airflow_mq_provider.storage import is_s3
from airflow_mq_provider.triggers.looking import Looking, Shared
from airflow_mq_provider.window import hour_folder

if TYPE_CHECKING:
    from airflow_mq_provider.storage import Storage

_FOLDER, _DAY = len("yyyy/mm/dd/hh/"), len("yyyy/mm/dd/")
_listings = Shared()


def first_capture(storage: Storage, root: str, last_hour: str) -> str | None:
    """Return the key of the first object in the hour folder ``last_hour`` or later, or None. One request, or a few."""
    return next((stored.key for stored in storage.list(root, start_after=last_hour + "/")), None)


def labels_listed(storage: Storage, root: str, first_hour: str, now: datetime) -> str:
    """Return a digest of what may be read of the labels at ``now``: the hour folders from the first on that have ended.

    It changes when an object comes, goes or is replaced, and when an hour that holds objects ends.
    """
    return _digest(_label_folders(storage, root, first_hour + "/", now), first_hour)


def _label_folders(storage: Storage, root: str, after: str, now: datetime) -> dict[str, str]:
    """Return a digest of each hour folder of labels after a key that has ended."""
    digests: dict[str, Any] = {}
    for stored in storage.list(root, start_after=after, until=hour_folder(now)):
        digest = digests.setdefault(stored.key[:_FOLDER], hashlib.sha256())
        digest.update(f"{stored.key}\0{stored.size}\0{stored.etag}\n".encode())
    return {folder: digest.hexdigest() for folder, digest in digests.items()}


def _digest(folders: dict[str, str], first_hour: str) -> str:
    """Return a digest of the folders from the first hour on."""
    counted = sorted(one for one in folders.items() if one[0] > first_hour)
    return hashlib.sha256(repr(counted).encode()).hexdigest()


class _ListingTrigger(Looking["Storage"]):
    """Lists what lies under a root."""

    def __init__(self, *, root: str, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.root = root

    @property
    def where(self) -> str:
        """The root."""
        return self.root

    @property
    def reach(self) -> str:
        """S3, or this machine's files."""
        return "s3" if is_s3(self.root) else "files"

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

    async def look(self, source: Storage, now: datetime) -> dict[str, Any] | None:  # noqa: ARG002 - any time will do
        """Return the key."""
        key = await in_thread(first_capture)(source, self.root, self.last_hour)
        return None if key is None else {"key": key}


class GroundTruthTrigger(_ListingTrigger):
    """Waits until the labels that may be read are others than those counted last, whose digest is ``counted``."""

    def __init__(self, *, first_hour: str, counted: str, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.first_hour = first_hour
        self.counted = counted
        self._began = time.monotonic()

    def own_arguments(self) -> dict[str, Any]:
        """Return root, hour folder and digest."""
        return {"root": self.root, "first_hour": self.first_hour, "counted": self.counted}

    async def look(self, source: Storage, now: datetime) -> dict[str, Any] | None:
        """Return an empty content where the digest is another one.

        Triggers that wait for labels under one root, from the same day on, share their listings: one that is younger than half
        the interval will do, but none from before this trigger began, since what was counted may be newer.
        """
        day = self.first_hour[:_DAY]
        folders = await _listings.get(
            (*self.shared_key, self.root, day),
            lambda: _label_folders(source, self.root, day, now),
            since=max(self._began, time.monotonic() - self.poll_interval / 2),
        )
        return None if _digest(folders, self.first_hour) == self.counted else {}
