"""A monitoring run in one screen: merge the labels that came into the captures of a window, then judge.

    inputs      which captures and labels                  rules I1, I2
    merge       an engine joins them and writes the rows   rules M1 to M3
    analyze     states -> metrics -> verdict -> documents  rules A1 to A7
    publish     the same for people and for CloudWatch     rules O1, O3
    report.json comes last: where it is absent, the run did not finish (rules O1, O2)

`merge` and `analyze` are the two tasks of the DAG; what passes between them is a small hand-over in plain JSON. Each may
be run again at any time, and killed at any time. Where jobs of SageMaker do the work of a step, the functions under "on
SageMaker's compute" stand around it: what is read before and after a job is read and written here, too.
"""

from __future__ import annotations

import json
import platform
import tempfile
import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np

from airflow_mq_provider import __version__
from airflow_mq_provider.engines import engine as engine_named
from airflow_mq_provider.engines.task import ROWS_SUFFIX, MergeTask, count
from airflow_mq_provider.exceptions import DocumentError, InputError, RejectedLinesError, ScriptError
from airflow_mq_provider.inputs import capture_inputs, label_inputs
from airflow_mq_provider.monitor import ModelQualityMonitor
from airflow_mq_provider.publish.cloudwatch import CloudWatch, default_client, publish
from airflow_mq_provider.publish.html import report_page
from airflow_mq_provider.publish.page import Page
from airflow_mq_provider.quality import documents, report
from airflow_mq_provider.quality.constraints import (
    NOT_JUDGED,
    Constraint,
    Verdict,
    judge,
    suggest,
    verdict,
    verdict_of_rows,
)
from airflow_mq_provider.quality.dataset import labelled_csv, labelled_rows
from airflow_mq_provider.quality.figures import figures
from airflow_mq_provider.quality.records import reading
from airflow_mq_provider.quality.states import MergeCounts, MergedRows, State, state_of
from airflow_mq_provider.scripts import Script, postprocess
from airflow_mq_provider.storage import Storage, join
from airflow_mq_provider.window import AsOf, Window, format_time, ground_truth_as_of, hour_folder, parse_time

Progress = Callable[[str, int, int], None]

REPORT, STATISTICS, VIOLATIONS = "report.json", "statistics.json", "constraint_violations.json"
PAGE = "report.html"
CONSTRAINTS = "constraints.json"
REJECTED, MERGED, ADDED = "rejected.jsonl", "merged", "postprocessed"
PREPROCESSOR, POSTPROCESSOR = "record_preprocessor", "post_analytics_processor"
HANDOVER, REPLACES, STARTED = "merge.json", "replaces.json", "started"
MERGER, FLAT = "merger", "flat"
MERGE_JOB, ANALYSIS_JOB = "merge-job.json", "analysis-job.json"
BY_MERGER, ON_SAGEMAKER = "merger", "sagemaker"


