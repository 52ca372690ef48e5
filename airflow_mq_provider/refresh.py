"""Past windows whose labels came late, judged again as of now; nothing else is run again.

    find           the reports that stand, and of each whether it is due, or why it is left alone
    judge_again    a due window as of now: `run` itself, so its report keeps what it revises
    refresh        both, for the command line

All may be killed at any time and repeated: what is due is read from what stands there, and from nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from airflow_mq_provider import run
from airflow_mq_provider.engines import engine as engine_named
from airflow_mq_provider.engines.choosing import choose
from airflow_mq_provider.engines.task import LoadedHours, MergeTask
from airflow_mq_provider.exceptions import ModelQualityError
from airflow_mq_provider.inputs import capture_inputs, label_listing, labels_among
from airflow_mq_provider.monitor import ModelQualityMonitor
from airflow_mq_provider.publish.cloudwatch import CloudWatch
from airflow_mq_provider.quality.ages import hour_number
from airflow_mq_provider.quality.records import reading
from airflow_mq_provider.quality.revisions import LABELS_CAME_LATE, former_of, outcome
from airflow_mq_provider.report_folder import FORMER, MERGED, REPORT, read_json
from airflow_mq_provider.retention import prepared_place
from airflow_mq_provider.storage import Storage, StoredObject, join
from airflow_mq_provider.window import (
    AsOf,
    Window,
    explicit_window,
    format_time,
    ground_truth_as_of,
    hour_folder,
    parse_time,
)

INTERRUPTED: Final = "interrupted"
DUE: Final = (LABELS_CAME_LATE, INTERRUPTED)
"""Why a window is judged again."""
COMPLETE, NO_CAPTURES, NO_NEW_LABELS, SETTLED = "complete", "no_captures", "no_new_labels", "settled"
OTHER_DEFINITION, INPUTS_GONE, ON_SAGEMAKER = "other_definition", "inputs_gone", "on_sagemaker"
UNFINISHED, UNREADABLE = "unfinished", "unreadable"
LEFT_ALONE: Final[Mapping[str, str]] = {
    COMPLETE: "every capture had its label",
    NO_CAPTURES: "no captures",
    NO_NEW_LABELS: "no label of its captures came since",
    SETTLED: "labels that come now are later than ground_truth_max_delay",
    OTHER_DEFINITION: "judged by another definition of the monitor",
    INPUTS_GONE: "captures or labels that it was judged by are no longer there",
    ON_SAGEMAKER: "judged on SageMaker's compute",
    UNFINISHED: "its run is under way, or did not finish",
    UNREADABLE: "its report.json cannot be read",
}
"""Why a window is left alone, and in words."""

_REPORT = re.compile(rf"(\d{{4}}(?:/\d\d){{3,5}})/(?:({REPORT})|{MERGED}/{FORMER})")
_HOUR = timedelta(hours=1)

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class PastWindow:
    """A window with a report, or whose report was taken away by a run as of a later time which did not finish.

    Attributes:
        window: as the report names it.
        decision: one of `DUE`, or of `LEFT_ALONE`.
        as_of: up to when labels count now.
        former: what is kept of its report.
    """

    window: Window
    decision: str
    as_of: AsOf
    former: Mapping[str, Any]

    @property
    def due(self) -> bool:
        """Whether it is to be judged again."""
        return self.decision in DUE

    @property
    def cadence(self) -> timedelta | None:
        """From one scheduled time to the next, as its report says."""
        seconds = self.former["cadence_seconds"]
        return None if seconds is None else timedelta(seconds=seconds)

    def as_dict(self) -> dict[str, Any]:
        """In JSON, for the task that judges it again."""
        return {
            "window": self.window.as_dict(),
            "decision": self.decision,
            "as_of": format_time(self.as_of.time),
            "as_of_source": self.as_of.source,
            "former": dict(self.former),
        }

    @classmethod
    def from_dict(cls, given: Mapping[str, Any]) -> PastWindow:
        """Read what `as_dict` wrote."""
        as_of = AsOf(parse_time(given["as_of"], field="as_of"), given["as_of_source"])
        return cls(Window.from_dict(given["window"]), given["decision"], as_of, given["former"])


def find(
    monitor: ModelQualityMonitor,
    storage: Storage,
    *,
    now: datetime,
    since: datetime | None = None,
    engine: str = "local",
    workers: int | None = None,
    memory_limit: int | None = None,
    progress: Progress | None = None,
) -> list[PastWindow]:
    """Look at the reports of scheduled times, from the hour of ``since`` on, and decide about each; in the order of time.

    A window is due where captures were without a label and one of its captures has a label which came since: in an hour
    that has ended between the report's as-of time and ``now``, or in an earlier folder, where that was uploaded later. Explicit
    windows, under ``windows/``, are nobody's schedule and are not looked at.

    Most is decided by listings. Only of windows whose list of labels has changed are captures read, once each, however many
    windows overlap.

    Raises:
        InputError: something cannot be listed or read, or not within ``memory_limit``.
    """
    now = now.replace(microsecond=0)
    found = [_decided(monitor, one, now) for one in _reports(monitor, storage, since)]
    asked = [one for one in found if one.decision == LABELS_CAME_LATE]
    if not asked:
        return found
    listing = label_listing(
        monitor, min(one.window.start for one in asked), max(one.as_of.time for one in asked), storage
    )
    looked = {one.window: _by_listing(one, listing) for one in asked}
    to_read = [(one, since) for one, since in looked.values() if since is not None]
    for group in _overlapping(to_read):
        for one in _by_reading(monitor, storage, group, listing, engine, workers, memory_limit, progress):
            looked[one.window] = one, None
    return [looked[one.window][0] if one.decision == LABELS_CAME_LATE else one for one in found]


def judge_again(
    monitor: ModelQualityMonitor,
    past: PastWindow,
    *,
    storage: Storage,
    engine: str = "local",
    workers: int | None = None,
    memory_limit: int | None = None,
    allow_scripts: bool = False,
    cloudwatch: CloudWatch | None = None,
    progress: Progress | None = None,
    loaded: LoadedHours | None = None,
) -> dict[str, Any]:
    """Judge a past window as of its new time: the content of its new ``report.json``. Errors are those of `run.run`."""
    return run.run(
        monitor,
        past.window,
        storage=storage,
        as_of=past.as_of,
        engine=engine,
        workers=workers,
        memory_limit=memory_limit,
        allow_scripts=allow_scripts,
        cadence=past.cadence,
        cloudwatch=cloudwatch,
        progress=progress,
        loaded=loaded,
    )


def refresh(
    monitor: ModelQualityMonitor,
    *,
    storage: Storage | None = None,
    now: datetime | None = None,
    since: datetime | None = None,
    dry_run: bool = False,
    engine: str = "local",
    workers: int | None = None,
    memory_limit: int | None = None,
    allow_scripts: bool = False,
    cloudwatch: CloudWatch | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Judge every due window again, one after another, and tell what changed: before, after, and who was left alone.

    A window that fails does not stop those after it; its ``error`` says why, and it is due again the next time.

    Raises:
        InputError: something cannot be listed or read while the due ones are looked for.
    """
    storage = storage or run.storage_for(monitor)
    now = now or datetime.now(UTC)
    settings: dict[str, Any] = {
        "engine": engine, "workers": workers, "memory_limit": memory_limit, "progress": progress,
    }  # fmt: skip
    loaded: LoadedHours = {}
    windows: list[dict[str, Any]] = []
    left_alone: dict[str, list[str]] = {}
    for past in find(monitor, storage, now=now, since=since, **settings):
        if not past.due:
            left_alone.setdefault(past.decision, []).append(format_time(past.window.scheduled_time))
            continue
        told: dict[str, Any] = {"window": past.window.as_dict(), "why": past.decision, "before": outcome(past.former)}
        windows.append(told | {"after": None, "revision": None, "error": None})
        if dry_run:
            continue
        try:
            report = judge_again(
                monitor,
                past,
                storage=storage,
                allow_scripts=allow_scripts,
                cloudwatch=cloudwatch,
                loaded=loaded,
                **settings,
            )
        except ModelQualityError as error:
            windows[-1]["error"] = str(error)
        else:
            windows[-1] |= {"after": outcome(former_of(report)), "revision": report.get("revision")}
    return {
        "monitor": monitor.name,
        "as_of": format_time(now),
        "dry_run": dry_run,
        "windows": windows,
        "left_alone": left_alone,
    }


