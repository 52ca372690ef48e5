"""From a baseline to constraints, from metrics and constraints to violations, from all of it to a verdict."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from airflow_mq_provider.exceptions import InputError
from airflow_mq_provider.quality.metrics import metrics_of
from airflow_mq_provider.quality.states import MergeCounts, Metric

LESS: Final = "LessThanThreshold"
GREATER: Final = "GreaterThanThreshold"
OPERATORS: Final = (LESS, GREATER)

COMPLETED: Final = "Completed"
WITH_VIOLATIONS: Final = "CompletedWithViolations"
NOT_JUDGED: Final = "NotJudged"

NOISE_SD: Final = 2.0
"""Up to so many standard deviations beyond its constraint a violation is marked as noise, unless the monitor says otherwise."""


@dataclass(frozen=True, slots=True)
class Constraint:
    """A limit of a metric, in SageMaker's words: ``comparison_operator`` says when it is violated."""

    threshold: float
    comparison_operator: str

    def violated_by(self, value: float) -> bool:
        """Whether ``value`` is beyond the threshold. One that equals it is not."""
        if self.comparison_operator == LESS:
            return value < self.threshold
        return value > self.threshold

    def as_dict(self) -> dict[str, float | str]:
        """``{"threshold", "comparison_operator"}``, as in ``constraints.json``."""
        return {"threshold": self.threshold, "comparison_operator": self.comparison_operator}


@dataclass(frozen=True, slots=True)
class Violation:
    """A metric that is beyond its constraint. ``metric_name`` is the registry's, in snake_case."""

    metric_name: str
    metric: Metric
    constraint: Constraint

    @property
    def sd_beyond(self) -> float:
        """How many of its standard deviations the value lies beyond the threshold.

        NaN where there is no value or no standard deviation; infinite where that is 0. Negative where the value lies on the
        harmless side: another judge listed it.
        """
        distance = self.metric.value - self.constraint.threshold
        if self.constraint.comparison_operator == LESS:
            distance = -distance
        if self.metric.standard_deviation == 0 and distance:
            return distance * math.inf
        return distance / self.metric.standard_deviation if distance else distance

    def within_noise(self, noise_sd: float | None = None) -> bool:
        """Whether the value lies at most `noise_sd` standard deviations beyond, `NOISE_SD` where None. Unknown is no."""
        return self.sd_beyond <= (NOISE_SD if noise_sd is None else noise_sd)


@dataclass(frozen=True, slots=True)
class NotJudgedMetric:
    """A metric that has no value to judge, or to make a constraint of, and why."""

    metric_name: str
    reason: str

    def as_dict(self) -> dict[str, str]:
        """``{"metric_name", "reason"}``, as in ``report.json``."""
        return {"metric_name": self.metric_name, "reason": self.reason}


@dataclass(frozen=True, slots=True)
class Judgement:
    """What became of each constrained metric, in the registry's order: every one is in exactly one of these."""

    within: tuple[str, ...]
    violations: tuple[Violation, ...]
    not_judged: tuple[NotJudgedMetric, ...]


@dataclass(frozen=True, slots=True)
class Suggestion:
    """Suggested constraints, and the metrics that could not be given one."""

    constraints: dict[str, Constraint]
    left_out: tuple[NotJudgedMetric, ...]


NEXT_STEPS: Final = {
    "no_captures": "See whether the endpoint had traffic in the window and its data capture was on, and whether the "
    "monitor's offsets mean this window.",
    "no_labels": "Run this window again as of now once labels have come, or let runs wait for them (GroundTruthSensor). "
    "If they have come, see whether ground_truth_uri names their place.",
    "no_matches": "Compare an id of each side: a label's eventId must be the capture's inferenceId, or its eventId where "
    "it has none.",
    "too_few_records": "Run this window again as of now once more labels have come, widen the window, or lower "
    "min_records.",
    "low_coverage": "Run this window again as of now once more labels have come, let end_time_offset leave them more "
    "time, or lower min_label_coverage.",
    "no_constraints": "Make constraints from a labelled file with “model-quality baseline”, and name them in "
    "constraints_uri.",
    "nothing_judged": "The table of metrics in report.html says why each has no value: most often one of the classes does not "
    "occur in the window.",
}
"""What to do about each reason not to judge."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The status of a run (rule A6).

    Attributes:
        status: ``Completed``, ``CompletedWithViolations`` or ``NotJudged``.
        reason: a sentence with the numbers.
        code: the reason as one word, for programs: ``within_constraints``; ``within_noise``; ``violations``;
            ``no_captures``, ``no_labels``, ``no_matches``, ``too_few_records``, ``low_coverage``, ``no_constraints``,
            ``nothing_judged``.
    """

    status: str
    reason: str
    code: str

    @property
    def next_step(self) -> str | None:
        """What to do about it where nothing was judged; None where something was."""
        return NEXT_STEPS.get(self.code)


