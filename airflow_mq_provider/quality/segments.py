"""The parts of a model's rows, each judged by itself: which segments are listed, their states, and what is said of them.

(Rule A8.) A segment's state is of the same kind as the whole's, from the same rows: the states of all listed segments, of the others
and of the rows without a segment add up to the state of the whole. However many values a column has, no more than
`LISTED` segments are held: the largest.
"""

from __future__ import annotations

import heapq
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from airflow_mq_provider.quality import binary
from airflow_mq_provider.quality.constraints import (
    NOT_JUDGED,
    Constraint,
    Judgement,
    Verdict,
    judge,
    verdict_of_rows,
)
from airflow_mq_provider.quality.metrics import HEADLINES, compute, metrics_of
from airflow_mq_provider.quality.states import BinaryState, MergedRows, Metric, State, add_states, state_of

LISTED: Final = 50
"""How many segments are judged by themselves: the largest. All others are told together."""
RAREST: Final = 100_000
"""Of a column with more different values than this, none that has fewer than one in so many rows is listed."""


@dataclass(slots=True)
class Sizes:
    """Rows by segment, as the parts of a merge come: exact up to `RAREST` different values, bounded beyond.

    Beyond, the smallest are taken off as they come (the summary of Misra and Gries): what has more than one in `RAREST` of
    the rows is there at the end, whatever the parts.
    """

    by_segment: Counter[str] = field(default_factory=Counter)
    bounded: bool = False

    def add(self, rows: MergedRows, rarest: int = RAREST) -> None:
        """Count the rows of a part."""
        if rows.segment is None:
            return
        self.by_segment.update(_sizes(rows))
        if len(self.by_segment) > rarest:
            self.bounded = True
            cut = heapq.nlargest(rarest + 1, self.by_segment.values())[-1]
            self.by_segment = Counter({name: size - cut for name, size in self.by_segment.items() if size > cut})


def _sizes(rows: MergedRows) -> dict[str, int]:
    """The rows of each segment that has any."""
    if rows.segment is None:
        return {}
    sizes = np.bincount(rows.segment + 1, rows.weight, minlength=len(rows.segments) + 1)[1:].astype(np.int64)
    return {name: size for name, size in zip(rows.segments, sizes.tolist(), strict=True) if size}


@dataclass(frozen=True, slots=True, eq=False)
class SegmentStates:
    """The state of the whole, part by part.

    Attributes:
        listed: by segment.
        others: of the rows of all other segments.
        without: of the rows that are in none.
        segments: how many different ones there are; None where there are more than `RAREST`.
    """

    listed: Mapping[str, State]
    others: State
    without: State
    segments: int | None


def segment_states(
    parts: Callable[[], Iterable[MergedRows]], problem_type: str, *, listed: int = LISTED, rarest: int = RAREST
) -> SegmentStates:
    """Count merged rows by segment; `parts` gives them anew each time: once to choose, once to count.

    Listed are the largest segments, of equal ones the first by their text. `listed` and `rarest` are there to be tested.
    """
    sizes, rows = Sizes(), 0
    for part in parts():
        sizes.add(part, rarest)
        rows += part.records
    found: Mapping[str, int] = sizes.by_segment
    if sizes.bounded:
        exact: Counter[str] = Counter()
        for part in parts():
            exact.update({name: size for name, size in _sizes(part).items() if name in sizes.by_segment})
        # only these are sure to be among the sizes, however the rows were cut into parts
        found = {name: size for name, size in exact.items() if size * (rarest + 1) > rows}
    largest = heapq.nsmallest(listed, found.items(), key=lambda one: (-one[1], one[0]))
    places = {name: place for place, (name, _) in enumerate(largest)}
    others, without = len(places), len(places) + 1
    states: list[list[State]] = [[] for _ in range(len(places) + 2)]
    for part in parts():
        if part.segment is None:
            states[without].append(state_of(part))
            continue
        place_of = np.array([*(places.get(name, others) for name in part.segments), without], np.int64)
        place = place_of[part.segment]  # -1 finds the last
        for one in np.flatnonzero(np.bincount(place)).tolist():
            states[one].append(state_of(part.take(place == one)))
    whole = [add_states(one, problem_type) for one in states]
    return SegmentStates(
        listed=dict(zip(places, whole, strict=False)),
        others=whole[others],
        without=whole[without],
        segments=None if sizes.bounded else len(sizes.by_segment),
    )


# --- what is said of them ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Segment:
    """A segment and its result.

    Attributes:
        name: what stands in the column; empty for the others, and for the rows without a segment.
        records: its rows.
        metrics: as of the whole.
        verdict: as of the whole; None where it is no segment.
        judgement: None where nothing was judged.
        auc_error_bound: as of the whole: None where AUC is exact.
    """

    name: str
    records: int
    metrics: Mapping[str, Metric]
    verdict: Verdict | None = None
    judgement: Judgement | None = None
    auc_error_bound: float | None = None


@dataclass(frozen=True, slots=True)
class Segments:
    """What a run says of its segments.

    Attributes:
        metric: by which the worst comes first.
        listed: the segments that are told by themselves, worst first.
        others: all other segments together; None where there are none.
        without: the rows in no segment; None where there are none.
        segments: how many different segments there are; None where there are more than `RAREST`.
    """

    metric: str
    listed: Sequence[Segment]
    others: Segment | None
    without: Segment | None
    segments: int | None


def judge_segments(
    states: SegmentStates,
    problem_type: str,
    outcome: Verdict,
    constraints: Mapping[str, Constraint] | None,
    *,
    min_records: int = 1,
    noise_sd: float | None = None,
) -> Segments:
    """Judge each listed segment as the whole is judged, by the same constraints, and order them, worst first.

    The worst has the worst value of the problem's first headline metric. Those without a value come after, then those of
    fewer than `min_records` rows, which are not judged. Where the run is not judged (`outcome`), no segment is.
    """
    metric = HEADLINES[problem_type][0]
    sign = 1 if metrics_of(problem_type)[metric].higher_is_better else -1
    found = []
    for name, state in states.listed.items():
        metrics, bound = _computed(state)
        judgement = judge(metrics, constraints, problem_type) if constraints is not None else None
        verdict = outcome
        if outcome.status != NOT_JUDGED:
            verdict = verdict_of_rows(state.records, judgement, min_records=min_records, noise_sd=noise_sd)
        judged = judgement if verdict.status != NOT_JUDGED else None
        found.append(Segment(name, state.records, metrics, verdict, judged, bound))

    def order(one: Segment) -> tuple[bool, bool, float, int, str]:
        value = one.metrics[metric].value
        unknown = math.isnan(value)
        return one.records < min_records, unknown, 0.0 if unknown else sign * value, -one.records, one.name

    return Segments(
        metric, sorted(found, key=order), _together(states.others), _together(states.without), states.segments
    )


def _together(state: State) -> Segment | None:
    if not state.records:
        return None
    metrics, bound = _computed(state)
    return Segment("", state.records, metrics, auc_error_bound=bound)


def _computed(state: State) -> tuple[Mapping[str, Metric], float | None]:
    """The metrics, and how far AUC may be off."""
    if not isinstance(state, BinaryState):
        return compute(state), None
    ranking = binary.rank(state)
    return binary.metrics(state, ranking), None if ranking is None else ranking.auc_error_bound