def run(
    monitor: ModelQualityMonitor,
    window: Window,
    *,
    storage: Storage | None = None,
    as_of: AsOf | None = None,
    engine: str = "local",
    workers: int | None = None,
    allow_scripts: bool = False,
    cloudwatch: CloudWatch | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """`merge`, then `analyze`: the content of ``report.json``."""
    storage = storage or storage_for(monitor)
    settings: dict[str, Any] = {
        "storage": storage, "engine": engine, "workers": workers, "allow_scripts": allow_scripts,
    }  # fmt: skip
    handover = merge(monitor, window, as_of=as_of, progress=progress, **settings)
    return analyze(monitor, window, handover=handover, cloudwatch=cloudwatch, **settings)


def merge(
    monitor: ModelQualityMonitor,
    window: Window,
    *,
    storage: Storage | None = None,
    as_of: AsOf | None = None,
    engine: str = "local",
    workers: int | None = None,
    allow_scripts: bool = False,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Join the labels to the captures of a window; the rows wait under ``merged/`` for `analyze`.

    First takes away what an earlier run left under the report prefix, its ``report.json`` before all else. Without
    `as_of`, labels count up to the scheduled time. Returns the hand-over: plain JSON, a few kilobytes.

    Raises:
        InputError: the capture prefix holds nothing, or something cannot be read.
        DocumentError: the constraints are of another kind.
        RejectedLinesError: more than ``max_rejected_ratio`` of one side was rejected; the lines are in ``rejected.jsonl``.
        OutputError: the output cannot be written.
        ScriptError: the monitor has a script, and `allow_scripts` is off; or its preprocessor failed.
    """
    started = time.monotonic()
    storage = storage or storage_for(monitor)
    scripts = _scripts(monitor, storage, allow=allow_scripts)
    as_of = as_of or ground_truth_as_of("schedule", window, max_delay=monitor.ground_truth_max_delay)
    prefix = monitor.report_prefix(window)
    constraints_of(monitor, storage)
    captures = capture_inputs(monitor, window, storage)
    labels = label_inputs(monitor, window, as_of, storage)
    replaces = _clear(monitor, window, prefix, storage)
    counts = engine_named(engine).merge(
        MergeTask(
            reading=reading(monitor),
            window=window,
            captures=captures.objects,
            labels=labels.objects,
            merged_uri=join(prefix, MERGED),
            rejected_uri=join(prefix, REJECTED),
            keep_merged=monitor.keep_merged,
            keep_rejected_lines=monitor.keep_rejected == "lines",
            preprocessor=scripts.get(PREPROCESSOR),
        ),
        storage,
        workers=workers,
        progress=progress,
    )
    _refuse_too_many_rejected(monitor, counts, join(prefix, REJECTED))
    handover = {
        "monitor": monitor.name,
        "definition_hash": monitor.definition_hash(),
        "window": window.as_dict(),
        "ground_truth_as_of": format_time(as_of.time),
        "as_of_source": as_of.source,
        "engine": engine,
        "capture_digest": captures.digest,
        "ground_truth_digest": labels.digest,
        "replaces": replaces,
        **counts.as_dict(),
        "merge_seconds": round(time.monotonic() - started, 3),
    }
    storage.write(join(prefix, MERGED, HANDOVER), documents.dumps(handover))
    return handover


def analyze(
    monitor: ModelQualityMonitor,
    window: Window,
    *,
    handover: Mapping[str, Any] | None = None,
    storage: Storage | None = None,
    as_of: AsOf | None = None,
    engine: str = "local",
    workers: int | None = None,
    allow_scripts: bool = False,
    cadence: timedelta | None = None,
    cloudwatch: CloudWatch | None = None,
) -> dict[str, Any]:
    """Judge the merged rows and write the documents, ``report.json`` last. Returns that report's content.

    Merges first where no hand-over of the same window and definition stands under ``merged/``, as after an earlier
    report: the `as_of` given, or the hand-over's, then says which labels count. Where the `cadence` of the runs is given,
    the report's ``timings`` say whether merge and analysis together took longer. A monitor that publishes to CloudWatch does so
    by `cloudwatch`, by default over boto3's own chain; the report says what came of it.

    Raises:
        ScriptError: the monitor has a script, and `allow_scripts` is off; or its post-analytics processor failed.
    """
    storage = storage or storage_for(monitor)
    scripts = _scripts(monitor, storage, allow=allow_scripts)
    prefix = monitor.report_prefix(window)
    merged = _merged(monitor, window, prefix, storage)
    if merged is None or by_merger(merged) or (handover is not None and merged != handover):
        as_of = as_of or (as_of_handover(handover) if handover is not None else None)
        merged = merge(
            monitor, window, storage=storage, as_of=as_of, engine=engine, workers=workers, allow_scripts=allow_scripts
        )
    started = time.monotonic()
    storage.delete([join(prefix, REPORT)])
    counts = MergeCounts.from_dict(merged)
    state = count(storage, join(prefix, MERGED), monitor.problem_type)
    if state.records != counts.merge.matched:
        raise InputError(
            expected=f"the {counts.merge.matched} merged rows of the hand-over",
            came=f"{state.records} rows",
            where=join(prefix, MERGED),
            next_step="another run of the same scheduled time wrote there; run this one again, by itself",
        )
    statistics = _statistics(monitor, state, format_time(window.scheduled_time)) if state.records else None
    constraints = constraints_of(monitor, storage)
    judgement = None
    if constraints is not None and statistics is not None:
        judgement = judge(statistics.metrics, constraints, monitor.problem_type)
    outcome = verdict(counts, judgement, min_records=monitor.min_records, min_label_coverage=monitor.min_label_coverage)
    if outcome.status == "NotJudged":
        judgement = None  # no list of violations may look like a clean bill
    page = Page(
        monitor=monitor,
        window=window,
        as_of=as_of_handover(merged),
        counts=counts,
        verdict=outcome,
        statistics=statistics,
        figures=figures(state, monitor.threshold) if state.records else None,
        constraints=constraints,
        judgement=judgement,
        capture_digest=merged["capture_digest"],
        ground_truth_digest=merged["ground_truth_digest"],
        scripts={name: script.as_dict() for name, script in scripts.items()},
    )
    storage.write(join(prefix, PAGE), report_page(page))
    _write_or_delete(storage, join(prefix, STATISTICS), None if statistics is None else statistics.as_document())
    _write_or_delete(
        storage,
        join(prefix, VIOLATIONS),
        None if judgement is None else documents.violations_document(judgement.violations),
    )
    if POSTPROCESSOR in scripts:
        _postprocess(scripts[POSTPROCESSOR], prefix, storage)
    published = _published(monitor, window, outcome, statistics, cloudwatch)
    content = report.report_document(
        monitor=monitor.name,
        problem_type=monitor.problem_type,
        definition_hash=monitor.definition_hash(),
        window=window,
        ground_truth_as_of=merged["ground_truth_as_of"],
        as_of_source=merged["as_of_source"],
        counts=counts,
        verdict=outcome,
        output=prefix,
        engine=merged["engine"],
        versions=_versions(),
        timings=_timings(merged["merge_seconds"], time.monotonic() - started, cadence),
        statistics=statistics,
        judgement=judgement,
        constraints=constraints,
        capture_digest=merged["capture_digest"],
        ground_truth_digest=merged["ground_truth_digest"],
        scripts={name: script.as_dict() for name, script in scripts.items()},
        replaces=merged["replaces"],
        cloudwatch=published,
    )
    storage.write(join(prefix, REPORT), documents.dumps(content))
    _drop_working_files(prefix, storage)
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


def _statistics(monitor: ModelQualityMonitor, state: State, evaluation_time: str | None) -> documents.Statistics:
    return documents.statistics(
        monitor.problem_type,
        state,
        threshold=monitor.threshold,
        evaluation_time=evaluation_time,
        negative_label=monitor.negative_label,
        positive_label=monitor.positive_label,
    )


def storage_for(monitor: ModelQualityMonitor) -> Storage:
    """Storage with boto3's own credential chain; what is written to S3 is encrypted with the monitor's key (rule O5)."""
    return Storage(kms_key_id=monitor.sagemaker.output_kms_key_id if monitor.sagemaker else None)


def constraints_of(monitor: ModelQualityMonitor, storage: Storage) -> dict[str, Constraint] | None:
    """The monitor's constraints, None where it names none."""
    if monitor.constraints_uri is None:
        return None
    document = documents.loads(storage.read(monitor.constraints_uri), monitor.constraints_uri)
    return documents.read_constraints(document, monitor.problem_type, monitor.constraints_uri)


# --- on SageMaker's compute --------------------------------------------------------------------------------------------


def handed_over(
    monitor: ModelQualityMonitor, window: Window, *, storage: Storage, handover: Mapping[str, Any] | None = None
) -> dict[str, Any] | None:
    """The hand-over that stands under ``merged/``, if it is of this window, definition and, where one is given, as-of time."""
    found = _merged(monitor, window, monitor.report_prefix(window), storage)
    if found is None or handover is None:
        return found
    asked = ("ground_truth_as_of", "as_of_source")
    return found if all(found[key] == handover[key] for key in asked) else None


def number_of_job(monitor: ModelQualityMonitor, window: Window, job: str, *, storage: Storage) -> int | None:
    """Under which number this run asked for a job first (`MERGE_JOB` or `ANALYSIS_JOB`); None where it has not yet."""
    found = _json(storage, join(monitor.report_prefix(window), MERGED, job))
    same = found is not None and {**found, **_about(monitor, window)} == found
    return found["number"] if found is not None and same else None


def make_way(monitor: ModelQualityMonitor, window: Window, job: str, number: int, *, storage: Storage) -> None:
    """Take away what the job is to write anew, ``report.json`` first, and note its number before it is asked for."""
    prefix = monitor.report_prefix(window)
    constraints_of(monitor, storage)
    if job == MERGE_JOB:
        _clear(monitor, window, prefix, storage)
    else:
        storage.delete([join(prefix, name) for name in (REPORT, STATISTICS, VIOLATIONS)])
    noted = {**_about(monitor, window), "number": number}
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
        **_about(monitor, window),
        "ground_truth_as_of": format_time(window.hours()[-1] + timedelta(hours=1)),
        "as_of_source": BY_MERGER,
        "capture_digest": None,
        "ground_truth_digest": None,
        "replaces": _json(storage, join(prefix, MERGED, REPLACES)),
        "merge_job": job,
        "without_rows": without_rows and list(without_rows),
        "merge_seconds": round(seconds, 3),
    }
    storage.write(join(prefix, MERGED, HANDOVER), documents.dumps(handover))
    storage.delete([join(prefix, MERGED, MERGE_JOB)])
    return handover


def by_merger(handover: Mapping[str, Any]) -> bool:
    """Whether SageMaker's merger merged."""
    return bool(handover["as_of_source"] == BY_MERGER)


def rows_to_analyze(handover: Mapping[str, Any]) -> bool:
    """Whether the merge left anything to analyze, as far as that is known."""
    return not handover["without_rows"] if by_merger(handover) else handover["merge"]["matched"] > 0


def flat_uri(monitor: ModelQualityMonitor, window: Window) -> str:
    """The folder that holds the rows of a merge of ours as one CSV, and nothing else."""
    return join(monitor.report_prefix(window), MERGED, FLAT)


def write_flat_rows(monitor: ModelQualityMonitor, window: Window, *, storage: Storage) -> None:
    """Write the rows that `merge` left as that CSV, for SageMaker's analyzer."""
    merged = join(monitor.report_prefix(window), MERGED)
    parts = [one.uri for one in storage.list(merged) if one.key.endswith(ROWS_SUFFIX)]
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
    cadence: timedelta | None = None,
    cloudwatch: CloudWatch | None = None,
) -> dict[str, Any]:
    """Make ``report.json`` of the documents that SageMaker's analyzer wrote, and write it last. Returns its content.

    A metric is beyond its constraint where SageMaker lists it, or where its value says so: SageMaker passes some over. What
    only a merge of ours counts is null where SageMaker's merger merged.

    Args:
        monitor: that was judged.
        window: that was judged.
        handover: of the merge.
        storage: of the report.
        job: the analysis; None where none was started, as there was nothing to analyze.
        exit_message: what it said at its end.
        no_data: why it found nothing to work on, where that is so.
        seconds: that it took.
        cadence: as of `analyze`.
        cloudwatch: likewise; SageMaker's jobs publish nothing where no schedule runs them.

    Raises:
        InputError: a document is absent, or of other rows than those that were merged.
        DocumentError: one is none of model quality, or of other constraints.
    """
    prefix = monitor.report_prefix(window)
    counts = None if by_merger(handover) else MergeCounts.from_dict(handover)
    constraints = constraints_of(monitor, storage)
    statistics, judgement = None, None
    if job is not None and no_data is None:
        where = join(prefix, STATISTICS)
        statistics = documents.read_statistics(documents.loads(storage.read(where), where), where, monitor.problem_type)
        if counts is not None and statistics.item_count not in (None, counts.merge.matched):
            raise InputError(
                expected=f"statistics of the {counts.merge.matched} merged rows",
                came=f"item_count {statistics.item_count}",
                where=where,
                next_step="another run of the same scheduled time wrote there; run this one again, by itself",
            )
        if counts is None and statistics.item_count is None:
            raise DocumentError(
                expected="a number of rows: dataset.item_count",
                came="none",
                where=where,
                next_step="merge_on='airflow' counts the rows here",
            )
    if statistics is not None and constraints is not None:
        where = join(prefix, VIOLATIONS)
        listed = documents.read_violations(documents.loads(storage.read(where), where), constraints, where)
        judgement = judge(statistics.metrics, constraints, monitor.problem_type, listed=listed)
    if no_data is not None or handover.get("without_rows"):
        code, reason = handover.get("without_rows") or ("no_matches", f"no row to analyze: SageMaker says {no_data!r}")
        outcome = Verdict(NOT_JUDGED, reason, code)
    elif counts is not None:
        outcome = verdict(
            counts, judgement, min_records=monitor.min_records, min_label_coverage=monitor.min_label_coverage
        )
    else:
        rows = statistics.item_count if statistics is not None else None
        outcome = verdict_of_rows(rows or 0, judgement, min_records=monitor.min_records)
    if outcome.status == NOT_JUDGED:
        judgement = None
        storage.delete([join(prefix, VIOLATIONS)])  # no list of violations may look like a clean bill
    content = report.report_document(
        monitor=monitor.name,
        problem_type=monitor.problem_type,
        definition_hash=monitor.definition_hash(),
        window=window,
        ground_truth_as_of=handover["ground_truth_as_of"],
        as_of_source=handover["as_of_source"],
        counts=counts,
        verdict=outcome,
        output=prefix,
        engine=ON_SAGEMAKER,
        versions=_versions(),
        timings=_timings(handover["merge_seconds"], seconds, cadence),
        statistics=statistics,
        judgement=judgement,
        constraints=constraints,
        capture_digest=handover["capture_digest"],
        ground_truth_digest=handover["ground_truth_digest"],
        replaces=handover["replaces"],
        jobs={"merge": handover.get("merge_job"), "analysis": job, "exit_message": exit_message},
        cloudwatch=_published(monitor, window, outcome, statistics, cloudwatch),
    )
    storage.write(join(prefix, REPORT), documents.dumps(content))
    _drop_working_files(prefix, storage, records=by_merger(handover) and monitor.keep_merged is None)
    return content