# --- which are due ------------------------------------------------------------------------------------------------------


def _reports(
    monitor: ModelQualityMonitor, storage: Storage, since: datetime | None
) -> Iterator[tuple[bool, Mapping[str, Any], str]]:
    """What stands in the folders of scheduled times: whether it is a report, its content, and the folder, in order."""
    first = "" if since is None else hour_folder(since)
    standing: dict[str, list[bool]] = {}
    for one in storage.list(monitor.report_root, start_after=first, until="windows"):
        if matched := _REPORT.fullmatch(one.key):
            standing.setdefault(matched[1], []).append(matched[2] is not None)
    for folder, kinds in sorted(standing.items()):
        whole = any(kinds)
        name = REPORT if whole else f"{MERGED}/{FORMER}"
        content = read_json(storage, join(monitor.report_root, folder, name)) or {}
        yield whole, content, folder


def _decided(monitor: ModelQualityMonitor, found: tuple[bool, Mapping[str, Any], str], now: datetime) -> PastWindow:
    """What the report alone decides; `LABELS_CAME_LATE` is still to be looked at."""
    whole, content, folder = found
    former = former_of(content) if whole else {**former_of({}), **content}
    try:
        window = Window.from_dict(content["window"])
        as_of = ground_truth_as_of("now", window, now=now, max_delay=monitor.ground_truth_max_delay)
        judged_as_of = parse_time(former["ground_truth_as_of"], field="ground_truth_as_of")
    except (KeyError, TypeError, AttributeError, ModelQualityError):
        return PastWindow(_window_of(folder), UNREADABLE, AsOf(now, "now"), former_of({}))
    again_as_of = content.get("again_as_of") if not whole else None
    if former["definition_hash"] != monitor.definition_hash():
        decision = OTHER_DEFINITION
    elif not whole:
        late = again_as_of is not None and again_as_of > former["ground_truth_as_of"]
        decision = INTERRUPTED if late else UNFINISHED
    elif content.get("engine") == run.ON_SAGEMAKER:
        decision = ON_SAGEMAKER
    elif former["label_coverage"] is None:
        decision = NO_CAPTURES
    elif former["label_coverage"] >= 1:
        decision = COMPLETE
    elif as_of.time <= judged_as_of:
        decision = SETTLED if as_of.time < now else NO_NEW_LABELS
    else:
        decision = LABELS_CAME_LATE
    return PastWindow(window, decision, as_of, former)


