"""SageMaker's JSON documents of model quality, written and read: statistics, constraints, violations."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

import msgspec

from airflow_mq_provider.exceptions import DocumentError
from airflow_mq_provider.quality import binary, multiclass, regression
from airflow_mq_provider.quality.constraints import OPERATORS, Constraint, Violation
from airflow_mq_provider.quality.metrics import block_name, metrics_of, nearest, violation_name
from airflow_mq_provider.quality.states import (
    PROBLEM_TYPES,
    BinaryState,
    Metric,
    MulticlassState,
    State,
)

CURVES: Final = ("receiver_operating_characteristic_curve", "precision_recall_curve")

_DATA_QUALITY_KEYS: Final = ("features", "monitoring_config")
_NAMED_NUMBERS: Final = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


@dataclass(frozen=True, slots=True)
class Statistics:
    """What a ``statistics.json`` says.

    Attributes:
        problem_type: SageMaker's word.
        metrics: by name, in the registry's order; only those that the document has.
        confusion_matrix: ``{actual: {predicted: rows}}``; None for regression.
        curves: the two curves of a binary problem with probabilities, else empty.
        item_count: rows analyzed; None where a document does not say.
        evaluation_time: as text; None where a document does not say.
        auc_error_bound: how far AUC may be off, of binned probabilities; None where it is exact, or nobody says. SageMaker's
            document has no place for it.
    """

    problem_type: str
    metrics: dict[str, Metric]
    confusion_matrix: dict[str, dict[str, int]] | None = None
    curves: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    item_count: int | None = None
    evaluation_time: str | None = None
    auc_error_bound: float | None = None

    def block(self, *, with_curves: bool = True) -> dict[str, Any]:
        """The block of metrics, ready for JSON: undefined numbers are the string ``"NaN"``."""
        block: dict[str, Any] = {}
        if self.confusion_matrix is not None:
            block["confusion_matrix"] = {actual: dict(row) for actual, row in self.confusion_matrix.items()}
        for name, metric in self.metrics.items():
            block[name] = {
                "value": json_number(metric.value),
                "standard_deviation": json_number(metric.standard_deviation),
            }
            # SageMaker's order has the curves between the rates and what follows from probabilities
            if name == "false_negative_rate" and with_curves:
                block.update(
                    {
                        curve: {axis: [json_number(number) for number in numbers] for axis, numbers in axes.items()}
                        for curve, axes in self.curves.items()
                    }
                )
        return block

    def as_document(self) -> dict[str, Any]:
        """The document in SageMaker's shape and order, ready for JSON."""
        dataset: dict[str, Any] = {}
        if self.item_count is not None:
            dataset["item_count"] = self.item_count
        if self.evaluation_time is not None:
            dataset["evaluation_time"] = self.evaluation_time
        return {"version": 0.0, "dataset": dataset, block_name(self.problem_type, "metrics"): self.block()}


def statistics(
    problem_type: str,
    state: State,
    *,
    threshold: float,
    evaluation_time: str | None,
    negative_label: str = "0",
    positive_label: str = "1",
    ranking: binary.Ranking | None = None,
) -> Statistics:
    """Compute everything that ``statistics.json`` says of a state.

    Args:
        problem_type: SageMaker's word; the state's own.
        state: the counts.
        threshold: binary: the operating point that the curves must show.
        evaluation_time: the run's scheduled time as text (rule A4); None where there is none.
        negative_label: binary: the text of the class with index 0.
        positive_label: binary: the text of the class with index 1.
        ranking: binary: what `rank` gave for this state, if at hand; it is made otherwise.
    """
    if isinstance(state, BinaryState):
        ranking = ranking or binary.rank(state)
        return Statistics(
            problem_type,
            binary.metrics(state, ranking),
            binary.confusion_matrix(state, negative_label, positive_label),
            binary.curves(state, threshold, ranking),
            state.records,
            evaluation_time,
            None if ranking is None else ranking.auc_error_bound,
        )
    if isinstance(state, MulticlassState):
        return Statistics(
            problem_type,
            multiclass.metrics(state),
            multiclass.confusion_matrix(state),
            item_count=state.records,
            evaluation_time=evaluation_time,
        )
    return Statistics(
        problem_type, regression.metrics(state), item_count=state.records, evaluation_time=evaluation_time
    )


def constraints_document(problem_type: str, constraints: Mapping[str, Constraint]) -> dict[str, Any]:
    """``constraints.json`` in SageMaker's shape, metrics in the registry's order."""
    block = {
        name: {
            "threshold": constraints[name].threshold,
            "comparison_operator": constraints[name].comparison_operator,
        }
        for name in metrics_of(problem_type)
        if name in constraints
    }
    return {"version": 0.0, block_name(problem_type, "constraints"): block}


def violations_document(violations: Iterable[Violation]) -> dict[str, Any]:
    """``constraint_violations.json`` in SageMaker's shape and words, in the order given."""
    return {"violations": [violation_block(violation) for violation in violations]}