def _published(
    monitor: ModelQualityMonitor,
    window: Window,
    outcome: Verdict,
    statistics: documents.Statistics | None,
    cloudwatch: CloudWatch | None,
) -> dict[str, Any] | None:
    """Publish the metrics, and return what came of it; None where the monitor publishes none (rule O3)."""
    if not monitor.publish_cloudwatch_metrics:
        return None
    metrics = statistics.metrics if statistics is not None else {}
    return publish(cloudwatch or CloudWatch(default_client), monitor, window, outcome, metrics)


def _about(monitor: ModelQualityMonitor, window: Window) -> dict[str, Any]:
    return {"monitor": monitor.name, "definition_hash": monitor.definition_hash(), "window": window.as_dict()}


# --- users' scripts -----------------------------------------------------------------------------------------------------


def _scripts(monitor: ModelQualityMonitor, storage: Storage, *, allow: bool) -> dict[str, Script]:
    """The scripts of a monitor's definition, by what they are; a script that may not run stops the run (rule O5)."""
    settings = monitor.sagemaker
    uris = {
        PREPROCESSOR: settings.record_preprocessor_source_uri if settings else None,
        POSTPROCESSOR: settings.post_analytics_processor_source_uri if settings else None,
    }
    found: dict[str, Script] = {}
    for name, uri in uris.items():
        if uri is None or settings is None:
            continue
        if not allow:
            raise ScriptError(
                expected="leave to run the script of the definition, which is code",
                came="none: scripts are not allowed here",
                where=f"sagemaker.{name}_source_uri of {monitor.name!r}: {uri}",
                next_step="read the script, then set [model_quality] allow_scripts = True in Airflow's configuration, or give "
                "--allow-scripts on the command line; or take the field out of the monitor",
            )
        try:
            found[name] = Script(uri, storage.read(uri).decode(), dict(settings.environment))
        except UnicodeDecodeError as error:
            raise ScriptError(
                expected="a Python script in UTF-8",
                came=str(error),
                where=uri,
                next_step="point the field at the script's source",
            ) from error
    return found


