"""The steps of `run` around jobs of SageMaker's: what is read and written before a Processing job, and after it.

The jobs merge and analyze, each or both; rule O2 holds as elsewhere: ``report.json`` goes first and comes last, and a
job's number is noted before it is asked for, so that whoever comes after a killed task finds it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

from airflow_mq_provider.engines.memory import analysis_within, rows_within
from airflow_mq_provider.engines.task import ROWS_SUFFIX, count
from airflow_mq_provider.exceptions import DocumentError, InputError
from airflow_mq_provider.monitor import ModelQualityMonitor
from airflow_mq_provider.publish.cloudwatch import CloudWatch
from airflow_mq_provider.publish.html import report_page
from airflow_mq_provider.quality import documents
from airflow_mq_provider.quality.binary import curves, rank
from airflow_mq_provider.quality.constraints import NOT_JUDGED, Verdict, judge, verdict_of_rows
from airflow_mq_provider.quality.dataset import labelled_csv
from airflow_mq_provider.quality.figures import figures
from airflow_mq_provider.quality.records import reading
from airflow_mq_provider.quality.report import RunResult
from airflow_mq_provider.quality.revisions import replaced
from airflow_mq_provider.quality.states import BinaryState, MergeCounts, MergedRows
from airflow_mq_provider.report_folder import (
    FLAT,
    FORMER,
    HANDOVER,
    MERGE_JOB,
    MERGED,
    MERGER,
    PAGE,
    REPORT,
    STATISTICS,
    VIOLATIONS,
    about,
    clear,
    read_json,
    standing_handover,
)
from airflow_mq_provider.run import (
    BY_MERGER,
    ON_SAGEMAKER,
    by_merger,
    constraints_of,
    finish,
    in_segments,
    result_of,
    verdict_of_counts,
)
from airflow_mq_provider.storage import Storage, join
from airflow_mq_provider.window import Window, format_time, hour_folder


def handed_over(
    monitor: ModelQualityMonitor, window: Window, *, storage: Storage, handover: Mapping[str, Any] | None = None
) -> dict[str, Any] | None:
    """The hand-over that stands under ``merged/``, if it is of this window, definition and, where one is given, as-of time."""
    found = standing_handover(monitor, window, storage)
    if found is None or handover is None:
        return found
    asked = ("ground_truth_as_of", "as_of_source")
    return found if all(found[key] == handover[key] for key in asked) else None


def number_of_job(monitor: ModelQualityMonitor, window: Window, job: str, *, storage: Storage) -> int | None:
    """Under which number this run asked for a job first (`MERGE_JOB` or `ANALYSIS_JOB`); None where it has not yet."""
    found = read_json(storage, join(monitor.report_prefix(window), MERGED, job))
    same = found is not None and {**found, **about(monitor, window)} == found
    return found["number"] if found is not None and same else None


def make_way(monitor: ModelQualityMonitor, window: Window, job: str, number: int, *, storage: Storage) -> None:
    """Take away what the job is to write anew, ``report.json`` first, and note its number before it is asked for."""
    prefix = monitor.report_prefix(window)
    constraints_of(monitor, storage)
    if job == MERGE_JOB:
        clear(monitor, window, storage)
    else:
        storage.delete([join(prefix, name) for name in (REPORT, PAGE, STATISTICS, VIOLATIONS)])
    noted = {**about(monitor, window), "number": number}
    storage.write(join(prefix, MERGED, job), documents.dumps(noted))


def merger_uri(monitor: ModelQualityMonitor, window: Window) -> str:
    """Where SageMaker's merger writes for this run alone: it replaces no file, so that a shared place would count twice."""
    return join(monitor.report_prefix(window), MERGED, MERGER)


def hours_with_objects(storage: Storage, root: str, window: Window) -> list[str]:
    """The hour folders of the window under a root that hold an object that is not empty."""
    folders = [hour_folder(hour) for hour in window.hours()]
    return [folder for folder in folders if any(one.size for one in storage.list(join(root, folder)))]


