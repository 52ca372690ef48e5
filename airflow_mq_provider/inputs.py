"""Which objects a run reads: the captures of its window and the labels up to its as-of time (rules I1, I2, M3).

Hour folders are told by their names, never by modification times. Names that start with a dot or an underscore, and
empty markers of folders, are no data. Objects come by hour folder, then by key.
"""

from __future__ import annotations

import hashlib
import json
import posixpath
import re
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from airflow_mq_provider.exceptions import InputError
from airflow_mq_provider.monitor import BatchTransformInput, ModelQualityMonitor
from airflow_mq_provider.storage import Storage, StoredObject, is_s3, join
from airflow_mq_provider.window import AsOf, Window, hour_folder

_HOUR = timedelta(hours=1)
_IN_HOUR_FOLDER = re.compile(r"\d{4}/\d\d/\d\d/\d\d/(?:[^/._][^/]*\Z|.*/[^/._][^/]*\Z)")
UNLISTED = 64 * 1024 * 1024
"""Taken as the size of an object that a manifest names: each is worked by itself."""
_MANIFEST_LIMIT = 16 * 1024 * 1024


class Input(NamedTuple):
    """One object to read, and the hour folder (``yyyy/mm/dd/hh``) it was listed under.

    ``etag`` is that of the listing: it changes when the object is written anew. Empty where the object was not listed.
    """

    uri: str
    size: int
    hour: str
    etag: str = ""


@dataclass(frozen=True, slots=True)
class Inputs:
    """What one side of a run reads, in order, and a digest of the listing: keys and sizes, on S3 ETags too."""

    objects: tuple[Input, ...]
    digest: str


def capture_inputs(monitor: ModelQualityMonitor, window: Window, storage: Storage) -> Inputs:
    """The captures of the window's hour folders and of the one after, where late records are flushed (rule I1).

    Raises `InputError` where nothing at all lies under the capture prefix: that is a wrong prefix, not an idle hour.
    """
    root = monitor.capture_root
    hours = window.hours()
    listed = _listed(storage, root, hour_folder(hours[0]), hour_folder(hours[-1] + 2 * _HOUR))
    if not listed and next(iter(storage.list(root)), None) is None:
        raise InputError(
            expected=f"captured predictions under {root}/yyyy/mm/dd/hh/",
            came="no object at all under that prefix",
            where="data_captured_destination_uri, endpoint_name and variant_name of the monitor",
            next_step="compare them with the capture configuration of the endpoint and with what lies in the bucket",
        )
    if isinstance(monitor.input, BatchTransformInput):
        return Inputs(tuple(_batch_data(listed, storage)), _digest(listed))
    return _inputs(listed)


def label_inputs(monitor: ModelQualityMonitor, window: Window, as_of: AsOf, storage: Storage) -> Inputs:
    """The labels of the hour folders from the window's start on that have ended by the as-of time (rule I2)."""
    hours = window.hours()
    return _inputs(_listed(storage, monitor.ground_truth_uri, hour_folder(hours[0]), hour_folder(as_of.time)))


def label_listing(
    monitor: ModelQualityMonitor, first: datetime, until: datetime, storage: Storage
) -> list[StoredObject]:
    """All labels of the hour folders from that of one time to that of another, which is left out, for `labels_among`."""
    return _listed(storage, monitor.ground_truth_uri, hour_folder(first), hour_folder(until))


def labels_among(listing: Sequence[StoredObject], first: datetime, until: datetime) -> Inputs:
    """What `label_inputs` lists of a window that starts in the first hour, as of the second time, out of a longer listing."""
    bounds = [bisect_left(listing, hour_folder(time), key=lambda one: one.key) for time in (first, until)]
    return _inputs(listing[slice(*bounds)])


def _listed(storage: Storage, root: str, first: str, until: str) -> list[StoredObject]:
    if first >= until:
        return []
    is_input = _IN_HOUR_FOLDER.match
    return [one for one in storage.list(root, start_after=first, until=until) if one.size and is_input(one.key)]


def _inputs(listed: Iterable[StoredObject]) -> Inputs:
    listed = tuple(listed)
    return Inputs(tuple([Input(uri, size, key[:13], etag) for uri, key, size, etag in listed]), _digest(listed))


def _digest(listed: Iterable[StoredObject]) -> str:
    # one listing is of one root: the first of it tells for all
    listed = tuple(listed)
    if listed and is_s3(listed[0].uri):
        lines = [f"{key}\t{size}\t{etag}\n" for _, key, size, etag in listed]
    else:
        lines = [f"{key}\t{size}\t\n" for _, key, size, _ in listed]
    return hashlib.sha256("".join(lines).encode()).hexdigest()[:32]


def _batch_data(manifests: Iterable[StoredObject], storage: Storage) -> Iterable[Input]:
    """The data objects that batch transform's manifests name. A manifest may not lead out of its prefix (rule O5)."""
    for manifest in manifests:
        if manifest.size > _MANIFEST_LIMIT:
            raise _bad_manifest(manifest.uri, f"an object of {manifest.size} bytes")
        try:
            entries = json.loads(storage.read(manifest.uri, etag=manifest.etag))
        except ValueError as error:
            raise _bad_manifest(manifest.uri, f"no JSON: {error}") from error
        if not (isinstance(entries, list) and entries and isinstance(entries[0], dict)):
            raise _bad_manifest(manifest.uri, "another shape")
        prefix, keys = entries[0].get("prefix"), entries[1:]
        if not isinstance(prefix, str) or not all(isinstance(key, str) and key for key in keys):
            raise _bad_manifest(manifest.uri, "a prefix or keys that are no text")
        if is_s3(manifest.uri) != is_s3(prefix):
            raise _bad_manifest(manifest.uri, f"a prefix of another kind of storage: {prefix}")
        for key in keys:
            if key.startswith("/") or posixpath.normpath(key).startswith("..") or "://" in key:
                raise _bad_manifest(manifest.uri, f"a key that leads out of its prefix: {key}")
            yield Input(join(prefix, key), UNLISTED, manifest.key[:13])


def _bad_manifest(uri: str, came: str) -> InputError:
    return InputError(
        expected='a batch transform capture manifest: [{"prefix": "s3://…/"}, "key", …]',
        came=came,
        where=uri,
        next_step="point data_captured_destination_uri at the job's capture destination, whose output/ holds manifests",
    )