def violation_block(violation: Violation) -> dict[str, str]:
    """One violation as SageMaker writes it: rates by their camelCase names, numbers as Java writes them."""
    name = violation_name(violation.metric_name)
    metric, constraint = violation.metric, violation.constraint
    return {
        "constraint_check_type": constraint.comparison_operator,
        "description": (
            f"Metric {name} with {java_double(metric.value)} +/- {java_double(metric.standard_deviation)} "
            f"was {constraint.comparison_operator} '{java_double(constraint.threshold)}'"
        ),
        "metric_name": name,
    }


# reading


def loads(data: bytes | str, source: str) -> dict[str, Any]:
    """Read a JSON object.

    Args:
        data: UTF-8, with or without a byte order mark.
        source: where it comes from, for messages.

    Raises:
        DocumentError: it is no JSON, or none that is an object.
    """
    try:
        document = json.loads(data.decode("utf-8-sig") if isinstance(data, bytes) else data)
    except (ValueError, RecursionError) as error:
        raise DocumentError(
            expected="a JSON document", came=str(error), where=source, next_step="write the document anew"
        ) from error
    if not isinstance(document, dict):
        raise DocumentError(
            expected="a JSON object",
            came=type(document).__name__,
            where=source,
            next_step="write the document anew",
        )
    return document


def read_constraints(document: Mapping[str, Any], problem_type: str, source: str) -> dict[str, Constraint]:
    """Read a ``constraints.json`` of model quality: constraints by name, in the registry's order.

    ``version``, ``additional_properties`` and keys that start with ``_`` are ignored. An empty block is read as no
    constraints.

    Raises:
        DocumentError: the document is one of data quality or of another problem type, or a constraint has an unknown
            metric, an unknown operator or a threshold that is no finite number. All such faults are told at once.
    """
    _, block = _block(document, problem_type, "constraints", source)
    known = metrics_of(problem_type)
    found: dict[str, Constraint] = {}
    faults: list[str] = []
    for name, entry in block.items():
        if _ignored(name):
            continue
        if name not in known:
            faults.append(f"{name}: no metric of {problem_type}{nearest(name, known)}")
            continue
        if not isinstance(entry, Mapping):
            faults.append(f"{name}: {entry!r} instead of threshold and comparison_operator")
            continue
        threshold = _finite(entry.get("threshold"))
        operator = entry.get("comparison_operator")
        if threshold is None:
            faults.append(f"{name}: threshold {entry.get('threshold')!r} is no finite number")
        if operator not in OPERATORS:
            faults.append(f"{name}: comparison_operator {operator!r}{nearest(str(operator), OPERATORS)}")
        if threshold is not None and operator in OPERATORS:
            found[name] = Constraint(threshold, operator)
    if faults:
        raise DocumentError(
            expected=f"constraints on metrics of {problem_type}: a number as threshold, {' or '.join(OPERATORS)}",
            came="; ".join(faults),
            where=source,
            next_step="correct or remove these constraints",
        )
    return {name: found[name] for name in known if name in found}


def read_statistics(document: Mapping[str, Any], source: str, problem_type: str | None = None) -> Statistics:
    """Read a ``statistics.json`` of model quality, ours or SageMaker's own.

    Values may be numbers or the strings ``"NaN"``, ``"Infinity"`` and ``"-Infinity"``. Entries that the registry does
    not know are ignored, and so is an absent standard deviation (read as NaN), ``version`` or ``dataset``.

    Args:
        document: the parsed JSON.
        source: where it comes from, for messages.
        problem_type: what it has to be; whatever it is where not given.

    Raises:
        DocumentError: the document is one of data quality or of another problem type, or a value is no number.
    """
    problem_type, block = _block(document, problem_type, "metrics", source)
    try:
        metrics = {
            name: Metric(_number(block[name]["value"]), _number(block[name].get("standard_deviation", "NaN")))
            for name in metrics_of(problem_type)
            if name in block
        }
        matrix = block.get("confusion_matrix")
        curves = {
            curve: {axis: [_number(number) for number in numbers] for axis, numbers in block[curve].items()}
            for curve in CURVES
            if curve in block
        }
        dataset = document.get("dataset", {})
        return Statistics(
            problem_type,
            metrics,
            None
            if matrix is None
            else {actual: {found: int(rows) for found, rows in row.items()} for actual, row in matrix.items()},
            curves,
            dataset.get("item_count"),
            dataset.get("evaluation_time"),
        )
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise DocumentError(
            expected="metrics as SageMaker writes them: {name: {value, standard_deviation}}",
            came=f"{type(error).__name__}: {error}",
            where=f"{source}, {block_name(problem_type, 'metrics')}",
            next_step="write the statistics anew",
        ) from error