def hand_over_merger(
    monitor: ModelQualityMonitor,
    window: Window,
    *,
    storage: Storage,
    job: str | None,
    seconds: float,
    without_rows: tuple[str, str] | None,
) -> dict[str, Any]:
    """Write the hand-over of a merge that SageMaker's merger did. It counts nothing, so nothing is known but that it ran.

    Args:
        monitor: whose captures and labels were merged.
        window: whose hours.
        storage: of the report.
        job: its name; None where none was started, as there was nothing to merge.
        seconds: that it took.
        without_rows: where there is nothing to analyze, the code and the reason of the verdict.
    """
    prefix = monitor.report_prefix(window)
    handover = {
        **about(monitor, window),
        "ground_truth_as_of": format_time(window.hours()[-1] + timedelta(hours=1)),
        "as_of_source": BY_MERGER,
        "capture_digest": None,
        "ground_truth_digest": None,
        "replaces": replaced(
            read_json(storage, join(prefix, MERGED, FORMER)), window.as_dict(), monitor.definition_hash()
        ),
        "revision": None,  # nobody told which labels were read
        "merge_job": job,
        "without_rows": without_rows and list(without_rows),
        "merge_seconds": round(seconds, 3),
    }
    storage.write(join(prefix, MERGED, HANDOVER), documents.dumps(handover))
    storage.delete([join(prefix, MERGED, MERGE_JOB)])
    return handover


def rows_to_analyze(handover: Mapping[str, Any]) -> bool:
    """Whether the merge left anything to analyze, as far as that is known."""
    return not handover["without_rows"] if by_merger(handover) else handover["merge"]["matched"] > 0


def flat_uri(monitor: ModelQualityMonitor, window: Window) -> str:
    """The folder that holds the rows of a merge of ours as one CSV, and nothing else."""
    return join(monitor.report_prefix(window), MERGED, FLAT)


def write_flat_rows(
    monitor: ModelQualityMonitor, window: Window, *, storage: Storage, memory_limit: int | None = None
) -> None:
    """Write the rows that `merge` left as that CSV, for SageMaker's analyzer.

    Raises:
        InputError: that cannot be done within `memory_limit`.
    """
    merged = join(monitor.report_prefix(window), MERGED)
    parts = [one.uri for one in storage.list(merged) if one.key.endswith(ROWS_SUFFIX)]
    with rows_within(memory_limit):
        rows = labelled_csv(
            (MergedRows.from_bytes(storage.read(uri)) for uri in parts),
            reading(monitor),
            prediction=monitor.input.inference_attribute is not None,
        )
        storage.write(join(flat_uri(monitor, window), "rows.csv"), rows)