def _postprocess(script: Script, prefix: str, storage: Storage) -> None:
    """Run the post-analytics processor on copies of the documents; the files that it adds go under the report prefix."""
    with tempfile.TemporaryDirectory(prefix="model-quality-") as folder:
        given = {name for name in (STATISTICS, VIOLATIONS) if storage.exists(join(prefix, name))}
        for name in given:
            Path(folder, name).write_bytes(storage.read(join(prefix, name)))
        postprocess(script, folder)
        for path in sorted(Path(folder).rglob("*")):
            name = path.relative_to(folder).as_posix()
            if path.is_file() and not path.is_symlink() and name not in given:
                storage.write(join(prefix, ADDED, name), path.read_bytes())


# --- what stands under a report prefix --------------------------------------------------------------------------------


def _clear(monitor: ModelQualityMonitor, window: Window, prefix: str, storage: Storage) -> dict[str, Any] | None:
    """Take away what an earlier run left, its commit mark first; say whether that run was of something else (rule O2)."""
    storage.write(join(prefix, MERGED, STARTED), b"")  # an output that cannot be written is told before the work
    storage.sweep(prefix, deep=False)  # below it, another T may have its report
    storage.sweep(join(prefix, MERGED), deep=True)
    note = join(prefix, MERGED, REPLACES)
    replaces = _json(storage, note)  # left by a run that was killed after it took the old report away
    former = _json(storage, join(prefix, REPORT))
    if former is not None:
        same = former.get("window") == window.as_dict() and former.get("definition_hash") == monitor.definition_hash()
        replaces = None if same else {key: former.get(key) for key in ("window", "definition_hash", "status")}
        if replaces is not None:
            storage.write(note, documents.dumps(replaces))
    storage.delete([join(prefix, REPORT)])
    stale = [one.uri for one in storage.list(join(prefix, MERGED)) if one.key not in (REPLACES, STARTED)]
    stale += [one.uri for one in storage.list(join(prefix, ADDED))]
    storage.delete([*(join(prefix, name) for name in (PAGE, STATISTICS, VIOLATIONS, REJECTED)), *stale])
    return replaces


