"""The segments of ``report.html``: the worst of them, each beside the whole."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

from airflow_mq_provider.publish.page import (
    UNJUDGED,
    VIOLATED,
    WITHIN,
    WITHIN_NOISE,
    heads,
    plus_minus,
    section,
    table,
)
from airflow_mq_provider.publish.text import Html, code, count, joined, name, number, shown
from airflow_mq_provider.quality.constraints import COMPLETED, NOT_JUDGED, WITH_VIOLATIONS
from airflow_mq_provider.quality.metrics import HEADLINES
from airflow_mq_provider.quality.report import RunResult
from airflow_mq_provider.quality.segments import LISTED, RAREST, Segment
from airflow_mq_provider.quality.states import Metric

SHOWN: Final = 20
"""How many segments a page shows; ``report.json`` has more."""
_NAME_LENGTH: Final = 60
_NAMED: Final = 2

_RESULTS: Final = {
    COMPLETED: WITHIN,
    WITH_VIOLATIONS: VIOLATED,
    NOT_JUDGED: UNJUDGED,
}


def segments_section(run: RunResult) -> Html | None:
    """The table of segments, worst first, and beneath them what they are compared with."""
    found, statistics = run.segments, run.statistics
    if found is None or statistics is None or statistics.item_count is None:
        return None
    metrics = [metric for metric in HEADLINES[run.problem_type] if metric in statistics.metrics]
    rows = [_row(shown(one.name, _NAME_LENGTH), one, metrics) for one in found.listed[:SHOWN]]
    if found.others is not None:
        rows.append(_row("all other segments", found.others, metrics))
    if found.without is not None:
        rows.append(_row("without a segment", found.without, metrics))
    rows.append(_row("all records", Segment("", statistics.item_count, statistics.metrics), metrics))
    different = f"more than {RAREST:,} segments" if found.segments is None else count(found.segments, "segment")
    told = [Html("By {}: {}, worst {} first.").format(_by(run), different, name(found.metric))]
    if len(found.listed) > SHOWN:
        told.append(Html("The worst {} are shown, {} are in report.json.").format(SHOWN, len(found.listed)))
    if found.others is not None:
        told.append(Html("Judged by themselves are the {} largest.").format(LISTED))
    if found.without is not None and not found.listed:
        told.append(Html("No record has a value there: see whether the attribute names its place."))
    bounds = [one.auc_error_bound for one in (*found.listed[:SHOWN], found.others, found.without) if one is not None]
    if binned := [bound for bound in bounds if bound is not None]:
        told.append(Html("AUC is of binned scores: off by {:.1e} at most.").format(max(binned)))
    head = heads(("Segment", ""), ("Records", "n"), *((metric, "n") for metric in metrics), ("Result", ""))
    return section(
        "segments",
        "Segments",
        Html('<p class="quiet">{}</p>').format(joined(told, " ")),
        table("Segments with their metrics and results", head, rows, "stack"),
    )


def _by(run: RunResult) -> Html:
    asked = run.monitor.segments
    if asked is not None and asked.input_attribute is not None:
        return Html("{} of the input").format(code(asked.input_attribute))
    return Html("{} of the label").format(code(asked.ground_truth_attribute if asked else ""))


def _row(title: Html | str, one: Segment, metrics: list[str]) -> Html:
    cells = [Html('<td class="n" data-name="records">{}</td>').format(f"{one.records:,}")]
    cells += [
        Html('<td class="n" data-name="{}">{}</td>').format(metric, _value(one.metrics, metric)) for metric in metrics
    ]
    cells.append(Html('<td class="result">{}</td>').format(_result(one)))
    return Html('<tr><th scope="row">{}</th>{}</tr>').format(title, joined(cells))


def _value(metrics: Mapping[str, Metric], metric: str) -> Html:
    found = metrics.get(metric, Metric(math.nan))
    return Html("{}{}").format(number(found.value), plus_minus(found))


def _result(one: Segment) -> Html:
    if one.verdict is None:
        return Html('<span class="quiet">–</span>')
    told = WITHIN_NOISE if one.verdict.code == "within_noise" else _RESULTS[one.verdict.status]
    if one.judgement is None or not one.judgement.violations:
        return told
    violated = [violation.metric_name for violation in one.judgement.violations]
    names = ", ".join(violated[:_NAMED]) + (f" and {len(violated) - _NAMED} more" if len(violated) > _NAMED else "")
    return Html('{} <span class="quiet">{}</span>').format(told, names)
