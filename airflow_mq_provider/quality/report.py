"""The whole result of a run, and ``report.json`` made of it, which is also what ``model-quality run --json`` prints."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from airflow_mq_provider.monitor import ModelQualityMonitor
from airflow_mq_provider.quality.constraints import Constraint, Judgement, Verdict, Violation
from airflow_mq_provider.quality.documents import Statistics, json_number, violation_block
from airflow_mq_provider.quality.figures import Figures
from airflow_mq_provider.quality.segments import Segment, Segments
from airflow_mq_provider.quality.states import CaptureCounts, GroundTruthCounts, JoinCounts, MergeCounts
from airflow_mq_provider.window import AsOf, Window, format_time


@dataclass(frozen=True, slots=True)
class RunResult:
    """What a run found: what ``report.json`` and ``report.html`` are made of.

    Attributes:
        monitor: that was run.
        window: that was analyzed.
        as_of: up to when labels counted, and who chose that.
        counts: of the merge; None where SageMaker merged, which tells none.
        verdict: status and reason.
        statistics: None where no row was merged.
        constraints: None where the monitor names none.
        judgement: None where nothing was judged.
        capture_digest: of the list of capture objects; None where SageMaker read them.
        ground_truth_digest: of the list of label objects; likewise.
        engine: that merged and counted.
        engine_why: why it was this one, where the run was to choose; None where it was named.
        figures: what charts show; None where there is nothing to draw.
        segments: what is said of them; None where the monitor asks for none, or there are no rows of ours.
        scripts: the users' scripts that ran, by what they are: ``uri`` and ``sha256`` of each.
        replaces: the window and definition of the report that stood in this place, where they were others.
        revision: what stood there of the same window before labels came late.
        jobs: SageMaker's jobs that took part, and what the analysis said at its end.
    """

    monitor: ModelQualityMonitor
    window: Window
    as_of: AsOf
    counts: MergeCounts | None
    verdict: Verdict
    statistics: Statistics | None
    constraints: Mapping[str, Constraint] | None
    judgement: Judgement | None
    capture_digest: str | None
    ground_truth_digest: str | None
    engine: str
    engine_why: str | None = None
    figures: Figures | None = None
    segments: Segments | None = None
    scripts: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    replaces: Mapping[str, Any] | None = None
    revision: Mapping[str, Any] | None = None
    jobs: Mapping[str, Any] | None = None

    @property
    def problem_type(self) -> str:
        """SageMaker's word."""
        return self.monitor.problem_type


def report_document(
    result: RunResult,
    *,
    versions: Mapping[str, str],
    timings: Mapping[str, float | bool],
    cloudwatch: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The content of ``report.json``.

    Every key is always there but ``engine_why``, ``segments``, ``scripts``, ``replaces``, ``revision``, ``jobs`` and ``cloudwatch``, which are
    where there is something to tell. What SageMaker's merger did not count is null, as ``next_step`` is where something was judged, and ``metrics``
    is empty where there was nothing to compute. What started the run is not part of its result: a backfill reports what the scheduled run of the
    window did (rule O2).

    Args:
        result: of the run.
        versions: of what took part, by name.
        timings: seconds by step, and whether a run took longer than its cadence.
        cloudwatch: what came of publishing the metrics there (rule O3).
    """
    monitor, statistics, judgement = result.monitor, result.statistics, result.judgement
    blocks = _uncounted(statistics) if result.counts is None else result.counts.as_dict()
    as_of = {"as_of_source": result.as_of.source, "digest": result.ground_truth_digest}
    report: dict[str, Any] = {
        "monitor": monitor.name,
        "status": result.verdict.status,
        "reason": result.verdict.reason,
        "reason_code": result.verdict.code,
        "next_step": result.verdict.next_step,
        "window": result.window.as_dict(),
        "ground_truth_as_of": format_time(result.as_of.time),
        "capture": {**blocks["capture"], "digest": result.capture_digest},
        "ground_truth": {**blocks["ground_truth"], **as_of},
        "merge": blocks["merge"],
        "problem_type": monitor.problem_type,
        "metrics": {} if statistics is None else statistics.block(with_curves=False),
        "constraints": {name: constraint.as_dict() for name, constraint in (result.constraints or {}).items()},
        "violations": [] if judgement is None else [_violation(one, monitor.noise_sd) for one in judgement.violations],
        "not_judged": [] if judgement is None else [metric.as_dict() for metric in judgement.not_judged],
        "output": monitor.report_prefix(result.window),
        "engine": result.engine,
        "definition_hash": monitor.definition_hash(),
        "versions": dict(versions),
        "timings": dict(timings),
    }
    if result.engine_why is not None:
        report["engine_why"] = result.engine_why
    if statistics is not None and statistics.auc_error_bound is not None:
        report["auc_error_bound"] = statistics.auc_error_bound
    if result.segments is not None:
        report["segments"] = _segments(result.segments, monitor.noise_sd)
    if result.scripts:
        report["scripts"] = {name: dict(script) for name, script in result.scripts.items()}
    blocks_if_any = {
        "replaces": result.replaces,
        "revision": result.revision,
        "jobs": result.jobs,
        "cloudwatch": cloudwatch,
    }
    for name, block in blocks_if_any.items():
        if block is not None:
            report[name] = dict(block)
    return report


def _violation(violation: Violation, noise_sd: float | None) -> dict[str, Any]:
    """A violation as SageMaker writes it, and how far beyond it is."""
    return {
        **violation_block(violation),
        "sd_beyond": json_number(violation.sd_beyond),
        "within_noise": violation.within_noise(noise_sd),
    }


def _segments(segments: Segments, noise_sd: float | None) -> dict[str, Any]:
    def rows(one: Segment) -> dict[str, Any]:
        metrics = {
            name: {"value": json_number(metric.value), "standard_deviation": json_number(metric.standard_deviation)}
            for name, metric in one.metrics.items()
        }
        found: dict[str, Any] = {"records": one.records, "metrics": metrics}
        return found if one.auc_error_bound is None else found | {"auc_error_bound": one.auc_error_bound}

    listed = []
    for one in segments.listed:
        entry: dict[str, Any] = {"segment": one.name}
        if one.verdict is not None:
            entry |= {"status": one.verdict.status, "reason": one.verdict.reason, "reason_code": one.verdict.code}
        violations = one.judgement.violations if one.judgement else ()
        listed.append(entry | rows(one) | {"violations": [_violation(each, noise_sd) for each in violations]})
    return {
        "worst_by": segments.metric,
        "segments": segments.segments,
        "listed": listed,
        "others": None if segments.others is None else rows(segments.others),
        "without_segment": None if segments.without is None else rows(segments.without),
    }


def _uncounted(statistics: Statistics | None) -> dict[str, Any]:
    """The counters of a merge that told none: null, but for the rows that the statistics know of."""
    blank = MergeCounts(CaptureCounts(), GroundTruthCounts(), JoinCounts()).as_dict()
    blocks: dict[str, Any] = {block: dict.fromkeys(counters) for block, counters in blank.items()}
    blocks["merge"]["matched"] = None if statistics is None else statistics.item_count
    return blocks