def _merged(monitor: ModelQualityMonitor, window: Window, prefix: str, storage: Storage) -> dict[str, Any] | None:
    """The hand-over that stands under ``merged/``, if it is of this window and definition."""
    found = _json(storage, join(prefix, MERGED, HANDOVER))
    fits = (
        found is not None
        and found.get("window") == window.as_dict()
        and found.get("definition_hash") == monitor.definition_hash()
    )
    return found if fits else None


def as_of_handover(handover: Mapping[str, Any]) -> AsOf:
    """Up to when labels counted in a merge of ours."""
    return AsOf(parse_time(handover["ground_truth_as_of"], field="ground_truth_as_of"), handover["as_of_source"])


def _timings(merge_seconds: float, analyze_seconds: float, cadence: timedelta | None) -> dict[str, float | bool]:
    timings: dict[str, float | bool] = {"merge_seconds": merge_seconds, "analyze_seconds": round(analyze_seconds, 3)}
    if cadence is not None:
        seconds = cadence.total_seconds()
        timings |= {"cadence_seconds": seconds, "longer_than_cadence": merge_seconds + analyze_seconds > seconds}
    return timings


def _versions() -> dict[str, str]:
    return {"airflow_mq_provider": __version__, "python": platform.python_version(), "numpy": np.__version__}