def suggest(metrics: Mapping[str, Metric], problem_type: str, tolerance_sd: float | None = None) -> Suggestion:
    """Make constraints of a baseline's metrics (rule A7): the baseline's values themselves, as SageMaker does.

    Args:
        metrics: the baseline's.
        problem_type: SageMaker's word.
        tolerance_sd: loosen each threshold by so many standard deviations, towards what does no harm: a constraint
            from below becomes lower, one from above higher. A metric without a standard deviation is then left out.

    Raises:
        InputError: ``tolerance_sd`` is negative or no finite number, or no metric has a standard deviation.
    """
    if tolerance_sd is not None and not (math.isfinite(tolerance_sd) and tolerance_sd >= 0):
        raise InputError(
            expected="a number of standard deviations, 0 or more",
            came=repr(tolerance_sd),
            where="tolerance_sd",
            next_step="give a small number such as 2, or none for the baseline's values themselves",
        )
    constraints: dict[str, Constraint] = {}
    left_out: list[NotJudgedMetric] = []
    for info in metrics_of(problem_type).values():
        if not info.constrained:
            continue
        reason = without_value(info.name, metrics, problem_type)
        if reason is None and tolerance_sd is not None and math.isnan(metrics[info.name].standard_deviation):
            reason = "its standard deviation is undefined, so there is nothing to loosen it by"
        if reason is not None:
            left_out.append(NotJudgedMetric(info.name, reason))
            continue
        metric = metrics[info.name]
        slack = 0.0 if tolerance_sd is None else tolerance_sd * metric.standard_deviation
        constraints[info.name] = (
            Constraint(metric.value - slack, LESS)
            if info.higher_is_better
            else Constraint(metric.value + slack, GREATER)
        )
    if tolerance_sd is not None and not constraints:
        raise InputError(
            expected="metrics with a standard deviation",
            came=f"none among {len(metrics)}",
            where="the baseline",
            next_step="give a baseline of at least 200 rows, or no tolerance_sd",
        )
    return Suggestion(constraints, tuple(left_out))


def judge(
    metrics: Mapping[str, Metric],
    constraints: Mapping[str, Constraint],
    problem_type: str,
    *,
    listed: Collection[str] = (),
) -> Judgement:
    """Hold metrics against constraints (rule A5). A metric that is NaN or absent is not judged, never passed.

    ``listed`` are metrics that another judge, SageMaker's analyzer, found beyond their constraints: they are violations
    whatever is found here.
    """
    within: list[str] = []
    violations: list[Violation] = []
    not_judged: list[NotJudgedMetric] = []
    for name in metrics_of(problem_type):
        constraint = constraints.get(name)
        if constraint is None:
            continue
        reason = without_value(name, metrics, problem_type)
        if name in listed:
            violations.append(Violation(name, metrics.get(name, Metric(math.nan)), constraint))
        elif reason is not None:
            not_judged.append(NotJudgedMetric(name, reason))
        elif constraint.violated_by(metrics[name].value):
            violations.append(Violation(name, metrics[name], constraint))
        else:
            within.append(name)
    return Judgement(tuple(within), tuple(violations), tuple(not_judged))


def without_value(name: str, metrics: Mapping[str, Metric], problem_type: str) -> str | None:
    """Why a metric has no value; None where it has one."""
    if name not in metrics:
        return "the analysis has no value for it" + (": no probability is captured" if name == "auc" else "")
    if math.isnan(metrics[name].value):
        return f"its value is undefined: {metrics_of(problem_type)[name].undefined}"
    return None


