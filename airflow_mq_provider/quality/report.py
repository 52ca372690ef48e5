"""The whole result of a run: ``report.json``, which is also what ``model-quality run --json`` prints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow_mq_provider.quality.constraints import Constraint, Judgement, Verdict
from airflow_mq_provider.quality.documents import Statistics, violation_block
from airflow_mq_provider.quality.states import CaptureCounts, GroundTruthCounts, JoinCounts, MergeCounts

if TYPE_CHECKING:
    from airflow_mq_provider.window import Window


def report_document(
    *,
    monitor: str,
    problem_type: str,
    definition_hash: str,
    window: Window,
    ground_truth_as_of: str | None,
    as_of_source: str | None,
    counts: MergeCounts | None,
    verdict: Verdict,
    output: str,
    engine: str,
    versions: Mapping[str, str],
    timings: Mapping[str, float | bool],
    statistics: Statistics | None = None,
    judgement: Judgement | None = None,
    constraints: Mapping[str, Constraint] | None = None,
    capture_digest: str | None = None,
    ground_truth_digest: str | None = None,
    scripts: Mapping[str, Mapping[str, str]] | None = None,
    replaces: Mapping[str, Any] | None = None,
    jobs: Mapping[str, Any] | None = None,
    cloudwatch: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Put the result of a run together, ready for JSON.

    Every key is always there but ``scripts``, ``replaces``, ``jobs`` and ``cloudwatch``, which are where they are given. What
    started the run is not part of its result: a backfill reports what the scheduled run of the window did (rule O2).

    Args:
        monitor: its name.
        problem_type: SageMaker's word.
        definition_hash: the monitor's.
        window: that was analyzed.
        ground_truth_as_of: the time up to which labels were read, as text; None where nobody chose it.
        as_of_source: who chose it.
        counts: of the merge; None where SageMaker merged, which tells none: every counter is then null, but for the rows.
        verdict: status and reason.
        output: the prefix under which the documents of this run lie.
        engine: that merged and counted.
        versions: of what took part, by name.
        timings: seconds by step, and whether a run took longer than its cadence.
        statistics: None where there was nothing to compute: ``metrics`` is then empty.
        judgement: None where there were no constraints, or nothing to hold against them.
        constraints: the monitor's, None where it names none.
        capture_digest: of the list of capture objects.
        ground_truth_digest: of the list of label objects.
        scripts: the users' scripts that ran, by what they are: ``uri`` and ``sha256``.
        replaces: the window and definition of the report that stood in this place, where they were others.
        jobs: SageMaker's jobs that took part, and what the analysis said at its end.
        cloudwatch: what came of publishing the metrics there (rule O3).
    """
    blocks = _uncounted(statistics) if counts is None else counts.as_dict()
    report: dict[str, Any] = {
        "monitor": monitor,
        "status": verdict.status,
        "reason": verdict.reason,
        "reason_code": verdict.code,
        "window": window.as_dict(),
        "ground_truth_as_of": ground_truth_as_of,
        "capture": {**blocks["capture"], "digest": capture_digest},
        "ground_truth": {**blocks["ground_truth"], "as_of_source": as_of_source, "digest": ground_truth_digest},
        "merge": blocks["merge"],
        "problem_type": problem_type,
        "metrics": {} if statistics is None else statistics.block(with_curves=False),
        "constraints": {name: constraint.as_dict() for name, constraint in (constraints or {}).items()},
        "violations": [] if judgement is None else [violation_block(violation) for violation in judgement.violations],
        "not_judged": [] if judgement is None else [metric.as_dict() for metric in judgement.not_judged],
        "output": output,
        "engine": engine,
        "definition_hash": definition_hash,
        "versions": dict(versions),
        "timings": dict(timings),
    }
    if scripts:
        report["scripts"] = {name: dict(script) for name, script in scripts.items()}
    if replaces is not None:
        report["replaces"] = dict(replaces)
    if jobs is not None:
        report["jobs"] = dict(jobs)
    if cloudwatch is not None:
        report["cloudwatch"] = dict(cloudwatch)
    return report


def _uncounted(statistics: Statistics | None) -> dict[str, Any]:
    """The counters of a merge that told none: null, but for the rows that the statistics know of."""
    blank = MergeCounts(CaptureCounts(), GroundTruthCounts(), JoinCounts()).as_dict()
    blocks: dict[str, Any] = {block: dict.fromkeys(counters) for block, counters in blank.items()}
    blocks["merge"]["matched"] = None if statistics is None else statistics.item_count
    return blocks
