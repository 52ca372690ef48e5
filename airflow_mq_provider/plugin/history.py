"""A monitor's history, read from the asset events that its analyses emitted (rule O4). Nothing else keeps one.

Each question costs one query, however many monitors there are, and walks an index that Airflow has. Only events that a task of
a DAG which the user may read emitted are seen: those that were posted to the API name no DAG, and could name any file.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from airflow_mq_provider.exceptions import ModelQualityError
from airflow_mq_provider.quality.ages import Arrival, LabelAges, arrival
from airflow_mq_provider.quality.constraints import Constraint
from airflow_mq_provider.quality.metrics import HEADLINES, metrics_of
from airflow_mq_provider.window import parse_time

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

ASSETS: Final = "x-model-quality://"
RECENT: Final = 30
"""How many runs of each monitor the list of all monitors draws."""
FAILED_RUNS: Final = 1000
"""How many failed DAG runs are looked at, newest first."""
_EVER: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Revision:
    """What a report revises: which revision it is, why it was made, and what was said before it."""

    number: int
    why: Sequence[str]
    as_of: str
    status: str
    coverage: float | None
    records: int | None
    metrics: Mapping[str, float]
    violations: Collection[str]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one analysis found, as its event says.

    Attributes:
        event: the event's id.
        dag_id: of the DAG whose task emitted it.
        run_id: of the DAG run.
        at: when the event came.
        problem_type: SageMaker's word.
        start: of the window.
        end: of the window, not part of it.
        scheduled: the scheduled time, T.
        explicit: whether the window was given by the run's params.
        as_of: up to when labels counted, as text.
        status: of the run.
        reason: why it was not judged, or what was violated.
        metrics: by name; NaN is undefined.
        deviations: standard deviations, NaN where there are none.
        constraints: that the run was held against.
        violations: names of the metrics beyond them.
        noise: those of them that are within noise.
        records: rows that were analyzed, None where nobody counted them, as next.
        captures: in the window.
        coverage: share of the captures with a label, None where there is none.
        cadence: from one scheduled time to the next, None without a schedule.
        run_type: what started the run.
        report_uri: where ``report.json`` lies.
        connection: by which it was written, None on a local disk.
        label_ages: captures by the age of their label; None where nobody counted them.
        revision: what the report that stood there said before labels came late, and why; None of a first report.
    """

    event: int
    dag_id: str
    run_id: str
    at: datetime
    problem_type: str
    start: datetime
    end: datetime
    scheduled: datetime
    explicit: bool
    as_of: str
    status: str
    reason: str
    metrics: Mapping[str, float]
    deviations: Mapping[str, float]
    constraints: Mapping[str, Constraint]
    violations: Collection[str]
    noise: Collection[str]
    records: int | None
    captures: int | None
    coverage: float | None
    cadence: timedelta | None
    run_type: str
    report_uri: str
    connection: Mapping[str, Any] | None
    label_ages: LabelAges | None = None
    revision: Revision | None = None

    @property
    def window(self) -> tuple[datetime, datetime, datetime]:
        """What is the same for all runs of a window."""
        return self.scheduled, self.start, self.end

    def says_as(self, other: Verdict) -> bool:
        """Whether both say the same of the model: a run that was merely repeated is no revision."""
        mine, others = ((one.status, one.records, sorted(one.metrics.items()), one.as_of) for one in (self, other))
        return repr(mine) == repr(others)


@dataclass(frozen=True, slots=True)
class Judged:
    """A window: what its latest run says, and what others said before where they said something else, oldest first."""

    now: Verdict
    before: Sequence[Verdict]


@dataclass(frozen=True, slots=True)
class Missing:
    """DAG runs that are due and have no verdict.

    Attributes:
        paused: whether the DAG is: then nothing is due.
        not_started: runs that the schedule is owed.
        unfinished: runs that are queued or running for longer than the schedule's period.
        failed: runs that failed after the last window, and gave no verdict.
    """

    paused: bool = False
    not_started: int = 0
    unfinished: int = 0
    failed: int = 0

    @property
    def any(self) -> bool:
        """Whether there are some."""
        return bool(self.not_started or self.unfinished or self.failed)


