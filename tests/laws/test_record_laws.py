"""Laws of reading lines: a block says what its lines say one by one, however it is cut, and no line is unaccounted for."""

from __future__ import annotations

import base64
import gzip
import json
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import jmespath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_mq_provider.quality.columns import read_captures, read_labels
from airflow_mq_provider.quality.lines import Block, Lines, blocks, lines_of
from airflow_mq_provider.quality.records import (
    REASONS,
    Classes,
    Fault,
    Reading,
    attribute,
    hash_ids,
    judge_capture,
    judge_label,
)

WINDOW = (datetime(2026, 11, 1, 10, tzinfo=UTC), datetime(2026, 11, 1, 12, tzinfo=UTC))
SECONDS = (int(WINDOW[0].timestamp()), int(WINDOW[1].timestamp()))


def a_reading(problem_type: str, inference: str | None, probability: str | None, truth: str | None = None) -> Reading:
    return Reading(
        problem_type=problem_type,
        inference=attribute(inference) if inference else None,
        probability=attribute(probability) if probability else None,
        ground_truth=attribute(truth) if truth else None,
        threshold=0.5,
        positive_label="1",
        negative_label="0",
        batch=None,
    )


READINGS = st.sampled_from(
    [
        a_reading("BinaryClassification", None, "0"),
        a_reading("BinaryClassification", "1", "0"),
        a_reading("BinaryClassification", "$.label", "predictions[0].score", "label"),
        a_reading("BinaryClassification", None, "predictions[*].score"),
        a_reading("BinaryClassification", "predictions[?score > `0`].score | [0]", None),
        a_reading("MulticlassClassification", "0", None),
        a_reading("MulticlassClassification", "label", None),
        a_reading("Regression", "0", None),
        a_reading("Regression", "score", None),
    ]
)

SCALARS = st.one_of(
    st.sampled_from(
        ["1", "0", "1.0", " 1", "0.25", "0.5", "0.75", "yes", "true", "nan", "inf", "1_0", "-3", "", "1e400"]
    ),
    st.floats(0, 1).map(repr),
    st.text(max_size=5),
)
JSON_SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 2),
    st.floats(-1, 2, allow_nan=False),
    st.sampled_from(["1", "0", "a", ""]),
)
JSON_PAYLOADS = st.one_of(
    JSON_SCALARS,
    st.lists(JSON_SCALARS, max_size=3),
    st.fixed_dictionaries(
        {},
        optional={
            "label": st.one_of(JSON_SCALARS, st.lists(JSON_SCALARS, max_size=2)),
            "score": JSON_SCALARS,
            "predictions": st.lists(st.fixed_dictionaries({}, optional={"score": JSON_SCALARS}), max_size=3),
            "instances": st.lists(st.fixed_dictionaries({}, optional={"label": JSON_SCALARS}), max_size=3),
        },
    ),
)


@st.composite
def outputs(draw: st.DrawFn) -> dict[str, Any]:
    """A payload with its encoding, right or wrong."""
    if draw(st.booleans()):
        rows = draw(st.lists(st.lists(SCALARS, min_size=1, max_size=3).map(",".join), min_size=0, max_size=3))
        text, encoding = "\n".join(rows) + draw(st.sampled_from(["", "\n", "\r\n"])), "CSV"
    else:
        text, encoding = json.dumps(draw(JSON_PAYLOADS)) + draw(st.sampled_from(["", "x", "\n"])), "JSON"
    output: dict[str, Any] = {"data": text, "encoding": encoding}
    how = draw(st.integers(0, 9))
    if how == 0:
        output["data"] = base64.b64encode(text.encode()).decode() + draw(st.sampled_from(["", "", "?"]))
        output["encoding"] = "BASE64"
        output["observedContentType"] = draw(st.sampled_from(["application/json", "text/csv", None]))
    elif how == 1:
        output["encoding"] = draw(st.sampled_from(["PARQUET", "csv", None, 3]))
    elif how == 2:
        output["data"] = draw(st.sampled_from([None, 3, {"a": 1}]))
    return output


