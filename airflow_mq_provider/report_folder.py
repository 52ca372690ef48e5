"""What stands under a run's report prefix while it works and when it has ended, and what goes when (rules O1, O2).

``report.json`` is the commit mark: it is taken away before all else, and written after all else.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from airflow_mq_provider.engines.task import ROWS_SUFFIX
from airflow_mq_provider.monitor import ModelQualityMonitor
from airflow_mq_provider.quality import documents
from airflow_mq_provider.quality.revisions import former_of
from airflow_mq_provider.storage import Storage, join
from airflow_mq_provider.window import AsOf, Window, format_time

REPORT, STATISTICS, VIOLATIONS = "report.json", "statistics.json", "constraint_violations.json"
PAGE = "report.html"
CONSTRAINTS = "constraints.json"
REJECTED, MERGED, ADDED = "rejected.jsonl", "merged", "postprocessed"
HANDOVER, FORMER, STARTED = "merge.json", "former.json", "started"
MERGER, FLAT = "merger", "flat"
MERGE_JOB, ANALYSIS_JOB = "merge-job.json", "analysis-job.json"


def about(monitor: ModelQualityMonitor, window: Window) -> dict[str, Any]:
    """What a working file is of."""
    return {"monitor": monitor.name, "definition_hash": monitor.definition_hash(), "window": window.as_dict()}


def clear(
    monitor: ModelQualityMonitor, window: Window, storage: Storage, *, as_of: AsOf | None = None
) -> dict[str, Any] | None:
    """Take away what an earlier run left, its commit mark first; return what is kept of its report (rule O2).

    That is noted before the report goes, and with it up to when labels count that are about to be read: so a run that is
    killed in between, or one after it, still knows what stood there.

    Raises:
        OutputError: the output cannot be written, which is told before the work.
    """
    prefix = monitor.report_prefix(window)
    storage.write(join(prefix, MERGED, STARTED), b"")
    storage.sweep(prefix, deep=False)  # below it, another T may have its report
    storage.sweep(join(prefix, MERGED), deep=True)
    note = join(prefix, MERGED, FORMER)
    former = read_json(storage, note)  # left by a run that was killed after it took the old report away
    standing = read_json(storage, join(prefix, REPORT))
    if standing is not None:
        former = former_of(standing) | {"again_as_of": None if as_of is None else format_time(as_of.time)}
        storage.write(note, documents.dumps(former))
    storage.delete([join(prefix, REPORT)])
    stale = [one.uri for one in storage.list(join(prefix, MERGED)) if one.key not in (FORMER, STARTED)]
    stale += [one.uri for one in storage.list(join(prefix, ADDED))]
    storage.delete([*(join(prefix, name) for name in (PAGE, STATISTICS, VIOLATIONS, REJECTED)), *stale])
    return former


def standing_handover(monitor: ModelQualityMonitor, window: Window, storage: Storage) -> dict[str, Any] | None:
    """The hand-over that a merge left under ``merged/``, if it is of this window and definition."""
    found = read_json(storage, join(monitor.report_prefix(window), MERGED, HANDOVER))
    fits = (
        found is not None
        and found.get("window") == window.as_dict()
        and found.get("definition_hash") == monitor.definition_hash()
    )
    return found if fits else None


def read_json(storage: Storage, uri: str) -> dict[str, Any] | None:
    """A document this package wrote; None where there is none that can be read."""
    if not storage.exists(uri):
        return None
    try:
        found = json.loads(storage.read(uri))
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def write_or_delete(storage: Storage, uri: str, document: Mapping[str, Any] | None) -> None:
    """Write a document, or see to it that none is there."""
    if document is None:
        storage.delete([uri])
    else:
        storage.write(uri, documents.dumps(document))


def drop_working_files(prefix: str, storage: Storage, *, records: bool = False) -> None:
    """The rows in columns have served; what `keep_merged` asked for stays (rule O1). ``records``: nor did it ask for those."""
    working = (ROWS_SUFFIX, HANDOVER, FORMER, STARTED, MERGE_JOB, ANALYSIS_JOB)
    served = (f"{FLAT}/", f"{MERGER}/") if records else (f"{FLAT}/",)
    storage.delete(
        [
            one.uri
            for one in storage.list(join(prefix, MERGED))
            if one.key.endswith(working) or one.key.startswith(served)
        ]
    )