def read_violations(document: Mapping[str, Any], constraints: Mapping[str, Constraint], source: str) -> frozenset[str]:
    """The metrics that a ``constraint_violations.json`` lists, by the registry's names.

    Raises:
        DocumentError: it holds no list of violations, or one of a metric that has no constraint: it is of another baseline.
    """
    known = {violation_name(name): name for name in constraints} | {name: name for name in constraints}
    try:
        listed = [entry["metric_name"] for entry in document["violations"]]
        return frozenset(known[name] for name in listed)
    except (KeyError, TypeError) as error:
        raise DocumentError(
            expected=f"violations, each with a metric_name that the constraints have: {', '.join(constraints)}",
            came=f"{type(error).__name__}: {error}",
            where=source,
            next_step="see whether constraints_uri names the constraints by which this was judged, and run the window again",
        ) from error


def _block(
    document: Mapping[str, Any], problem_type: str | None, kind: str, source: str
) -> tuple[str, Mapping[str, Any]]:
    """The only problem type that has a block in the document, which must be the one given if one is; and its block."""
    names = {block_name(known, kind): known for known in PROBLEM_TYPES}
    wanted = [name for name, known in names.items() if problem_type in (known, None)]
    present = [name for name in names if name in document]
    if len(present) == 1 and present[0] in wanted and isinstance(document[present[0]], Mapping):
        return names[present[0]], document[present[0]]
    document_name = "statistics.json" if kind == "metrics" else "constraints.json"
    next_step = f"give the {document_name} of a {problem_type or 'model-quality'} monitor"
    if any(key in document for key in _DATA_QUALITY_KEYS):
        came = "a document of data quality"
    elif present and present != wanted:
        came = " and ".join(present)
        next_step += ", or correct problem_type"
    elif present:
        came = f"{present[0]}: {type(document[present[0]]).__name__}"
    else:
        came = f"keys {', '.join(map(repr, document)) or 'none'}"
    raise DocumentError(expected=f"one object, {' or '.join(wanted)}", came=came, where=source, next_step=next_step)


def _ignored(name: str) -> bool:
    return name.startswith("_") or name in ("version", "additional_properties")


def _finite(number: Any) -> float | None:
    if isinstance(number, bool) or not isinstance(number, int | float):
        return None
    try:
        value = float(number)
    except OverflowError:  # an integer of more than 308 digits
        return None
    return value if math.isfinite(value) else None


def _number(value: Any) -> float:
    if isinstance(value, str):
        return _NAMED_NUMBERS[value]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{value!r} is no number")
    return float(value)


# writing


def json_number(number: float) -> float | str:
    """The number, or the string that SageMaker writes for it: ``"NaN"``, ``"Infinity"``, ``"-Infinity"``."""
    if math.isnan(number):
        return "NaN"
    if math.isinf(number):
        return "Infinity" if number > 0 else "-Infinity"
    return number


def dumps(document: Mapping[str, Any]) -> bytes:
    """A document as strict JSON in UTF-8, indented by two spaces, with a line end: equal documents give equal bytes.

    Floating-point numbers are written with the fewest digits that read back as the same number; undefined and
    infinite ones become SageMaker's strings.
    """
    try:
        data = _plain(document)
    except (ValueError, TypeError):  # a number that is none, a mapping of another kind, text that no UTF-8 can hold
        strict = _strict(document)
        try:
            data = _plain(strict)
        except UnicodeEncodeError:
            # half of a surrogate pair becomes JSON's own escape, which msgspec does not take
            text = json.dumps(strict, indent=2, ensure_ascii=False, allow_nan=False)
            return text.encode("utf-8", "backslashreplace") + b"\n"
    # Python is fast where it does not indent
    return msgspec.json.format(data, indent=2) + b"\n"


def _plain(document: Any) -> bytes:
    return json.dumps(document, ensure_ascii=False, allow_nan=False).encode()


def _strict(value: Any) -> Any:
    if isinstance(value, float):
        return json_number(value)
    if isinstance(value, Mapping):
        return {key: _strict(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_strict(item) for item in value]
    return value


def java_double(number: float) -> str:
    """The number as Java's ``Double.toString`` writes it (the rule of Java 19 and later).

    The fewest digits that read back as the same number, two at least; plain from 0.001 to below ten millions, with an
    exponent otherwise. Where one digit would do, the two that come nearest are taken: ``4.9E-324``.
    """
    if math.isnan(number) or math.isinf(number):
        return str(json_number(number))
    sign = "-" if math.copysign(1.0, number) < 0 else ""
    if number == 0:
        return sign + "0.0"
    shortest = Decimal(repr(abs(number))).normalize().as_tuple()
    if len(shortest.digits) == 1:
        shortest = Decimal(f"{abs(number):.1e}").as_tuple()
    digits = "".join(map(str, shortest.digits))
    exponent = len(digits) - 1 + int(shortest.exponent)
    if not -3 <= exponent < 7:
        return f"{sign}{digits[0]}.{digits[1:]}E{exponent}"
    if exponent < 0:
        return f"{sign}0.{'0' * (-exponent - 1)}{digits.rstrip('0')}"
    whole, fraction = digits[: exponent + 1].ljust(exponent + 1, "0"), digits[exponent + 1 :]
    return f"{sign}{whole}.{fraction or '0'}"
