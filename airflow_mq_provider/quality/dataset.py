"""What a labelled file says: the rows that a baseline is made from, predictions and labels side by side.

A baseline sets the thresholds of every later verdict, so nothing in it is passed over: the first row that cannot be read
raises `InputError` with its line.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

import msgspec
import numpy as np

from airflow_mq_provider.exceptions import InputError
from airflow_mq_provider.quality import parquet
from airflow_mq_provider.quality.records import (
    Fault,
    Reading,
    attribute,
    hash_ids,
    probability_of,
    target_of,
)
from airflow_mq_provider.quality.states import MergedRows, sample_flags

FORMATS = ("csv-header", "csv", "jsonl", "parquet")
DEFAULTS = {"ground_truth": "label", "inference": "prediction", "probability": "probability"}
"""The columns of AWS's own baseline sample, taken where no attribute is named."""


def labelled_rows(
    data: bytes,
    reading: Reading,
    *,
    dataset_format: str,
    where: str,
    ground_truth_attribute: str | None = None,
    inference_attribute: str | None = None,
    probability_attribute: str | None = None,
) -> MergedRows:
    """The rows of a labelled file, in columns.

    Attributes are column names; indexes (or ``_c0``, ``_c1``) for ``csv``, which has no header; JMESPath for ``jsonl``.
    Without them the columns `DEFAULTS` are taken where the file has them. The five samples are drawn by what a row says, not by where it stands.

    Raises:
        InputError: no row, an absent column, or a value that is no label, probability or number, with its line.
    """
    if dataset_format not in FORMATS:
        raise InputError(
            expected="a dataset format: " + ", ".join(FORMATS),
            came=repr(dataset_format),
            where="dataset_format",
            next_step="name the format the file has",
        )
    records = iter(_records(data, dataset_format, where))
    first = next(records, None)
    if first is None:
        raise InputError(
            expected="labelled rows to make a baseline from",
            came="a file without any",
            where=where,
            next_step="write the model's predictions on held-out data with their labels into it",
        )
    finders = _finders(
        first[1],
        reading,
        where,
        ground_truth=ground_truth_attribute,
        inference=inference_attribute,
        probability=probability_attribute,
    )
    actual: list[Any] = []
    predicted: list[Any] = []
    probability: list[float] = []
    for line, record in _again(first, records):
        try:
            actual.append(target_of(finders["ground_truth"](record), reading))
            if "probability" in finders:
                probability.append(probability_of(finders["probability"](record)))
            if "inference" in finders:
                predicted.append(target_of(finders["inference"](record), reading))
            else:
                predicted.append(int(probability[-1] > reading.threshold))
        except Fault as fault:
            raise InputError(
                expected="a label, and a prediction or probability, that the monitor knows",
                came=f"{fault.reason}: {fault.seen}",
                where=f"{where}, line {line}",
                next_step="correct the row, or name positive_label and negative_label in the monitor",
            ) from fault
    return _rows(reading, actual, predicted, probability if "probability" in finders else None)


def labelled_csv(parts: Iterable[MergedRows], reading: Reading, *, prediction: bool) -> bytes:
    """Rows as one CSV with a header, in the order given: what `labelled_rows` reads, and SageMaker's analyzer.

    The columns are those of `DEFAULTS`: ``label``; ``prediction``, unless it is not wanted; ``probability`` where the rows
    have one. Classes are texts; numbers have the fewest digits that read back as the same number.
    """
    classes = [reading.negative_label, reading.positive_label]
    sink = io.StringIO()
    writer = csv.writer(sink, lineterminator="\n")
    for number, rows in enumerate(parts):
        named: Sequence[Any] | None = None
        if reading.problem_type != "Regression":
            named = rows.classes or classes
        columns = {DEFAULTS["ground_truth"]: _values(rows.actual, named)}
        if prediction:
            columns[DEFAULTS["inference"]] = _values(rows.predicted, named)
        if rows.probability is not None:
            columns[DEFAULTS["probability"]] = rows.probability.tolist()
        if number == 0:
            writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
    return sink.getvalue().encode()


