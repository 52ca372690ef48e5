"""How long prepared hours stay: what a run keeps for those after it, and what `clean` takes away.

Nothing here is ever needed for a right answer: an hour that is gone is read again.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from airflow_mq_provider.engines.hours import CAPTURES, LABELS, made_of_hours
from airflow_mq_provider.engines.prepared import LEFT_OVER, reading_digest, useless
from airflow_mq_provider.engines.task import PreparedPlace
from airflow_mq_provider.exceptions import WindowError
from airflow_mq_provider.monitor import ModelQualityMonitor
from airflow_mq_provider.quality.records import reading
from airflow_mq_provider.storage import Storage, StoredObject, join
from airflow_mq_provider.window import Window, format_time, parse_delay, parse_offset


def prepared_place(monitor: ModelQualityMonitor, window: Window) -> PreparedPlace | None:
    """Where a run of this window keeps the hours that it reads; None where the monitor keeps none, or could not use them.

    Hours are kept for `prepared_hours_retention` before the scheduled time, and those of the window in any case.
    """
    retention = _retention(monitor)
    if not retention:
        return None
    return PreparedPlace(monitor.prepared_root, min(window.start, window.scheduled_time - retention))


def clean(
    monitor: ModelQualityMonitor, storage: Storage, *, now: datetime, older_than: timedelta | None = None
) -> dict[str, Any]:
    """Remove the prepared hours that no window scheduled from ``now`` on will touch, or all that are ``older_than`` that.

    Those of an earlier definition go too, and what writers left that were killed. Returns how many there were, and their bytes.

    Raises:
        WindowError: the monitor has no start offset, so how far its windows reach back is not known, and nothing was given.
        InputError: what is there cannot be listed.
        OutputError: it cannot be deleted.
    """
    before = now - older_than if older_than is not None else now + _reach(monitor)
    kept = _retention(monitor)
    removed: list[StoredObject] = []
    standing = 0
    for side in (CAPTURES, LABELS):
        folder = join(monitor.prepared_root, side)
        digest = reading_digest(side, reading(monitor), keep_lines=monitor.keep_rejected == "lines") if kept else None
        listed = list(storage.list(folder))
        standing += len(listed)
        removed += [one for one in listed if useless(one.key, before=before, digest=digest)]
        storage.sweep(folder, deep=False, older_than=LEFT_OVER)
    storage.delete([one.uri for one in removed])
    return {
        "monitor": monitor.name,
        "prepared_hours": monitor.prepared_root,
        "before": format_time(before),
        "removed": len(removed),
        "removed_bytes": sum(one.size for one in removed),
        "kept": standing - len(removed),
    }


def _retention(monitor: ModelQualityMonitor) -> timedelta:
    """How long the monitor keeps prepared hours: not at all where its runs are not made of them."""
    if not made_of_hours(reading(monitor), monitor.keep_merged):
        return timedelta(0)
    return parse_delay(monitor.prepared_hours_retention, field="prepared_hours_retention")


def _reach(monitor: ModelQualityMonitor) -> timedelta:
    """How far, backwards, a window starts from its scheduled time."""
    offset = monitor.input.start_time_offset
    if offset is None:
        raise WindowError(
            expected="a monitor with a start_time_offset, or how old prepared hours may become",
            came="neither: its windows start with the data interval, whose length the monitor does not say",
            where=f"monitor {monitor.name!r}",
            next_step="say how old they may become: --older-than P7D",
        )
    return parse_offset(offset, field="start_time_offset")