TIMES = st.one_of(
    st.integers(SECONDS[0] - 3600, SECONDS[1] + 3600).map(
        lambda second: datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    ),
    st.sampled_from(
        ["2026-11-01T11:00:00.123Z", "2026-11-01T12:00:00+01:00", "2026-11-01T11:00:00", "2026-13-01T11:00:00Z",
         "2026-02-29T11:00:00Z", "2026-11-01T24:00:00Z", "", None, 5, "yesterday at noon ok", "2026-11-01t11:00:00z",
         "2026-W44-7T11:00:00Z"]
    ),
)  # fmt: skip
IDS = st.one_of(st.sampled_from(["a", "b", "c", "é"]), st.sampled_from(["", None, 7]))


@st.composite
def capture_lines(draw: st.DrawFn) -> bytes:
    meta = {"eventId": draw(IDS), "inferenceTime": draw(TIMES)}
    if draw(st.booleans()):
        meta["inferenceId"] = draw(IDS)
    record = {"captureData": {"endpointOutput": draw(outputs())}, "eventMetadata": meta, "eventVersion": "0"}
    return spoiled(draw, record)


@st.composite
def label_lines(draw: st.DrawFn) -> bytes:
    return spoiled(draw, {"groundTruthData": draw(outputs()), "eventMetadata": {"eventId": draw(IDS)}})


DEEP = b"[" * 2000 + b"]" * 2000
ODD_MEMBERS = [b"1e400", b"9" * 5000, b'{"more":[-1e999]}', DEEP]


def spoiled(draw: st.DrawFn, record: dict[str, Any]) -> bytes:
    """The record as a line; now and then broken, padded, doubled or blank."""
    line = json.dumps(record, ensure_ascii=draw(st.booleans())).encode()
    how = draw(st.integers(0, 24))
    if how < len(ODD_MEMBERS):
        return line[:-1] + b',"more":' + ODD_MEMBERS[how] + b"}"
    how -= len(ODD_MEMBERS)
    if how == 0:
        return line[: draw(st.integers(0, len(line)))]
    if how == 1:
        return line + line
    if how == 2:
        return b"  " + line + b" \r"
    if how == 3:
        return line.replace(b'"0"', b'"\xff"', 1)
    if how == 4:
        return draw(st.sampled_from([b"", b"  ", b"[]", b"7", b"{}", b"null", b'{"a": {}', b", {}}"]))
    return line


def in_blocks(lines: list[bytes], cuts: list[int], ended: bool) -> Lines:
    """The lines as those of several objects, cut where `cuts` says; of the objects, the last may end without a newline."""
    bounds = sorted({0, *(cut % (len(lines) + 1) for cut in cuts), len(lines)})
    found = []
    for first, last in pairwise(bounds):
        end = b"\n" if ended and last == len(lines) else b""
        found.append(Block(f"object {first}", first + 1, b"\n".join(lines[first:last]) + end))
    return lines_of(found)


CUTS = st.lists(st.integers(0, 200), max_size=3)


@settings(max_examples=400)
@given(READINGS, st.lists(capture_lines(), max_size=8), CUTS, st.booleans(), st.integers(1, 20))
def test_captures_in_columns_say_what_each_line_says(
    reading: Reading, lines: list[bytes], cuts: list[int], ended: bool, times: int
) -> None:
    lines = lines * times  # more than are decoded together
    read = in_blocks(lines, cuts, ended)
    classes = Classes(reading)
    found = read_captures(read, reading, SECONDS, classes)
    outside, rejected, used = 0, [], []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            one = judge_capture(line.strip(), reading)
        except Fault as fault:
            rejected.append((number, fault.reason, line.strip()))
            continue
        if WINDOW[0] <= one.time < WINDOW[1]:
            used.append((number, one))
        else:
            outside += 1
    assert found.outside_window == outside
    assert [(one.line, one.reason, one.text) for one in found.rejected] == rejected
    assert [read.rejection(at, "", "").line for at in found.at.tolist()] == [number for number, _ in used]
    assert [found.texts[at] for at in found.text.tolist()] == [one.id for _, one in used]
    assert np.array_equal(found.ids, hash_ids([one.id for _, one in used]))
    assert found.times.tolist() == [int(one.time.timestamp()) for _, one in used]
    rows = [1] * len(used) if found.rows is None else found.rows.tolist()
    assert rows == [len(one.predicted) for _, one in used]
    assert named(found.predicted, reading, classes) == [value for _, one in used for value in one.predicted]
    if reading.probability is not None:
        assert found.probability is not None
        assert found.probability.tolist() == [value for _, one in used for value in one.probability or ()]
    assert [read[at] for at in found.at.tolist()] == [lines[n - 1].strip() for n, _ in used]
    assert found.lines == found.outside_window + len(found.rejected) + len(found.ids)


