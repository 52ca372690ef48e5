"""A monitoring run in one screen: merge the labels that came into the captures of a window, then judge.

    inputs      which captures and labels                  rules I1, I2
    merge       an engine joins them and writes the rows   rules M1 to M3
    analyze     states -> metrics -> verdict -> documents  rules A1 to A7
    publish     the same for people and for CloudWatch     rules O1, O3
    report.json comes last: where it is absent, the run did not finish (rules O1, O2)

`merge` and `analyze` are the two tasks of the DAG; what passes between them is a small hand-over in plain JSON. Each may
be run again at any time, and killed at any time. `run_on_sagemaker` has the steps around jobs of SageMaker's.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np

from airflow_mq_provider import __version__
from airflow_mq_provider.engines import engine as engine_named
from airflow_mq_provider.engines.choosing import choose
from airflow_mq_provider.engines.memory import analysis_within
from airflow_mq_provider.engines.task import LoadedHours, MergeTask, count, count_segments
from airflow_mq_provider.engines.workers import no_garbage_collection
from airflow_mq_provider.exceptions import InputError
from airflow_mq_provider.inputs import capture_inputs, label_inputs
from airflow_mq_provider.monitor import ModelQualityMonitor
from airflow_mq_provider.publish.cloudwatch import CloudWatch, default_client, publish
from airflow_mq_provider.publish.html import report_page
from airflow_mq_provider.quality import documents
from airflow_mq_provider.quality.binary import Ranking, rank
from airflow_mq_provider.quality.constraints import NOT_JUDGED, Constraint, Judgement, Verdict, judge, suggest, verdict
from airflow_mq_provider.quality.dataset import labelled_rows
from airflow_mq_provider.quality.figures import figures
from airflow_mq_provider.quality.records import reading
from airflow_mq_provider.quality.rejections import refuse_too_many
from airflow_mq_provider.quality.report import RunResult, report_document
from airflow_mq_provider.quality.revisions import replaced, revision
from airflow_mq_provider.quality.segments import judge_segments
from airflow_mq_provider.quality.states import BinaryState, MergeCounts, MergedRows, State, state_of
from airflow_mq_provider.report_folder import (
    ADDED,
    CONSTRAINTS,
    HANDOVER,
    MERGED,
    PAGE,
    REJECTED,
    REPORT,
    STATISTICS,
    VIOLATIONS,
    about,
    clear,
    drop_working_files,
    standing_handover,
    write_or_delete,
)
from airflow_mq_provider.retention import prepared_place
from airflow_mq_provider.scripts import POSTPROCESSOR, PREPROCESSOR, postprocess, scripts_of
from airflow_mq_provider.storage import Storage, join
from airflow_mq_provider.window import AsOf, Window, format_time, ground_truth_as_of, parse_time

Progress = Callable[[str, int, int], None]


def run(
    monitor: ModelQualityMonitor,
    window: Window,
    *,
    storage: Storage | None = None,
    as_of: AsOf | None = None,
    engine: str = "local",
    workers: int | None = None,
    memory_limit: int | None = None,
    allow_scripts: bool = False,
    cadence: timedelta | None = None,
    cloudwatch: CloudWatch | None = None,
    progress: Progress | None = None,
    loaded: LoadedHours | None = None,
) -> dict[str, Any]:
    """`merge`, then `analyze`: the content of ``report.json``.

    Who judges several windows one after another gives each run the same `loaded`, an empty dictionary at first: hours that a
    window has in common with the one before it are then neither read nor joined again. They take about 90 bytes a record until
    it goes. One `storage`, too: what it was told of a folder of a local disk it need not be told anew.
    """
    storage = storage or storage_for(monitor)
    settings: dict[str, Any] = {
        "storage": storage, "engine": engine, "workers": workers, "memory_limit": memory_limit,
        "allow_scripts": allow_scripts,
    }  # fmt: skip
    rows: list[MergedRows] = []
    handover = merge(monitor, window, as_of=as_of, progress=progress, loaded=loaded, rows=rows, **settings)
    return analyze(monitor, window, handover=handover, rows=rows, cadence=cadence, cloudwatch=cloudwatch, **settings)


@no_garbage_collection()
def merge(
    monitor: ModelQualityMonitor,
    window: Window,
    *,
    storage: Storage | None = None,
    as_of: AsOf | None = None,
    engine: str = "local",
    workers: int | None = None,
    memory_limit: int | None = None,
    allow_scripts: bool = False,
    progress: Progress | None = None,
    loaded: LoadedHours | None = None,
    rows: list[MergedRows] | None = None,
) -> dict[str, Any]:
    """Join the labels to the captures of a window; the rows wait under ``merged/`` for `analyze`.

    First takes away what an earlier run left under the report prefix, its ``report.json`` before all else. Without
    `as_of`, labels count up to the scheduled time. The engine ``auto`` is one of the others, by the listing (`choose`).
    Returns the hand-over: plain JSON, a few kilobytes.

    Who analyzes in the same process gives both the same `rows`, an empty list: rows that are made in this process then wait there,
    with no hand-over under ``merged/`` that a later process could take for theirs.

    Raises:
        InputError: the capture prefix holds nothing, or something cannot be read.
        DocumentError: the constraints are of another kind.
        RejectedLinesError: more than ``max_rejected_ratio`` of one side was rejected; the lines are in ``rejected.jsonl``.
        OutputError: the output cannot be written.
        ScriptError: the monitor has a script, and `allow_scripts` is off; or its preprocessor failed.
    """
    started = time.monotonic()
    storage = storage or storage_for(monitor)
    scripts = scripts_of(monitor, storage, allow=allow_scripts)
    as_of = as_of or ground_truth_as_of("schedule", window, max_delay=monitor.ground_truth_max_delay)
    prefix = monitor.report_prefix(window)
    constraints = constraints_of(monitor, storage)  # bad ones are told before the work
    captures = capture_inputs(monitor, window, storage)
    labels = label_inputs(monitor, window, as_of, storage)
    former = clear(monitor, window, storage, as_of=as_of)
    task = MergeTask(
        reading=reading(monitor),
        window=window,
        captures=captures.objects,
        labels=labels.objects,
        labels_until=as_of.time,
        merged_uri=join(prefix, MERGED),
        rejected_uri=join(prefix, REJECTED),
        keep_merged=monitor.keep_merged,
        keep_rejected_lines=monitor.keep_rejected == "lines",
        preprocessor=scripts.get(PREPROCESSOR),
        memory_limit=memory_limit,
        prepared=prepared_place(monitor, window),
    )
    chosen = choose(engine, task, storage, workers)
    if chosen.engine == "local":  # the others work in other processes, or make nothing of hours
        task = replace(task, loaded=loaded, rows=rows)
    counts = engine_named(chosen.engine).merge(task, storage, workers=workers, progress=progress)
    refuse_too_many(counts, monitor.max_rejected_ratio, task.rejected_uri)
    handover = {
        **about(monitor, window),
        "ground_truth_as_of": format_time(as_of.time),
        "as_of_source": as_of.source,
        "engine": chosen.engine,
        "engine_why": chosen.why,
        "capture_digest": captures.digest,
        "ground_truth_digest": labels.digest,
        "scripts": {name: script.as_dict() for name, script in scripts.items() if name == PREPROCESSOR},
        "replaces": replaced(former, window.as_dict(), monitor.definition_hash()),
        "revision": revision(
            former,
            window.as_dict(),
            monitor.definition_hash(),
            as_of=format_time(as_of.time),
            capture_digest=captures.digest,
            ground_truth_digest=labels.digest,
            constraints={name: constraint.as_dict() for name, constraint in (constraints or {}).items()},
        ),
        **counts.as_dict(),
        "merge_seconds": round(time.monotonic() - started, 3),
    }
    if not rows:
        storage.write(join(prefix, MERGED, HANDOVER), documents.dumps(handover))
    return handover


@no_garbage_collection()
def analyze(
    monitor: ModelQualityMonitor,
    window: Window,
    *,
    handover: Mapping[str, Any] | None = None,
    rows: list[MergedRows] | None = None,
    storage: Storage | None = None,
    as_of: AsOf | None = None,
    engine: str = "local",
    workers: int | None = None,
    memory_limit: int | None = None,
    allow_scripts: bool = False,
    cadence: timedelta | None = None,
    cloudwatch: CloudWatch | None = None,
) -> dict[str, Any]:
    """Judge the merged rows and write the documents, ``report.json`` last. Returns that report's content.

    Merges first where no hand-over of the same window and definition stands under ``merged/``, as after an earlier
    report: the `as_of` given, or the hand-over's, then says which labels count. Where the `cadence` of the runs is given,
    the report's ``timings`` say whether merge and analysis together took longer. Of a merge that left `rows` in this process, these are
    judged and taken out of the list. A monitor that publishes to CloudWatch does so
    by `cloudwatch`, by default over boto3's own chain; the report says what came of it.

    Raises:
        InputError: the rows cannot be analyzed within `memory_limit`, or are not those of the hand-over.
        ScriptError: the monitor has a script, and `allow_scripts` is off; or its post-analytics processor failed.
    """
    storage = storage or storage_for(monitor)
    scripts = scripts_of(monitor, storage, allow=allow_scripts)
    prefix = monitor.report_prefix(window)
    merged = handover if rows else standing_handover(monitor, window, storage)
    if merged is None or by_merger(merged) or (handover is not None and merged != handover):
        as_of = as_of or (as_of_handover(handover) if handover is not None else None)
        merged = merge(
            monitor,
            window,
            storage=storage,
            as_of=as_of,
            engine=engine,
            workers=workers,
            memory_limit=memory_limit,
            allow_scripts=allow_scripts,
        )
    started = time.monotonic()
    storage.delete([join(prefix, REPORT)])
    ran = {name: script.as_dict() for name, script in scripts.items()}
    matched = merged["merge"]["matched"]
    parts = rows if rows is not None else []
    with analysis_within(memory_limit, reading(monitor), storage, join(prefix, MERGED), matched, parts):
        state = _counted(monitor, prefix, merged, storage, parts)
        if monitor.segments is None:
            parts.clear()  # they are counted, and need the room no more
        result = _judged(monitor, window, merged, state, constraints_of(monitor, storage), ran)
        result = in_segments(result, storage, parts)
        parts.clear()
        write_documents(result, storage)
    if POSTPROCESSOR in scripts:
        postprocess(scripts[POSTPROCESSOR], storage, prefix, (STATISTICS, VIOLATIONS), join(prefix, ADDED))
    seconds = (merged["merge_seconds"], time.monotonic() - started)
    return finish(result, storage, seconds=seconds, cadence=cadence, cloudwatch=cloudwatch)


def _counted(
    monitor: ModelQualityMonitor, prefix: str, merged: Mapping[str, Any], storage: Storage, parts: Sequence[MergedRows]
) -> State:
    """The state of the rows that the merge left."""
    state = count(storage, join(prefix, MERGED), monitor.problem_type, parts)
    rows = merged["merge"]["matched"]
    if state.records != rows:
        raise InputError(
            expected=f"the {rows} merged rows of the hand-over",
            came=f"{state.records} rows",
            where=join(prefix, MERGED),
            next_step="another run of the same scheduled time wrote there; run this one again, by itself",
        )
    return state


def _judged(
    monitor: ModelQualityMonitor,
    window: Window,
    merged: Mapping[str, Any],
    state: State,
    constraints: Mapping[str, Constraint] | None,
    scripts: Mapping[str, Mapping[str, str]],
) -> RunResult:
    """What a run found, from the state of its rows and the hand-over of its merge."""
    counts = MergeCounts.from_dict(merged)
    ranking = rank(state) if isinstance(state, BinaryState) else None
    statistics = _statistics(monitor, state, format_time(window.scheduled_time), ranking) if state.records else None
    judgement = None
    if constraints is not None and statistics is not None:
        judgement = judge(statistics.metrics, constraints, monitor.problem_type)
    return result_of(
        monitor,
        window,
        merged,
        counts=counts,
        outcome=verdict_of_counts(monitor, counts, judgement),
        statistics=statistics,
        constraints=constraints,
        judgement=judgement,
        engine=merged["engine"],
        engine_why=merged.get("engine_why"),  # a hand-over of an earlier version has none
        scripts=scripts,
        figures=figures(state, monitor.threshold, ranking) if state.records else None,
    )


def verdict_of_counts(monitor: ModelQualityMonitor, counts: MergeCounts, judgement: Judgement | None) -> Verdict:
    """The verdict on what a merge of ours counted, by the monitor's own limits."""
    return verdict(
        counts,
        judgement,
        min_records=monitor.min_records,
        min_label_coverage=monitor.min_label_coverage,
        noise_sd=monitor.noise_sd,
    )