def report_of_jobs(
    monitor: ModelQualityMonitor,
    window: Window,
    *,
    handover: Mapping[str, Any],
    storage: Storage,
    job: str | None = None,
    exit_message: str | None = None,
    no_data: str | None = None,
    seconds: float = 0.0,
    memory_limit: int | None = None,
    cadence: timedelta | None = None,
    cloudwatch: CloudWatch | None = None,
) -> dict[str, Any]:
    """Make page and ``report.json`` of the documents that SageMaker's analyzer wrote; the latter last. Returns its content.

    A metric is beyond its constraint where SageMaker lists it, or where its value says so: SageMaker passes some over. What
    only a merge of ours counts is null where SageMaker's merger merged, and the page then has no charts.

    Args:
        monitor: that was judged.
        window: that was judged.
        handover: of the merge.
        storage: of the report.
        job: the analysis; None where none was started, as there was nothing to analyze.
        exit_message: what it said at its end.
        no_data: why it found nothing to work on, where that is so.
        seconds: that it took.
        memory_limit: of what charts and segments are made within, from the rows of a merge of ours.
        cadence: as of `analyze`.
        cloudwatch: likewise; SageMaker's jobs publish nothing where no schedule runs them.

    Raises:
        InputError: a document is absent, or of other rows than those that were merged; or these do not fit `memory_limit`.
        DocumentError: one is none of model quality, or of other constraints.
    """
    counts = None if by_merger(handover) else MergeCounts.from_dict(handover)
    constraints = constraints_of(monitor, storage)
    statistics, judgement = None, None
    if job is not None and no_data is None:
        statistics = _statistics(monitor, window, counts, storage)
    if statistics is not None and constraints is not None:
        where = join(monitor.report_prefix(window), VIOLATIONS)
        listed = documents.read_violations(documents.loads(storage.read(where), where), constraints, where)
        judgement = judge(statistics.metrics, constraints, monitor.problem_type, listed=listed)
    if no_data is not None or handover.get("without_rows"):
        code, reason = handover.get("without_rows") or ("no_matches", f"no row to analyze: SageMaker says {no_data!r}")
        outcome = Verdict(NOT_JUDGED, reason, code)
    elif counts is not None:
        outcome = verdict_of_counts(monitor, counts, judgement)
    else:
        rows = statistics.item_count if statistics is not None else None
        outcome = verdict_of_rows(rows or 0, judgement, min_records=monitor.min_records, noise_sd=monitor.noise_sd)
    result = result_of(
        monitor,
        window,
        handover,
        counts=counts,
        outcome=outcome,
        statistics=statistics,
        constraints=constraints,
        judgement=judgement,
        engine=ON_SAGEMAKER,
        scripts=handover.get("scripts") or {},
        jobs={"merge": handover.get("merge_job"), "analysis": job, "exit_message": exit_message},
    )
    if outcome.status == NOT_JUDGED:  # no list of violations may look like a clean bill
        storage.delete([join(monitor.report_prefix(window), VIOLATIONS)])
    if counts is not None and statistics is not None:
        merged = join(monitor.report_prefix(window), MERGED)
        with analysis_within(memory_limit, reading(monitor), storage, merged, counts.merge.matched):
            result = in_segments(_with_charts(result, statistics, storage), storage)
    storage.write(join(monitor.report_prefix(window), PAGE), report_page(result))
    return finish(result, storage, seconds=(handover["merge_seconds"], seconds), cadence=cadence, cloudwatch=cloudwatch)


def _with_charts(result: RunResult, statistics: documents.Statistics, storage: Storage) -> RunResult:
    """Add what charts show, from the rows that a merge of ours left: the curves too, of which SageMaker may write any number."""
    monitor = result.monitor
    state = count(storage, join(monitor.report_prefix(result.window), MERGED), monitor.problem_type)
    ranking = rank(state) if isinstance(state, BinaryState) else None
    drawn = curves(state, monitor.threshold, ranking) if isinstance(state, BinaryState) else {}
    found = figures(state, monitor.threshold, ranking)
    return replace(result, statistics=replace(statistics, curves=drawn), figures=found)


def _statistics(
    monitor: ModelQualityMonitor, window: Window, counts: MergeCounts | None, storage: Storage
) -> documents.Statistics:
    """The statistics that the analyzer wrote, if they are of the merged rows."""
    where = join(monitor.report_prefix(window), STATISTICS)
    found = documents.read_statistics(documents.loads(storage.read(where), where), where, monitor.problem_type)
    if counts is not None and found.item_count not in (None, counts.merge.matched):
        raise InputError(
            expected=f"statistics of the {counts.merge.matched} merged rows",
            came=f"item_count {found.item_count}",
            where=where,
            next_step="another run of the same scheduled time wrote there; run this one again, by itself",
        )
    if counts is None and found.item_count is None:
        raise DocumentError(
            expected="a number of rows: dataset.item_count",
            came="none",
            where=where,
            next_step="merge_on='airflow' counts the rows here",
        )
    return found
