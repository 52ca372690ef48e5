"""A fleet: monitors whose files lie in one folder, each judged by itself when a run lists them.

What is wrong with one file stays its own: a file that declares no monitor is told of when it is read to be judged, and two files
that would write over each other are both refused, since nobody can tell here which of them is meant.
"""

from __future__ import annotations

import posixpath
from collections import defaultdict
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

from airflow_mq_provider.exceptions import FleetError, InputError, MonitorError
from airflow_mq_provider.monitor import ModelQualityMonitor
from airflow_mq_provider.storage import Storage

ENDINGS: Final = (".yaml", ".yml", ".json")
_READERS: Final = 16
"""Files read at once: on S3 each is a request that waits."""
_LONGEST: Final = 200
"""Characters of a name that pages show; the name of a file may be longer."""


@dataclass(frozen=True, slots=True)
class Member:
    """One file of a folder, as a run that lists it sees it.

    Attributes:
        name: of its monitor; of a file that declares none, that of the file without its ending.
        file: where it lies.
        fault: the four parts of the error, where it cannot be judged beside the others.
    """

    name: str
    file: str
    fault: Mapping[str, str] | None = None

    def as_dict(self) -> dict[str, Any]:
        """The member in plain JSON, as one task hands it to another."""
        return {"name": self.name, "file": self.file, "fault": dict(self.fault) if self.fault else None}

    @classmethod
    def from_dict(cls, given: Mapping[str, Any]) -> Member:
        """The member that `as_dict` wrote."""
        return cls(given["name"], given["file"], given["fault"])

    @property
    def error(self) -> FleetError | None:
        """What keeps this member from being judged: its name is another's too, or it stands for files beyond the limit."""
        return FleetError(**self.fault) if self.fault is not None else None


@dataclass(frozen=True, slots=True)
class Fleet:
    """What a folder holds: members in the order of their files, and names of files that are none."""

    members: tuple[Member, ...]
    ignored: tuple[str, ...]


def is_member(monitor: object) -> bool:
    """Whether a task's monitor is a member of a fleet in plain JSON, and not the fields of a monitor."""
    return isinstance(monitor, Mapping) and monitor.keys() == {"name", "file", "fault"}


def fleet(folder: str, storage: Storage, *, limit: int) -> Fleet:
    """The monitors of the files that lie in a folder itself, not in folders below it, and end in `ENDINGS`.

    Files whose names begin with a dot or an underscore are left out, and need not be monitors. Of more files than `limit` the first ones
    become members, and one more member stands for all others, so that the run says so.

    Raises:
        InputError: the folder holds no such file: that is a wrong folder, not a fleet without monitors; or it cannot be listed.
    """
    listed = [one for one in storage.list(folder) if "/" not in one.key and one.key[0] not in "._"]
    files = [one.uri for one in listed if one.key.endswith(ENDINGS)]
    if not files:
        raise InputError(
            expected=f"files of monitors, ending in {', '.join(ENDINGS)}",
            came=f"{len(listed)} other files" if listed else "none",
            where=folder,
            next_step="compare the folder with where the files lie; folders below it are not looked into",
        )
    beyond = len(files) - limit
    if beyond > 0:
        files = files[: limit - 1]
    with ThreadPoolExecutor(_READERS) as pool:
        names = list(pool.map(lambda file: _name(file, storage), files))
    members = _apart(files, names)
    if beyond > 0:
        members.append(_too_many(folder, beyond + 1, limit))
    return Fleet(tuple(members), tuple(one.key for one in listed if not one.key.endswith(ENDINGS)))


def _name(file: str, storage: Storage) -> str | None:
    """The name of a file's monitor; None of a file that declares none, or that cannot be read: its own task will tell why."""
    try:
        return ModelQualityMonitor.from_bytes(storage.read(file), file).name
    except (InputError, MonitorError):
        return None


def _apart(files: list[str], names: list[str | None]) -> list[Member]:
    """The members, those that share a name with a fault: reports lie under it, and events and alerts go by it."""
    of_name: dict[str, list[str]] = defaultdict(list)
    for file, name in zip(files, names, strict=True):
        if name is not None:
            of_name[name].append(file)
    found = []
    for file, name in zip(files, names, strict=True):
        others = [other for other in of_name.get(name or "", ()) if other != file]
        fault = _shared_name(name or "", file, others) if others else None
        found.append(Member(name or _stem(file), file, fault))
    return found


def _shared_name(name: str, file: str, others: list[str]) -> dict[str, str]:
    more = f" and {len(others) - 1} more" if len(others) > 1 else ""
    return {
        "expected": "a name for each monitor of a folder, as reports and events go by it",
        "came": f"{name!r} in {others[0]}{more} too",
        "where": f"{file}, name",
        "next_step": "rename or remove one of them; the next run judges both again",
    }


def _too_many(folder: str, count: int, limit: int) -> Member:
    fault = {
        "expected": f"no more monitors in a folder than Airflow maps a task over, {limit}",
        "came": f"{count} more files, which nobody judges; those of the first {limit - 1} names are",
        "where": folder,
        "next_step": "spread them over several folders, each with a DAG of its own, or raise [core] max_map_length",
    }
    return Member(f"{count} files too many", folder, fault)


def _stem(file: str) -> str:
    return posixpath.splitext(posixpath.basename(file))[0][:_LONGEST]