def result_of(
    monitor: ModelQualityMonitor,
    window: Window,
    handover: Mapping[str, Any],
    *,
    outcome: Verdict,
    judgement: Judgement | None,
    **found: Any,
) -> RunResult:
    """A run's result: what the hand-over of its merge says, and what its analysis found, by the names of `RunResult`.

    It has no judgement where nothing was judged: no list of violations may look like a clean bill.
    """
    return RunResult(
        monitor=monitor,
        window=window,
        as_of=as_of_handover(handover),
        verdict=outcome,
        judgement=None if outcome.status == NOT_JUDGED else judgement,
        capture_digest=handover["capture_digest"],
        ground_truth_digest=handover["ground_truth_digest"],
        replaces=handover["replaces"],
        revision=handover["revision"],
        **found,
    )


def in_segments(result: RunResult, storage: Storage, parts: Sequence[MergedRows] = ()) -> RunResult:
    """The result with what is said of the segments of its merged rows, where the monitor asks for them and rows are here."""
    monitor = result.monitor
    if monitor.segments is None or result.counts is None or not result.counts.merge.matched:
        return result
    merged_uri = join(monitor.report_prefix(result.window), MERGED)
    states = count_segments(storage, merged_uri, monitor.problem_type, parts)
    segments = judge_segments(
        states,
        monitor.problem_type,
        result.verdict,
        result.constraints,
        min_records=monitor.min_records,
        noise_sd=monitor.noise_sd,
    )
    return replace(result, segments=segments)


