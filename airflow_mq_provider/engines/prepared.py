"""Prepared hours as objects: their names, their bytes, and where they lie.

A prepared hour is what one hour folder says, in columns (`engines.hours`). It is a function of the folder's objects, told by
URI, size and ETag, and of how the monitor reads lines; nothing else is in it. So any writer writes the same bytes, no lock is
needed, a folder that changed has another name here, and whoever deletes it all loses time and nothing else. What cannot be
vouched for (another version, a wrong length or checksum, another hour's content) is not read: the hour is prepared anew.

    <output>/_prepared/<endpoint>/<monitor>/captures/2020-01-09-12-<reading>-<listing>
                                            ground_truth/…
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from itertools import groupby
from operator import attrgetter
from typing import Any, Final

import msgspec
import numpy as np
import xxhash

from airflow_mq_provider import __version__
from airflow_mq_provider.engines.hours import CAPTURES, CaptureHour, Hour, LabelHour, RejectedLines
from airflow_mq_provider.engines.task import LoadedHours, PreparedPlace
from airflow_mq_provider.exceptions import InputError, OutputError
from airflow_mq_provider.inputs import Input
from airflow_mq_provider.quality.packing import packed, unpacked
from airflow_mq_provider.quality.records import Reading
from airflow_mq_provider.quality.states import BINARY, RejectedLine
from airflow_mq_provider.storage import Storage, is_s3, join
from airflow_mq_provider.window import hour_folder

FORMAT: Final = 1
"""Of the bytes: raised with each change in `encoded` or in what `hours` puts into a column."""
_MAGIC: Final = b"MQHOUR\r\n"
_READERS: Final = 8
"""Read at once, on S3."""
_SWEPT: Final = timedelta(days=7)
LEFT_OVER: Final = 3600.0
"""Seconds after which nobody writes any more what is written half."""


# --- names --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class HourFolder:
    """The objects of one hour folder, ``yyyy/mm/dd/hh``, and the name that what they say has as a prepared hour."""

    hour: str
    objects: tuple[Input, ...]
    name: str

    @property
    def size(self) -> int:
        """Bytes listed."""
        return sum(one.size for one in self.objects)


def reading_digest(side: str, reading: Reading, *, keep_lines: bool) -> str:
    """16 hexadecimal digits that name what decides how one side's lines become columns.

    The package's version is part of it, since what a line means may change with each; so is whether the text of rejected
    lines is kept.
    """

    def text(attribute: Any) -> str | None:
        return None if attribute is None else attribute.text

    binary = reading.problem_type == BINARY
    about: list[Any] = [FORMAT, __version__, side, reading.problem_type, keep_lines]
    about.append([reading.negative_label, reading.positive_label] if binary else None)
    if side == CAPTURES:
        # where a label is captured, the threshold has no say in what is predicted
        threshold = reading.threshold if binary and reading.inference is None else None
        about += [text(reading.inference), text(reading.probability), threshold, text(reading.segment_input)]
    else:
        about += [text(reading.ground_truth), text(reading.segment_truth)]
    return xxhash.xxh3_64_hexdigest(msgspec.json.encode(about))


def hour_folders(objects: Iterable[Input], digest: str) -> list[HourFolder]:
    """The hour folders of a listing, in its order, for the reading of that digest."""
    found = []
    for hour, listed in groupby(objects, attrgetter("hour")):
        inside = tuple(listed)
        lines = "".join([f"{uri}\t{size}\t{etag}\n" for uri, size, _, etag in inside])
        listing = xxhash.xxh3_128_hexdigest(lines.encode("utf-8", "surrogateescape"))
        found.append(HourFolder(hour, inside, f"{_stem(hour)}-{digest}-{listing}"))
    return found


_NAME: Final = re.compile(r"(\d{4}-\d\d-\d\d-\d\d)-([0-9a-f]{16})-[0-9a-f]{32}")


def useless(name: str, *, before: datetime, digest: str | None) -> bool:
    """Whether a prepared hour of that name lies before a time, or is of another reading than that of the digest.

    Whatever has a name of another form is not of this package, and is let be.
    """
    matched = _NAME.fullmatch(name)
    return matched is not None and (matched[1] < _stem(hour_folder(before)) or matched[2] != digest)


def _stem(hour: str) -> str:
    return hour.replace("/", "-")


# --- bytes --------------------------------------------------------------------------------------------------------------


def encoded(hour: CaptureHour | LabelHour, name: str) -> bytes:
    """A prepared hour as bytes, which say of what folder and reading they are. Equal hours give equal bytes."""
    columns: dict[str, Any] = {}
    about: dict[str, Any] = {}
    for one in fields(hour):
        value = getattr(hour, one.name)
        if isinstance(value, np.ndarray):
            columns[one.name] = value
        elif isinstance(value, RejectedLines):
            about["reasons"] = value.reasons
            about["examples"] = [(line.file, line.line, line.reason, line.seen) for line in value.examples]
            columns["rejected"] = value.lines
        else:
            about[one.name] = value
    return packed(_MAGIC, name, columns, about)


def decoded(kind: type[Hour], data: bytes, name: str) -> Hour | None:
    """The hour of what `encoded` made for that name; None where the bytes are anything else. Columns are views of them."""
    found = unpacked(_MAGIC, data)
    if found is None or found[0] != name:
        return None
    _, columns, about = found
    try:
        examples = tuple(RejectedLine(*one) for one in about.pop("examples"))
        rejected = RejectedLines(about.pop("reasons"), examples, columns.pop("rejected").tobytes())
        values: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in about.items()
        }
        return kind(**(values | columns), rejected=rejected)
    except (KeyError, TypeError):
        return None  # whole, and of another writer


# --- where they lie -----------------------------------------------------------------------------------------------------


class Shelf:
    """The prepared hours of one side of a monitor.

    Args:
        storage: that reaches them.
        place: where the monitor's prepared hours lie.
        side: `CAPTURES` or `LABELS`.
        loaded: where hours stay that are loaded.
    """

    def __init__(self, storage: Storage, place: PreparedPlace, side: str, loaded: LoadedHours | None = None) -> None:
        self._storage = storage
        self._place = place
        self._folder = join(place.uri, side)
        self._standing: dict[str, int] = {}
        self._loaded = loaded

    def look(self, folders: Sequence[HourFolder]) -> dict[str, int]:
        """The names of those of the hours that stand there, and their bytes; none where that cannot be listed."""
        if not folders:
            return {}
        first = min(hour_folder(self._place.keep_from - _SWEPT), folders[0].hour)
        try:
            # "-" and "." follow each other: these are all names that begin with one of the hours
            listed = self._storage.list(self._folder, start_after=_stem(first), until=f"{_stem(folders[-1].hour)}.")
            self._standing = {one.key: one.size for one in listed if _NAME.fullmatch(one.key)}
        except InputError:
            self._standing = {}
        return {one.name: self._standing[one.name] for one in folders if one.name in self._standing}

    def load(self, kind: type[Hour], names: Sequence[str]) -> dict[str, Hour]:
        """By name, those of the hours that are what their names say. What cannot be read is not there."""

        def read(name: str) -> Hour | None:
            try:
                return decoded(kind, self._storage.read(join(self._folder, name)), name)
            except InputError:
                return None

        held = {} if self._loaded is None else self._loaded.pop(self._folder, {})
        found: dict[str, Hour] = {name: held[name] for name in names if name in held}
        held.clear()  # before more is loaded: no more is in memory than one window needs
        missing = [name for name in names if name not in found]
        if is_s3(self._folder) and len(missing) > 1:
            with ThreadPoolExecutor(_READERS) as pool:
                hours = list(pool.map(read, missing))
        else:
            hours = list(map(read, missing))
        found.update((name, hour) for name, hour in zip(missing, hours, strict=True) if hour is not None)
        return found

    def hold(self, hours: Mapping[str, Hour]) -> None:
        """Leave hours in memory, by their names, where the process has a place for them."""
        if self._loaded is not None:
            self._loaded[self._folder] = dict(hours)

    def keep(self, folder: HourFolder, data: bytes) -> OutputError | None:
        """Write a prepared hour; the error where that cannot be, which costs the next run time and nothing else."""
        try:
            self._storage.write(join(self._folder, folder.name), data)
        except OutputError as error:
            return error
        return None

    def tidy(self, folders: Sequence[HourFolder]) -> None:
        """Delete what these hours replace, what lies before those that are to be kept, and what was left half written.

        All of them, not only those just written: who wrote the others may have been killed before it came here. Of what lies
        before, no more than a week is looked at: runs of other times, as those of a backfill, keep what is theirs.
        Where deleting is refused it stays, and takes room.
        """
        replaced = {one.name.rpartition("-")[0]: one.name for one in folders}
        keep_from = _stem(hour_folder(self._place.keep_from))
        stale = [
            join(self._folder, name)
            for name in self._standing
            if name < keep_from or replaced.get(name.rpartition("-")[0], name) != name
        ]
        with suppress(OutputError, OSError):
            self._storage.delete(stale)
            self._storage.sweep(self._folder, deep=False, older_than=LEFT_OVER)
