"""Laws of prepared hours: they come back as they were written or not at all, and whatever becomes of them, no answer changes."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from dataclasses import fields, replace
from datetime import UTC, timedelta
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_mq_provider.engines import matching
from airflow_mq_provider.engines.hours import (
    CaptureHour,
    LabelHour,
    capture_hour,
    joined_captures,
    joined_labels,
    label_hour,
)
from airflow_mq_provider.engines.labels import hash_order
from airflow_mq_provider.engines.prepared import decoded, encoded
from airflow_mq_provider.engines.task import LoadedHours
from airflow_mq_provider.quality.lines import Lines, blocks, lines_of
from airflow_mq_provider.quality.records import Reading, hash_ids, reading
from airflow_mq_provider.retention import clean
from airflow_mq_provider.storage import Storage, is_s3, join
from airflow_mq_provider.window import hour_folder
from benchmarks.s3_server import S3, serving
from tests.loopback import S3Clients
from tests.prepared_world import HOUR, PROBLEMS, busy, prepared, run, set_up
from tests.world import T, World, capture_line, label_line

# --- whatever happened to them ------------------------------------------------------------------------------------------


class Known:
    """A world, what a run of it writes, the bytes of its prepared hours, and those of another definition beside them."""

    def __init__(self, world: World) -> None:
        self.world = world
        world.settings["keep_rejected"] = "references"
        run(world)
        self.others = standing(world)
        world.settings.pop("keep_rejected")
        self.expected = run(world)
        self.own = {uri: data for uri, data in standing(world).items() if uri not in self.others}

    def __repr__(self) -> str:
        return "Known(...)"  # Hypothesis shows what a law was given

    def mends(self, damages: list[tuple[int, str, float]]) -> None:
        """A run after these damages writes the same bytes, and every hour is again what it was."""
        storage = self.world.storage
        for uri, content in {**self.own, **self.others}.items():
            storage.write(uri, content)
        for number, how, place in damages:
            spoil(
                storage,
                sorted(self.own)[number % len(self.own)],
                how,
                place,
                [*self.own.values(), *self.others.values()],
            )
        assert run(self.world) == self.expected
        assert self.own.items() <= standing(self.world).items()


@pytest.fixture(scope="module", params=PROBLEMS)
def known(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Known:
    return Known(busy(World(Storage(), str(tmp_path_factory.mktemp("law")), "local"), request.param))


class SameETag(S3):
    """An S3 where a prepared hour has one ETag, whatever its bytes are: nothing can be told by it."""

    def etag(self, key: str) -> str:
        return '"0"' if "/_prepared/" in key else super().etag(key)


@pytest.fixture(scope="module")
def s3_world() -> Iterator[World]:
    """A world of two hours on S3, where requests are what takes time."""
    with serving(SameETag()) as endpoint:
        yield World(Storage(S3Clients(endpoint)), "s3://bucket/root", "local")


@pytest.fixture(scope="module")
def known_on_s3(s3_world: World) -> Known:
    return Known(busy(s3_world, "BinaryClassification", (2, 1)))


def standing(world: World) -> dict[str, bytes]:
    return {one.uri: world.storage.read(one.uri) for one in prepared(world)}


DAMAGE = st.sampled_from(
    ["deleted", "truncated", "bit", "longer", "empty", "foreign", "another's", "another version", "half written"]
)
DAMAGES = st.lists(st.tuples(st.integers(0, 7), DAMAGE, st.floats(0, 1)), max_size=12)


def spoil(storage: Storage, uri: str, how: str, place: float, others: list[bytes]) -> None:
    """Do something to an object, if it is there and not empty."""
    content = storage.read(uri) if storage.exists(uri) else b""
    if not content:
        return
    at = int(place * (len(content) - 1))
    if how == "half written":  # S3 has nothing of it, a disk has a file of another name
        if not is_s3(uri):
            Path(uri).with_name(f".{at:016x}.unfinished").write_bytes(content[:at])
        storage.delete([uri])
        return
    if how == "deleted":
        storage.delete([uri])
        return
    changed = bytearray(content)
    changed[at] ^= 1 << at % 8
    made = {
        "bit": bytes(changed),
        "truncated": content[:at],
        "longer": content + b"\0",
        "empty": b"",
        "foreign": b"{}\n" * at,
        "another's": others[at % len(others)],
        "another version": content.replace(b"MQHOUR", b"MQHOU2", 1),
    }
    storage.write(uri, made[how])


@given(DAMAGES)
@settings(max_examples=20)
def test_whatever_happened_to_prepared_hours_a_run_writes_the_same_bytes_and_mends_them(
    known: Known, damages: list[tuple[int, str, float]]
) -> None:
    known.mends(damages)


@given(DAMAGES)
@settings(max_examples=6)
def test_so_it_does_on_s3_where_no_etag_tells_of_it(known_on_s3: Known, damages: list[tuple[int, str, float]]) -> None:
    known_on_s3.mends(damages)


# --- whatever happens between runs --------------------------------------------------------------------------------------

NAMES = st.sampled_from(["a.jsonl", "b.jsonl", "c.jsonl.gz"])
STEPS = st.lists(
    st.tuples(st.just("captures"), st.integers(0, 2), NAMES, st.integers(0, 15))
    | st.tuples(st.just("labels"), st.integers(0, 2), NAMES, st.integers(0, 15))
    | st.tuples(st.just("remove"), st.sampled_from(["capture/churn/AllTraffic", "labels"]), st.integers(0, 2), NAMES)
    | st.tuples(st.just("spoil"), st.integers(0, 7), DAMAGE, st.floats(0, 1))
    | st.tuples(st.just("clean"), st.integers(0, 3))
    | st.tuples(st.just("run"), st.integers(0, 2), st.booleans()),
    max_size=14,
)  # fmt: skip


def each_says_what_a_cold_run_says(world: World, steps: list[tuple[Any, ...]]) -> None:
    """Go through the steps, and run at the end in any case: each run writes what one without prepared hours would."""
    storage, loaded = world.storage, LoadedHours()
    for one in list(storage.list(world.root)):
        storage.delete([one.uri])
    set_up(world, "BinaryClassification")
    world.captures(capture_line("base", "0.9", time=T - 3 * HOUR), hour=T - 3 * HOUR, name="base.jsonl")
    for kind, *about in [*steps, ("run", 0, True), ("run", 0, False)]:
        if kind in ("captures", "labels"):
            hour, name, which = about
            ids = [f"{hour}-{number}" for number in range(4) if which >> number & 1]
            start = T - (hour + 1) * HOUR
            if kind == "captures":
                lines = [capture_line(id, f"0.{which % 9}", time=start + timedelta(minutes=len(name))) for id in ids]
            else:
                lines = [label_line(id, str(which % 2)) for id in ids]
            data = b"\n".join([*lines, b"broken"])
            side = "capture/churn/AllTraffic" if kind == "captures" else "labels"
            world.put(f"{side}/{hour_folder(start)}/{name}", gzip.compress(data, mtime=0) if "gz" in name else data)
        elif kind == "remove":
            side, hour, name = about
            storage.delete([join(world.root, side, hour_folder(T - (hour + 1) * HOUR), name)])
        elif kind == "spoil":
            number, how, place = about
            if hours := standing(world):
                spoil(storage, sorted(hours)[number % len(hours)], how, place, list(hours.values()))
        elif kind == "clean":
            clean(world.monitor(), storage, now=T, older_than=about[0] * HOUR)
        else:
            later, in_memory = about
            found = run(world, T + later * HOUR, loaded if in_memory else None)
            world.settings["prepared_hours_retention"] = "P0D"
            assert run(world, T + later * HOUR) == found
            world.settings.pop("prepared_hours_retention")


@given(STEPS)
@settings(max_examples=25)
def test_whatever_happens_between_runs_each_says_what_a_cold_run_says(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[Any, ...]]
) -> None:
    each_says_what_a_cold_run_says(World(Storage(), str(tmp_path_factory.mktemp("steps")), "local"), steps)


@given(STEPS)
@settings(max_examples=5)
def test_so_it_is_on_s3(s3_world: World, steps: list[tuple[Any, ...]]) -> None:
    each_says_what_a_cold_run_says(World(s3_world.storage, "s3://bucket/steps", "local"), steps)


# --- bytes --------------------------------------------------------------------------------------------------------------

READINGS = [reading(set_up(World(Storage(), "/nowhere", "local"), problem).monitor()) for problem in PROBLEMS]
TEXTS = st.sampled_from(["0.9", "1", "0", "cat", "dog", "1.0", "0.5\n0.25", "", "x,y", "Ünï"])
MOMENTS = st.datetimes(timezones=st.just(UTC))
CAPTURED = st.builds(
    lambda id, text, time, given: capture_line(id, text, time=f"{time:%Y-%m-%dT%H:%M:%S}Z".rjust(20, "0"), given=given),
    st.sampled_from(["a", "b", "c", ""]), TEXTS, MOMENTS, TEXTS,
)  # fmt: skip
LABELLED = st.builds(
    lambda id, text, country: label_line(id, text, country=country), st.sampled_from(["a", "b", ""]), TEXTS, TEXTS
)
OTHERS = st.sampled_from([b"", b"  ", b"{", b"null", b"\xff"])
FILES = st.lists(st.lists(CAPTURED | LABELLED | OTHERS, max_size=8), min_size=1, max_size=4)


def pieces(files: list[list[bytes]], cuts: list[int]) -> list[Lines]:
    """The lines of the files, cut into blocks of so many bytes, each block a piece of its own."""
    found = []
    for number, lines in enumerate(files):
        data = b"\n".join(lines)
        size = cuts[number % len(cuts)]
        chunks = [data[start : start + size] for start in range(0, len(data), size)]
        found += [lines_of([piece]) for piece in blocks(chunks, f"/{number}")]
    return found


def an_hour(kind: type, cut: list[Lines], how: Reading, files: int, keep_lines: bool) -> Any:
    if kind is LabelHour:
        return label_hour(cut, how, keep_lines=keep_lines)
    return capture_hour(cut, how, {f"/{number}": number for number in range(files)}, keep_lines=keep_lines)


@given(
    st.sampled_from([CaptureHour, LabelHour]), st.sampled_from(READINGS), FILES,
    st.lists(st.integers(1, 900), min_size=1), st.booleans(),
)  # fmt: skip
def test_an_hour_has_the_same_bytes_however_it_was_cut_and_reads_back_as_it_was(
    kind: Any, how: Reading, files: list[list[bytes]], cuts: list[int], keep_lines: bool
) -> None:
    whole = an_hour(kind, pieces(files, [1 << 20]), how, len(files), keep_lines)
    data = encoded(whole, "its name")
    cut = pieces(files, cuts)
    assert encoded(an_hour(kind, cut, how, len(files), keep_lines), "its name") == data
    parts = [an_hour(kind, [one], how, len(files), keep_lines) for one in cut]
    joined = joined_labels(parts, how) if kind is LabelHour else joined_captures(parts, how)
    assert encoded(joined, "its name") == data
    back = decoded(kind, data, "its name")
    assert back is not None
    for one in fields(kind):
        expected, found = getattr(whole, one.name), getattr(back, one.name)
        assert type(found) is type(expected)
        assert np.array_equal(found, expected) if isinstance(expected, np.ndarray) else found == expected
    assert encoded(back, "its name") == data
    assert decoded(kind, data, "another name") is None


@given(st.sampled_from(READINGS), FILES, st.integers(0, 10_000), st.integers(0, 7))
def test_no_changed_bit_is_read(how: Reading, files: list[list[bytes]], at: int, bit: int) -> None:
    changed = bytearray(encoded(an_hour(CaptureHour, pieces(files, [100]), how, len(files), True), "its name"))
    changed[at % len(changed)] ^= 1 << bit
    assert decoded(CaptureHour, bytes(changed), "its name") is None


@given(st.sampled_from(READINGS), FILES)
def test_places_are_those_of_the_lines(how: Reading, files: list[list[bytes]]) -> None:
    cut = pieces(files, [300])
    hour = an_hour(CaptureHour, cut, how, len(files), True)
    of_object, line = hour.places(np.arange(len(hour)))
    for number, at, high in zip(of_object.tolist(), line.tolist(), hour.high.tolist(), strict=True):
        told = msgspec.json.decode(b"\n".join(files[number]).split(b"\n")[at - 1])
        assert int(hash_ids([told["eventMetadata"]["eventId"]])[0, 0]) == high


# --- which label belongs to which capture -------------------------------------------------------------------------------

# ids of equal first halves, of equal leading bits, of equal second halves
IDS = st.tuples(st.sampled_from([0, 1, 2, 1 << 63, (1 << 63) + 1, (1 << 64) - 1]), st.sampled_from([0, 1, 7, 1 << 63]))


@given(st.lists(IDS, max_size=40), st.lists(IDS, max_size=40), st.integers(1, 4), st.integers(1, 9))
def test_labels_are_found_as_a_dictionary_finds_them(
    labels: list[tuple[int, int]], captures: list[tuple[int, int]], parts: int, block: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(matching, "_BLOCK", block)
        cut = in_hours(captures, parts)
        found = matching.join(in_hours(labels, parts), cut).matches(cut)
    assert_found(found, labels, captures)


def assert_found(found: matching.Matches, labels: list[tuple[int, int]], captures: list[tuple[int, int]]) -> None:
    # what numbers the entries is no part of an id
    labels, captures = ([(high >> 32, low) for high, low in side] for side in (labels, captures))
    last = {id: number for number, id in enumerate(labels)}
    first = {id: number for number, id in reversed(list(enumerate(labels)))}
    assert found.last.tolist() == [last.get(id, -1) for id in captures]
    assert found.first.tolist() == [first.get(id, -1) for id in captures]
    assert found.duplicate_labels == len(labels) - len(set(labels))
    assert found.duplicate_captures == len(captures) - len(set(captures))
    assert found.labels_without_capture == len(set(labels) - set(captures))


@given(st.lists(IDS, max_size=40))
def test_ids_are_put_in_order_by_all_their_bits_and_then_as_they_came(ids: list[tuple[int, int]]) -> None:
    order, high, repeated = hash_order(np.array(ids, np.uint64).reshape(-1, 2))
    expected = sorted(range(len(ids)), key=ids.__getitem__)
    assert order.tolist() == expected
    assert high.tolist() == [ids[at][0] for at in expected]
    in_order = [ids[at] for at in expected]
    assert repeated.tolist() == [at > 0 and in_order[at] == in_order[at - 1] for at in range(len(ids))]


def in_hours(ids: list[tuple[int, int]], parts: int) -> list[matching.Ids]:
    both = np.array(ids, np.uint64).reshape(-1, 2)
    cut = np.array_split(both, parts)
    return [matching.Ids(str(number), part[:, 0], part[:, 1]) for number, part in enumerate(cut)]


HOURS = st.lists(st.tuples(st.lists(IDS, max_size=6), st.lists(IDS, max_size=6)), min_size=1, max_size=8)
CUTS = st.sets(st.integers(0, 5))
# from which hour to which; after how many more the labels end; what is outside of the first and of the last hour, and of another
WINDOWS = st.lists(
    st.tuples(st.integers(0, 7), st.integers(1, 5), st.integers(0, 3), CUTS, CUTS, st.integers(0, 40), CUTS),
    min_size=2,
    max_size=5,
)


@given(HOURS, WINDOWS, st.booleans())
def test_a_join_finds_the_same_whatever_was_joined_before(
    hours: list[tuple[list[tuple[int, int]], list[tuple[int, int]]]],
    windows: list[tuple[int, int, int, set[int], set[int], int, set[int]]],
    forwards: bool,
) -> None:
    of_labels, of_captures = ([in_hours(side[at], 1)[0] for side in hours] for at in (0, 1))
    former = None
    for first, length, more, *outside, other, of_other in sorted(windows) if forwards else windows:
        end = first + length
        labels = [replace(ids, name=f"{at}") for at, ids in enumerate(of_labels)][first : end + more]
        cut = dict(zip((first, end - 1, other), (*outside, of_other), strict=True))
        captures, inside = [], []
        for at, ids in list(enumerate(of_captures))[first:end]:
            within = [place for place in range(len(ids.high)) if place not in cut.get(at, ())]
            whole = len(within) == len(ids.high)
            captures.append(replace(ids, name=f"{at}", inside=None if whole else np.array(within, np.int64)))
            inside += [hours[at][1][place] for place in within]
        former = matching.join(labels, captures, former)
        assert_found(former.matches(captures), [id for side in hours[first : end + more] for id in side[0]], inside)


def test_hours_that_stay_are_not_put_in_order_again(monkeypatch: pytest.MonkeyPatch) -> None:
    labels, captures = in_hours([(number << 40, 0) for number in range(40)], 8), in_hours([(1 << 40, 0)] * 40, 8)
    former = matching.join(labels[:6], captures[:6])
    expected = matching.join(labels[1:8], captures[1:8]).matches(captures[1:8])
    monkeypatch.delattr(matching, "_anew")
    found = matching.join(labels[1:8], captures[1:8], former).matches(captures[1:8])
    assert found.last.tolist() == expected.last.tolist()
    assert found.labels_without_capture == expected.labels_without_capture