def write_documents(result: RunResult, storage: Storage) -> None:
    """Write the page and SageMaker's documents, or see to it that none is there where there is nothing to say."""
    prefix = result.monitor.report_prefix(result.window)
    statistics, judgement = result.statistics, result.judgement
    violations = None if judgement is None else documents.violations_document(judgement.violations)
    storage.write(join(prefix, PAGE), report_page(result))
    write_or_delete(storage, join(prefix, STATISTICS), None if statistics is None else statistics.as_document())
    write_or_delete(storage, join(prefix, VIOLATIONS), violations)


def finish(
    result: RunResult,
    storage: Storage,
    *,
    seconds: tuple[float, float],
    cadence: timedelta | None,
    cloudwatch: CloudWatch | None,
) -> dict[str, Any]:
    """Publish the metrics, write ``report.json`` and take the working files away. Returns the report's content.

    Args:
        result: of the run, whose other documents are there.
        storage: of the report.
        seconds: that the merge took, and the analysis.
        cadence: of the runs, where it is known: the report says whether this one took longer.
        cloudwatch: where to publish if the monitor does; None for boto3's own chain.
    """
    monitor, prefix = result.monitor, result.monitor.report_prefix(result.window)
    timings: dict[str, float | bool] = {"merge_seconds": seconds[0], "analyze_seconds": round(seconds[1], 3)}
    if cadence is not None:
        slot = cadence.total_seconds()
        timings |= {"cadence_seconds": slot, "longer_than_cadence": sum(seconds) > slot}
    published = None
    if monitor.publish_cloudwatch_metrics:
        metrics = result.statistics.metrics if result.statistics is not None else {}
        published = publish(cloudwatch or CloudWatch(default_client), monitor, result.window, result.verdict, metrics)
    versions = {"airflow_mq_provider": __version__, "python": platform.python_version(), "numpy": np.__version__}
    content = report_document(result, versions=versions, timings=timings, cloudwatch=published)
    storage.write(join(prefix, REPORT), documents.dumps(content))
    drop_working_files(prefix, storage, records=result.counts is None and monitor.keep_merged is None)
    return content