@dataclass(frozen=True, slots=True)
class Monitor:
    """A monitor and its windows, oldest first; explicit ones, given by params, apart."""

    name: str
    windows: Sequence[Judged]
    explicit: Sequence[Judged]
    missing: Missing

    @property
    def last(self) -> Judged | None:
        """The newest window of its schedule; where there is none, the newest explicit one."""
        found = self.windows or self.explicit
        return found[-1] if found else None

    @property
    def arrival(self) -> Arrival | None:
        """How coverage grows with the age of labels, over the windows of the schedule; None where too little is known."""
        return arrival(one.now.label_ages for one in self.windows if one.now.label_ages is not None)

    @property
    def headlines(self) -> list[str]:
        """The metrics that are shown first, as far as they were found."""
        if self.last is None:
            return []
        seen = {name for judged in self.windows for name in judged.now.metrics}
        return [name for name in HEADLINES[self.last.now.problem_type] if name in seen] or [
            name for name in metrics_of(self.last.now.problem_type) if name in seen
        ][:3]


def monitors(session: Session, readable: Collection[str], now: datetime) -> list[Monitor]:
    """All monitors that have been judged by, or stand in, a DAG that may be read; of each its recent runs.

    A long backfill does not hide the runs of the schedule: as many of those are read beside it.
    """
    names = _assets(session)
    verdicts = _recent(session, names, readable, RECENT, backfills=True)
    verdicts |= _recent(session, names, readable, RECENT, backfills=False)
    producers = _producers(session, names, readable)
    found = {name: _of_asset(verdicts, asset) for asset, name in names.items()}
    dags = {name: {one.dag_id for one in found[name]} or producers.get(asset, set()) for asset, name in names.items()}
    missing = _missing(session, {name: ids for name, ids in dags.items() if ids}, found, now)
    return [_monitor(name, found[name], missing[name]) for name in sorted(names.values()) if dags[name]]


def monitor(session: Session, name: str, readable: Collection[str], now: datetime, runs: int) -> Monitor | None:
    """One monitor with its latest so many runs; None where there is none, or none that may be read."""
    names = _assets(session, name)
    verdicts = _recent(session, names, readable, runs, backfills=True)
    verdicts |= _recent(session, names, readable, runs, backfills=False)
    found = list(verdicts.values())
    dags = {one.dag_id for _, one in found}
    if not dags:
        dags = set().union(*_producers(session, names, readable).values())
    if not dags:
        return None
    of_name = [one for _, one in found]
    return _monitor(name, of_name, _missing(session, {name: dags}, {name: of_name}, now)[name])


def verdict(session: Session, event: int, readable: Collection[str]) -> tuple[str, Verdict] | None:
    """An event's monitor and verdict, None where there is no such event, or none that may be read."""
    from sqlalchemy import select

    from airflow_mq_provider.airflow_internals import airflow_tables

    table = airflow_tables()
    query = (
        select(table.event, table.asset.name)
        .join(table.asset, table.asset.id == table.event.asset_id)
        .where(table.event.id == event, table.asset.name.startswith(ASSETS, autoescape=True))
    )
    for found, asset in session.execute(query):
        read = _read(found) if found.source_dag_id in readable else None
        if read is not None:
            return asset.removeprefix(ASSETS), read
    return None


def of_run(session: Session, dag_id: str, run_id: str) -> dict[str, Verdict]:
    """The latest verdict of each monitor that a DAG run judged, by the monitor's name.

    Airflow has no index of events by run: those that came between the run's time and its end are looked at, by monitor.
    """
    from sqlalchemy import and_, or_, select

    from airflow_mq_provider.airflow_internals import airflow_tables

    table = airflow_tables()
    query = (
        select(table.event, table.asset.name)
        .join(table.asset, table.asset.id == table.event.asset_id)
        .join(
            table.run,
            and_(table.run.dag_id == table.event.source_dag_id, table.run.run_id == table.event.source_run_id),
        )
        .where(
            table.asset.name.startswith(ASSETS, autoescape=True),
            table.run.dag_id == dag_id,
            table.run.run_id == run_id,
            table.event.timestamp >= table.run.run_after,
            or_(table.run.end_date.is_(None), table.event.timestamp <= table.run.end_date),
        )
        .order_by(table.event.timestamp, table.event.id)
    )
    found: dict[str, Verdict] = {}
    for event, asset in session.execute(query):
        read = _read(event)
        if read is not None:
            found[asset.removeprefix(ASSETS)] = read
    return found


# --- queries ----------------------------------------------------------------------------------------------------------