@settings(max_examples=300)
@given(READINGS, st.lists(label_lines(), max_size=8), CUTS, st.booleans(), st.integers(1, 20))
def test_labels_in_columns_say_what_each_line_says(
    reading: Reading, lines: list[bytes], cuts: list[int], ended: bool, times: int
) -> None:
    lines = lines * times
    classes = Classes(reading)
    found = read_labels(in_blocks(lines, cuts, ended), reading, classes)
    rejected, used = [], []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            used.append((judge_label(line.strip(), reading), line))
        except Fault as fault:
            rejected.append((number, fault.reason))
    assert [(one.line, one.reason) for one in found.rejected] == rejected
    assert np.array_equal(found.ids, hash_ids([one.id for one, _ in used]))
    rows = [1] * len(used) if found.rows is None else found.rows.tolist()
    assert rows == [len(one.actual) for one, _ in used]
    assert named(found.actual, reading, classes) == [value for one, _ in used for value in one.actual]
    as_text = json.JSONDecoder(parse_int=str)  # json makes no numbers of thousands of digits
    carried = [as_text.decode(found.truths[number].decode()) for number in found.truth.tolist()]
    assert carried == [as_text.decode(line.decode().strip())["groundTruthData"] for _, line in used]
    assert found.lines == len(found.rejected) + len(found.ids)


@pytest.mark.parametrize("member", ODD_MEMBERS[:-1])
def test_a_number_that_nobody_asks_for_may_be_any_number(member: bytes) -> None:
    binary = a_reading("BinaryClassification", None, "0")
    captured = b'{"captureData":{"more":%b,"endpointOutput":{"data":"0.9","encoding":"CSV","more":%b}},"more":%b,' % (
        member, member, member,
    )  # fmt: skip
    captured += b'"eventMetadata":{"more":%b,"eventId":"a","inferenceTime":"2026-11-01T11:00:00Z"}}' % member
    assert judge_capture(captured, binary).probability == [0.9]
    labelled = b'{"groundTruthData":{"data":"1","encoding":"CSV","more":%b},"eventMetadata":{"eventId":"a"}}' % member
    assert judge_label(labelled, binary).actual == [1]


def test_a_line_that_is_nested_too_deeply_is_rejected_and_costs_nothing_else() -> None:
    binary = a_reading("BinaryClassification", None, "0")
    good = b'{"captureData":{"endpointOutput":{"data":"0.9","encoding":"CSV"}},"eventMetadata":{"eventId":"a","inferenceTime":"2026-11-01T11:00:00Z"}}'
    deep = good[:-1] + b',"more":' + DEEP + b"}"
    payload = good.replace(b'"0.9","encoding":"CSV"', b'"' + DEEP + b'","encoding":"JSON"')
    found = read_captures(in_blocks([good, deep, payload, good], [], True), binary, SECONDS, Classes(binary))
    assert [(one.line, one.reason) for one in found.rejected] == [(2, "invalid_json"), (3, "bad_payload")]
    assert {one.seen for one in found.rejected} == {"nested too deeply to be read"}
    assert len(found.ids) == 2