def baseline(
    monitor: ModelQualityMonitor,
    dataset_uri: str,
    output_uri: str,
    *,
    dataset_format: str = "csv-header",
    ground_truth_attribute: str | None = None,
    inference_attribute: str | None = None,
    probability_attribute: str | None = None,
    tolerance_sd: float | None = None,
    storage: Storage | None = None,
) -> dict[str, Any]:
    """Make ``statistics.json`` and ``constraints.json`` from a labelled file. Returns both documents, and where they lie.

    Constraints equal the baseline's values; `tolerance_sd` loosens each by so many standard deviations (rule A7).
    """
    storage = storage or storage_for(monitor)
    rows = labelled_rows(
        storage.read(dataset_uri),
        reading(monitor),
        dataset_format=dataset_format,
        where=dataset_uri,
        ground_truth_attribute=ground_truth_attribute,
        inference_attribute=inference_attribute,
        probability_attribute=probability_attribute,
    )
    state = state_of(rows)
    statistics = _statistics(monitor, state, None)
    suggestion = suggest(statistics.metrics, monitor.problem_type, tolerance_sd=tolerance_sd)
    written = {
        STATISTICS: statistics.as_document(),
        CONSTRAINTS: documents.constraints_document(monitor.problem_type, suggestion.constraints),
    }
    for name, document in written.items():
        storage.write(join(output_uri, name), documents.dumps(document))
    return {
        "records": state.records,
        "output": output_uri,
        "statistics": written[STATISTICS],
        "constraints": written[CONSTRAINTS],
        "left_out": [metric.as_dict() for metric in suggestion.left_out],
    }