def _assets(session: Session, name: str | None = None) -> dict[int, str]:
    """Names of monitors by the id of their asset."""
    from sqlalchemy import select

    from airflow_mq_provider.airflow_internals import airflow_tables

    asset = airflow_tables().asset
    wanted = asset.name.startswith(ASSETS, autoescape=True) if name is None else asset.name == ASSETS + name
    return {id: found.removeprefix(ASSETS) for id, found in session.execute(select(asset.id, asset.name).where(wanted))}


def _recent(
    session: Session, assets: Collection[int], readable: Collection[str], runs: int, *, backfills: bool
) -> dict[int, tuple[int, Verdict]]:
    """The latest so many events of each asset, by their id: the asset's id and the verdict."""
    from sqlalchemy import and_, func, literal, select
    from sqlalchemy.orm import aliased

    from airflow_mq_provider.airflow_internals import airflow_tables

    table = airflow_tables()
    event, former = table.event, aliased(table.event)

    def seen(one: Any) -> Any:
        """The events that count: of tasks, of DAGs that may be read, and not of backfills unless those are asked for."""
        query = one.source_dag_id.in_(readable)
        if backfills:
            return query
        run = aliased(table.run)
        return and_(
            query,
            select(run.id)
            .where(run.dag_id == one.source_dag_id, run.run_id == one.source_run_id, run.run_type != "backfill")
            .correlate(one)
            .exists(),
        )

    # Each asset's own index is walked back from its latest event: what that costs does not grow with the history.
    since = (
        select(former.timestamp)
        .where(former.asset_id == table.asset.id, seen(former))
        .order_by(former.timestamp.desc())
        .offset(runs - 1)
        .limit(1)
        .correlate(table.asset)
        .scalar_subquery()
    )
    query = (
        select(event)
        .join(table.asset, table.asset.id == event.asset_id)
        .where(
            table.asset.id.in_(assets),
            seen(event),
            event.timestamp >= func.coalesce(since, literal(_EVER, event.timestamp.type)),
        )
    )
    found = ((one.id, one.asset_id, _read(one)) for one in session.scalars(query))
    return {id: (asset, read) for id, asset, read in found if read is not None}


def _producers(session: Session, assets: Collection[int], readable: Collection[str]) -> dict[int, set[str]]:
    """The DAGs that say in their files that they judge a monitor, by its asset's id."""
    from sqlalchemy import select

    from airflow_mq_provider.airflow_internals import airflow_tables

    outlet = airflow_tables().outlet
    query = select(outlet.asset_id, outlet.dag_id).where(outlet.asset_id.in_(assets), outlet.dag_id.in_(readable))
    found: dict[int, set[str]] = {}
    for asset, dag_id in session.execute(query):
        found.setdefault(asset, set()).add(dag_id)
    return found


def _missing(
    session: Session, dags: Mapping[str, set[str]], found: Mapping[str, Sequence[Verdict]], now: datetime
) -> dict[str, Missing]:
    """What each monitor's DAGs owe; by the monitor's name."""
    from sqlalchemy import select

    from airflow_mq_provider.airflow_internals import airflow_tables

    table = airflow_tables()
    ids = set().union(*dags.values())
    due = {
        dag_id: (paused, next_run)
        for dag_id, paused, next_run in session.execute(
            select(table.dag.dag_id, table.dag.is_paused, table.dag.next_dagrun_create_after).where(
                table.dag.dag_id.in_(ids)
            )
        )
    }
    runs = session.execute(
        select(table.run.dag_id, table.run.run_id, table.run.state, table.run.run_after)
        .where(table.run.dag_id.in_(ids), table.run.state.in_(["queued", "running", "failed"]))
        .order_by(table.run.run_after.desc())
        .limit(FAILED_RUNS)
    ).all()
    by_dag: dict[str, list[Any]] = {}
    for run in runs:
        by_dag.setdefault(run.dag_id, []).append(run)
    result = {}
    for name, of_monitor in dags.items():
        verdicts = found[name]
        cadence = next((one.cadence for one in reversed(verdicts) if one.cadence), None)
        grace = cadence or timedelta(hours=1)
        last = max((one.scheduled for one in verdicts if not one.explicit), default=None)
        judged = {(one.dag_id, one.run_id) for one in verdicts}
        not_started = unfinished = failed = 0
        for dag_id in of_monitor:
            paused, next_run = due.get(dag_id, (True, None))
            if not paused and next_run is not None and now - next_run > grace:
                not_started += int((now - next_run) / grace)
            for run in by_dag.get(dag_id, []):
                if (run.dag_id, run.run_id) in judged:
                    continue
                if run.state == "failed":
                    failed += last is None or run.run_after > last
                elif now - run.run_after > grace:
                    unfinished += 1
        paused = all(due.get(dag_id, (True, None))[0] for dag_id in of_monitor)
        result[name] = Missing(paused, not_started, unfinished, failed)
    return result