def _values(column: Any, named: Sequence[Any] | None) -> list[Any]:
    values: list[Any] = column.tolist()
    return values if named is None else [named[code] for code in values]


def _again(first: tuple[int, Any], rest: Iterator[tuple[int, Any]]) -> Iterator[tuple[int, Any]]:
    yield first
    yield from rest


def _records(data: bytes, dataset_format: str, where: str) -> Iterable[tuple[int, Any]]:
    """Line number and record: a mapping of columns, or for ``csv`` a list of them."""
    if dataset_format == "parquet":
        return _parquet(data, where)
    if dataset_format == "jsonl":
        return _json_lines(data, where)
    return _csv(data, where, header=dataset_format == "csv-header")


def _csv(data: bytes, where: str, *, header: bool) -> Iterator[tuple[int, Any]]:
    try:
        reader = csv.reader(io.StringIO(data.decode("utf-8-sig"), newline=""), strict=True)
        names = [name.strip() for name in next(reader, [])] if header else []
        for row in reader:
            if row:
                yield reader.line_num, dict(zip(names, row, strict=False)) if header else row
    except (UnicodeDecodeError, csv.Error) as error:
        raise _unreadable("CSV in UTF-8", error, where) from error


def _json_lines(data: bytes, where: str) -> Iterator[tuple[int, Any]]:
    for number, line in enumerate(data.split(b"\n"), 1):
        if line.strip():
            try:
                yield number, msgspec.json.decode(line)
            except msgspec.DecodeError as error:
                raise _unreadable("one JSON object a line", error, f"{where}, line {number}") from error


def _parquet(data: bytes, where: str) -> Iterator[tuple[int, Any]]:
    try:
        yield from enumerate(chain.from_iterable(parquet.rows(data)), 1)
    except ValueError as error:
        raise _unreadable("a Parquet file", error, where) from error


def _unreadable(expected: str, error: Exception, where: str) -> InputError:
    return InputError(expected=expected, came=str(error), where=where, next_step="name the format the file really has")


def _finders(first: Any, reading: Reading, where: str, **wanted: str | None) -> dict[str, Callable[[Any], Any]]:
    """How each value is found in a record; the first record shows whether an attribute exists."""
    finders: dict[str, Callable[[Any], Any]] = {}
    for role, named in wanted.items():
        text = named or DEFAULTS[role]
        if role == "probability" and reading.problem_type != "BinaryClassification":
            continue
        compiled = attribute(text)
        find: Callable[[Any], Any] = compiled.find
        if isinstance(first, Mapping) and text in first:
            find = _by_name(text)
        if find(first) is not None:
            finders[role] = find
        elif named or role == "ground_truth":
            raise _no_column(role, text, first, where)
    if "inference" not in finders and "probability" not in finders:
        raise _no_column("inference", DEFAULTS["inference"], first, where)
    return finders


def _by_name(name: str) -> Callable[[Any], Any]:
    return lambda record: record.get(name)


def _no_column(role: str, text: str, first: Any, where: str) -> InputError:
    columns = sorted(map(str, first)) if isinstance(first, Mapping) else f"{len(first)} columns without names"
    return InputError(
        expected=f"a column {text!r}",
        came=str(columns),
        where=where,
        next_step=f"name the column with --{role.replace('_', '-')}-attribute",
    )


def _rows(
    reading: Reading, actual: Sequence[Any], predicted: Sequence[Any], probability: Sequence[float] | None
) -> MergedRows:
    said = [
        repr((one, predicted[at], probability[at] if probability is not None else None))
        for at, one in enumerate(actual)
    ]
    # Equal rows are told apart by their count, so the samples do not depend on the order of the file.
    seen: dict[str, int] = {}
    repeats = np.zeros(len(said), np.int64)
    for at, text in enumerate(said):
        repeats[at] = seen[text] = seen.get(text, -1) + 1
    flags = sample_flags(hash_ids(said), repeats)
    return MergedRows.of_values(reading.problem_type, flags, actual, predicted, probability)