def verdict(
    counts: MergeCounts,
    judgement: Judgement | None,
    *,
    min_records: int = 1,
    min_label_coverage: float = 0.0,
    noise_sd: float | None = None,
) -> Verdict:
    """The status of a run with its reason (rule A6). Of several reasons not to judge, the first in the flow of data.

    Args:
        counts: of the merge.
        judgement: None where there are no constraints.
        min_records: fewer matched rows than this are not judged.
        min_label_coverage: nor is a smaller share of labelled captures than this.
        noise_sd: violations of at most so many standard deviations make no violated run; None: every violation does.
    """
    capture, labels, join = counts.capture, counts.ground_truth, counts.merge
    if capture.used == 0:
        return Verdict(
            NOT_JUDGED,
            f"no capture in the window: of {_count(capture.lines, 'line')} in {_count(capture.files, 'file')} "
            f"{capture.outside_window} lie outside it, {capture.dropped} were dropped and "
            f"{sum(capture.rejected.values())} rejected",
            "no_captures",
        )
    if labels.used == 0:
        return Verdict(
            NOT_JUDGED,
            f"no labels for {_count(capture.used, 'capture')}: {_count(labels.lines, 'line')} in "
            f"{_count(labels.files, 'file')} were read, {sum(labels.rejected.values())} of them rejected",
            "no_labels",
        )
    if join.matched == 0:
        unequal = sum(join.rejected.values())
        return Verdict(
            NOT_JUDGED,
            f"no row to analyze: {_count(capture.used, 'capture')} and {_count(labels.used, 'label')} were read, "
            f"{join.captures_without_label} captures found no label"
            + (f", {unequal} were rejected in the merge" if unequal else ""),
            "no_matches",
        )
    enough = join.matched >= min_records
    if enough and join.label_coverage is not None and join.label_coverage < min_label_coverage:
        return Verdict(
            NOT_JUDGED,
            f"{capture.used - join.captures_without_label} of {_count(capture.used, 'capture')} found a label: "
            f"{join.label_coverage:.4g}, less than min_label_coverage = {min_label_coverage:g}",
            "low_coverage",
        )
    return verdict_of_rows(join.matched, judgement, min_records=min_records, noise_sd=noise_sd)


def verdict_of_rows(
    rows: int, judgement: Judgement | None, *, min_records: int = 1, noise_sd: float | None = None
) -> Verdict:
    """The status of a run that has rows, of which no more is known than how many: how `verdict` ends."""
    if rows < min_records:
        return Verdict(
            NOT_JUDGED, f"{_count(rows, 'row')} to analyze, fewer than min_records = {min_records}", "too_few_records"
        )
    if judgement is None or not (judgement.within or judgement.violations or judgement.not_judged):
        return Verdict(NOT_JUDGED, f"{_count(rows, 'row')} analyzed, but there are no constraints", "no_constraints")
    judged = len(judgement.within) + len(judgement.violations)
    unjudged = [metric.metric_name for metric in judgement.not_judged]
    if not judged:
        return Verdict(
            NOT_JUDGED,
            f"{_count(rows, 'row')} analyzed, but no constrained metric has a value: {_listed(unjudged)}",
            "nothing_judged",
        )
    rest = f"; without a value and not judged: {_listed(unjudged)}" if unjudged else ""
    if judgement.violations:
        violated = [violation.metric_name for violation in judgement.violations]
        told = f"{len(violated)} of {_count(judged, 'judged metric')} beyond the constraints"
        if noise_sd is not None:
            noise = [one.metric_name for one in judgement.violations if one.within_noise(noise_sd)]
            if noise == violated:
                return Verdict(
                    COMPLETED,
                    f"{told}, by no more than noise_sd = {noise_sd:g} standard deviations: {_listed(violated)}{rest}",
                    "within_noise",
                )
            rest = (f"; within noise: {_listed(noise)}" if noise else "") + rest
        return Verdict(WITH_VIOLATIONS, f"{told}: {_listed(violated)}{rest}", "violations")
    return Verdict(COMPLETED, f"{_count(judged, 'judged metric')} within the constraints{rest}", "within_constraints")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names)