def _json(storage: Storage, uri: str) -> dict[str, Any] | None:
    """A document this package wrote; None where there is none that can be read."""
    if not storage.exists(uri):
        return None
    try:
        found = json.loads(storage.read(uri))
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _write_or_delete(storage: Storage, uri: str, document: Mapping[str, Any] | None) -> None:
    if document is None:
        storage.delete([uri])
    else:
        storage.write(uri, documents.dumps(document))


def _drop_working_files(prefix: str, storage: Storage, *, records: bool = False) -> None:
    """The rows in columns have served; what `keep_merged` asked for stays (rule O1). ``records``: nor did it ask for those."""
    working = (ROWS_SUFFIX, HANDOVER, REPLACES, STARTED, MERGE_JOB, ANALYSIS_JOB)
    served = (f"{FLAT}/", f"{MERGER}/") if records else (f"{FLAT}/",)
    storage.delete(
        [
            one.uri
            for one in storage.list(join(prefix, MERGED))
            if one.key.endswith(working) or one.key.startswith(served)
        ]
    )


_SETTINGS = {
    "foreign_label": "positive_label and negative_label",
    "bad_probability": "probability_attribute",
    "bad_number": "inference_attribute, or the labels",
    "missing_attribute": "inference_attribute, probability_attribute or ground_truth_attribute",
    "row_count_mismatch": "the labels of multi-row records: as many labels as predictions",
}


def _refuse_too_many_rejected(monitor: ModelQualityMonitor, counts: MergeCounts, rejected_uri: str) -> None:
    """Fail a run of which too much was rejected (rule I4): its numbers would be those of another model."""
    merge_lines = counts.capture.used - counts.merge.captures_without_label
    for side, lines, rejected, examples in (
        ("capture", counts.capture.lines, counts.capture.rejected, counts.capture.examples),
        ("ground truth", counts.ground_truth.lines, counts.ground_truth.rejected, counts.ground_truth.examples),
        ("merge", merge_lines, counts.merge.rejected, ()),
    ):
        total = sum(rejected.values())
        if not total or total <= monitor.max_rejected_ratio * lines:
            continue
        worst = max(rejected, key=lambda reason: rejected[reason])
        example = next((one for one in examples if one.reason == worst), None)
        where = f"{example.file}, line {example.line}; all of them" if example else "all of them"
        setting = _SETTINGS.get(worst, "the files, or max_rejected_ratio if so many are to be expected")
        raise RejectedLinesError(
            expected=f"at most {monitor.max_rejected_ratio:.0%} of the {side} lines rejected (max_rejected_ratio)",
            came=f"{total} of {lines}: "
            + ", ".join(f"{reason} {n}" for reason, n in sorted(rejected.items()))
            + (f"; such as {example.seen}" if example and example.seen else ""),
            where=f"{where} in {rejected_uri}",
            next_step=f"look at {setting}; docs/reasons.md tells every reason",
        )