def named(values: np.ndarray[Any, Any], reading: Reading, classes: Classes) -> list[Any]:
    if reading.problem_type == "MulticlassClassification":
        return [classes.names[number] for number in values.tolist()]
    return values.tolist()  # type: ignore[no-any-return]


@given(
    st.lists(st.binary(max_size=30).map(lambda data: data.replace(b"\n", b"")), max_size=20),
    st.booleans(),
    st.integers(1, 50),
    st.booleans(),
)
def test_blocks_hold_every_line_under_its_number(lines: list[bytes], ended: bool, size: int, compressed: bool) -> None:
    data = b"\n".join(lines) + (b"\n" if ended else b"")
    if data[:2] == b"\x1f\x8b":
        return
    stored = gzip.compress(data, mtime=0) if compressed else data
    chunks = [stored[at : at + size] for at in range(0, len(stored), size)]
    expected = {number: line for number, line in enumerate(data.split(b"\n"), 1) if line}
    limit = 20
    seen: dict[int, bytes] = {}
    for piece in blocks(chunks, "stored", limit=limit):
        if isinstance(piece, Block):
            for number, line in enumerate(piece.data.split(b"\n"), piece.first_line):
                if line:
                    assert number not in seen
                    seen[number] = line
        else:
            assert piece.reason == "line_too_long"
            assert len(expected[piece.line]) > limit
            seen[piece.line] = expected[piece.line]
    assert seen == expected


@given(st.lists(st.binary(min_size=1, max_size=200).map(lambda data: data.replace(b"\n", b"") + b"\n"), max_size=20),
       st.integers(1, 60), st.integers(1, 64))  # fmt: skip
def test_what_came_before_the_damage_of_a_gzip_object_counts(lines: list[bytes], cut: int, size: int) -> None:
    stored = gzip.compress(b"".join(lines), mtime=0)
    stored = stored[: max(2, len(stored) - cut)]
    pieces = list(blocks([stored[at : at + size] for at in range(0, len(stored), size)]))
    read = b"".join(piece.data for piece in pieces if isinstance(piece, Block))
    assert b"".join(lines).startswith(read)
    assert read.endswith(b"\n") or not read
    assert [piece.reason for piece in pieces if not isinstance(piece, Block)] == ["corrupt_gzip"]


@given(
    st.lists(
        st.binary(min_size=1, max_size=200).map(lambda data: data.replace(b"\n", b"") + b"\n"), min_size=1, max_size=20
    ),
    st.sampled_from([0, 1, 9]),
    st.data(),
)
def test_damage_is_found_at_the_same_line_however_a_gzip_object_is_cut(
    lines: list[bytes], level: int, data: st.DataObject
) -> None:
    stored = bytearray(gzip.compress(b"".join(lines), level, mtime=0))
    stored[data.draw(st.integers(2, len(stored) - 1))] ^= data.draw(st.integers(1, 255))
    found = []
    for size in (len(stored), 1, data.draw(st.integers(1, 64))):
        pieces = list(blocks([bytes(stored[at : at + size]) for at in range(0, len(stored), size)]))
        read = b"".join(piece.data for piece in pieces if isinstance(piece, Block))
        rejected = [(piece.line, piece.reason) for piece in pieces if not isinstance(piece, Block)]
        found.append((read, rejected))
    assert found[0] == found[1] == found[2]


PATHS = st.sampled_from(
    ["a", "a.b", "a[0]", "a[0].b", "a.b[1].a", "a[*]", "a[*].b", "a.b[*].a", "a[0].b[*].a[1]", "b[*][0]", "$.a[*].b"]
)
TREES = st.recursive(
    JSON_SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.fixed_dictionaries({}, optional={"a": inner, "b": inner, "c": inner})
    ),
    max_leaves=12,
)


@settings(max_examples=400)
@given(PATHS, TREES)
def test_a_plain_path_finds_what_jmespath_finds(path: str, payload: Any) -> None:
    assert attribute(path).find(payload) == jmespath.search(path.removeprefix("$."), payload)


def test_every_reason_is_explained() -> None:
    assert all(REASONS.values())