def _statistics(
    monitor: ModelQualityMonitor, state: State, evaluation_time: str | None, ranking: Ranking | None = None
) -> documents.Statistics:
    return documents.statistics(
        monitor.problem_type,
        state,
        threshold=monitor.threshold,
        evaluation_time=evaluation_time,
        negative_label=monitor.negative_label,
        positive_label=monitor.positive_label,
        ranking=ranking,
    )


def storage_for(monitor: ModelQualityMonitor, *, expected_bucket_owner: str | None = None) -> Storage:
    """Storage with boto3's own credential chain; what is written to S3 is encrypted with the monitor's key (rule O5)."""
    key = monitor.sagemaker.output_kms_key_id if monitor.sagemaker else None
    return Storage(kms_key_id=key, expected_bucket_owner=expected_bucket_owner)


def constraints_of(monitor: ModelQualityMonitor, storage: Storage) -> dict[str, Constraint] | None:
    """The monitor's constraints, None where it names none."""
    if monitor.constraints_uri is None:
        return None
    document = documents.loads(storage.read(monitor.constraints_uri), monitor.constraints_uri)
    return documents.read_constraints(document, monitor.problem_type, monitor.constraints_uri)


BY_MERGER = "merger"
"""As the source of an as-of time: SageMaker's merger read the labels."""
ON_SAGEMAKER = "sagemaker"
"""As an engine: SageMaker's analyzer computed the metrics."""


def by_merger(handover: Mapping[str, Any]) -> bool:
    """Whether SageMaker's merger merged."""
    return bool(handover["as_of_source"] == BY_MERGER)


def as_of_handover(handover: Mapping[str, Any]) -> AsOf:
    """Up to when labels counted in a merge."""
    return AsOf(parse_time(handover["ground_truth_as_of"], field="ground_truth_as_of"), handover["as_of_source"])