def _window_of(folder: str) -> Window:
    """A window of the scheduled time that a report's folder names, for a report that does not name its own."""
    names = [*map(int, folder.split("/")), 0, 0][:6]
    scheduled = datetime(*names, tzinfo=UTC)  # type: ignore[misc, arg-type]
    return Window(scheduled - _HOUR, scheduled, scheduled, "command_line")


def _by_listing(one: PastWindow, listing: Sequence[StoredObject]) -> tuple[PastWindow, datetime | None]:
    """What the list of labels decides; where it decides nothing, from which hour on labels are new."""
    start, judged_as_of = one.window.hours()[0], parse_time(one.former["ground_truth_as_of"], field="as_of")
    if labels_among(listing, start, one.as_of.time).digest == one.former["ground_truth_digest"]:
        return replace(one, decision=NO_NEW_LABELS), None
    earlier = labels_among(listing, start, judged_as_of)
    if earlier.digest == one.former["ground_truth_digest"]:
        return one, judged_as_of
    if len(earlier.objects) < one.former["ground_truth_files"]:
        return replace(one, decision=INPUTS_GONE), None
    return one, start  # uploaded since into folders of earlier hours: any label may be new


def _overlapping(asked: Sequence[tuple[PastWindow, datetime]]) -> list[list[tuple[PastWindow, datetime]]]:
    """Windows that overlap or touch together, so that their captures are read once."""
    groups: list[list[tuple[PastWindow, datetime]]] = []
    end = datetime.min.replace(tzinfo=UTC)
    for one in sorted(asked, key=lambda one: one[0].window.start):
        if not groups or one[0].window.start > end:
            groups.append([])
        groups[-1].append(one)
        end = max(end, one[0].window.end)
    return groups


def _by_reading(
    monitor: ModelQualityMonitor,
    storage: Storage,
    group: Sequence[tuple[PastWindow, datetime]],
    listing: Sequence[StoredObject],
    engine: str,
    workers: int | None,
    memory_limit: int | None,
    progress: Progress | None,
) -> Iterator[PastWindow]:
    """Decide by which captures the labels name that are new."""
    windows = [one.window for one, _ in group]
    whole = explicit_window(min(window.start for window in windows), max(window.end for window in windows))
    until = max(one.as_of.time for one, _ in group)
    task = MergeTask(
        reading=reading(monitor),
        window=whole,
        captures=capture_inputs(monitor, whole, storage).objects,
        labels=labels_among(listing, min(since for _, since in group), until).objects,
        labels_until=until,
        merged_uri="",
        rejected_uri="",
        keep_rejected_lines=monitor.keep_rejected == "lines",
        memory_limit=memory_limit,
        prepared=prepared_place(monitor, whole),
    )
    engine = choose(engine, task, storage, workers).engine
    came = engine_named(engine).arrivals(task, storage, workers=workers, progress=progress)
    for one, since in group:
        inside = (came.times >= one.window.start.timestamp()) & (came.times < one.window.end.timestamp())
        labelled = int((inside & (came.hours >= hour_number(hour_folder(since)))).sum())
        # where all labels may be new, those of the report are among them
        known = one.former["labelled"] if since == one.window.hours()[0] else 0
        if labelled <= known:
            yield replace(one, decision=NO_NEW_LABELS)
        elif len(capture_inputs(monitor, one.window, storage).objects) < one.former["capture_files"]:
            yield replace(one, decision=INPUTS_GONE)
        else:
            yield one