# --- from events to windows -------------------------------------------------------------------------------------------


def _of_asset(verdicts: Mapping[int, tuple[int, Verdict]], asset: int) -> list[Verdict]:
    return sorted((one for of, one in verdicts.values() if of == asset), key=lambda one: (one.at, one.event))


def _monitor(name: str, verdicts: Iterable[Verdict], missing: Missing) -> Monitor:
    of_window: dict[Any, list[Verdict]] = {}
    for one in sorted(verdicts, key=lambda one: (one.at, one.event)):
        of_window.setdefault((one.explicit, *one.window), []).append(one)
    judged = [
        Judged(runs[-1], [one for one, after in itertools.pairwise(runs) if not one.says_as(after)])
        for _, runs in sorted(of_window.items())
    ]
    return Monitor(
        name,
        [one for one in judged if not one.now.explicit],
        [one for one in judged if one.now.explicit],
        missing,
    )


def _read(event: Any) -> Verdict | None:
    """What an event says; None where it is not of this package, or of a version that said too little."""
    extra = {key: _plain(value) for key, value in (event.extra or {}).items()}
    try:
        window = extra["window"]
        HEADLINES[extra["problem_type"]]
        return Verdict(
            event=event.id,
            dag_id=event.source_dag_id,
            run_id=event.source_run_id or "",
            at=event.timestamp,
            problem_type=extra["problem_type"],
            start=parse_time(window["start"], field="start"),
            end=parse_time(window["end"], field="end"),
            scheduled=parse_time(window["scheduled_time"], field="scheduled_time"),
            explicit=window["source"] == "params",
            as_of=str(extra["ground_truth_as_of"]),
            status=str(extra["status"]),
            reason=str(extra["reason"] or ""),
            metrics=_numbers(extra["metrics"]),
            deviations=_numbers(extra["standard_deviations"]),
            constraints={
                name: Constraint(float(one["threshold"]), str(one["comparison_operator"]))
                for name, one in extra["constraints"].items()
            },
            violations=frozenset(extra["violations"]),
            noise=frozenset(extra.get("within_noise", ())),  # events of earlier versions do not say
            records=_counted(extra["records"]),
            captures=_counted(extra["captures"]),
            coverage=None if extra["label_coverage"] is None else float(extra["label_coverage"]),
            cadence=timedelta(seconds=extra["cadence_seconds"]) if extra["cadence_seconds"] else None,
            run_type=str(extra["run_type"]),
            report_uri=str(extra["report_uri"]),
            connection=extra["connection"],
            label_ages=LabelAges.from_dict(extra["label_ages"]) if extra.get("label_ages") else None,
            revision=_revision(extra.get("revision")),
        )
    except (AttributeError, KeyError, TypeError, ValueError, ModelQualityError):
        return None


def _revision(block: Mapping[str, Any] | None) -> Revision | None:
    if not block:
        return None
    before = block["before"]
    return Revision(
        number=int(block["number"]),
        why=[str(code) for code in block["why"]],
        as_of=str(before["ground_truth_as_of"]),
        status=str(before["status"]),
        coverage=None if before["label_coverage"] is None else float(before["label_coverage"]),
        records=_counted(before["matched"]),
        metrics=_numbers(before["metrics"]),
        violations=frozenset(map(str, before["violations"])),
    )


def _plain(value: Any) -> Any:
    """A value of an event; before Airflow 3.2 lists and mappings of some events are JSON text."""
    if isinstance(value, str) and value[:1] in ("{", "["):
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value


def _counted(found: Any) -> int | None:
    """A count; SageMaker's merger tells none."""
    return None if found is None else int(found)


def _numbers(found: Mapping[str, Any]) -> dict[str, float]:
    return {str(name): float(value) if value is not None else math.nan for name, value in found.items()}


def utc_now() -> datetime:
    """The present."""
    return datetime.now(UTC)
