"""The pages: values of `plugin.history` as markup, in the look of ``report.html`` and by its rules.

All that comes from data goes through `publish.text`; links are relative to the folder in which all pages lie, so that they hold
under whatever path Airflow is served.
"""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from importlib.resources import files
from typing import Final
from urllib.parse import quote, urlencode

from airflow_mq_provider.plugin.history import RECENT, Judged, Missing, Monitor, Revision, Verdict
from airflow_mq_provider.publish import charts
from airflow_mq_provider.publish.page import (
    SMALL_CROSS,
    UNJUDGED,
    WITHIN,
    WITHIN_NOISE,
    figure,
    heads,
    result,
    section,
    table,
    terms,
)
from airflow_mq_provider.publish.text import (
    Html,
    apart,
    count,
    duration,
    joined,
    moment,
    name,
    number,
    percent,
    sd_beyond,
    shown,
)
from airflow_mq_provider.quality.ages import proposed_offsets
from airflow_mq_provider.quality.constraints import COMPLETED, GREATER, NOT_JUDGED, WITH_VIOLATIONS, Violation
from airflow_mq_provider.quality.metrics import metrics_of
from airflow_mq_provider.quality.revisions import CAPTURES_CHANGED, CONSTRAINTS_CHANGED, LABELS_CAME_LATE
from airflow_mq_provider.quality.states import BINARY, MULTICLASS, REGRESSION, Metric
from airflow_mq_provider.window import format_time

RANGES: Final = (30, 200, 1000)
"""How many of a monitor's latest runs its page shows, to choose from."""
PROPOSED: Final = (0.95, 0.99)
"""Shares of the labels for which offsets are proposed."""
BESIDE: Final = 8
"""How many other monitors of a run stand beside the one whose report is shown; more are folded away."""
ROWS: Final = 100
"""How many windows its table names."""

_PROBLEMS: Final = {BINARY: "Binary classification", MULTICLASS: "Multiclass classification", REGRESSION: "Regression"}
_NONE: Final = Html('<span class="quiet">–</span>')
_WORDS: Final = {
    COMPLETED: WITHIN,
    WITH_VIOLATIONS: result("bad", SMALL_CROSS, "worse"),
    NOT_JUDGED: UNJUDGED,
}
_WHY: Final = {
    LABELS_CAME_LATE: "labels came late",
    CAPTURES_CHANGED: "captures changed",
    CONSTRAINTS_CHANGED: "other constraints",
}
_ORDER: Final = {WITH_VIOLATIONS: 0, NOT_JUDGED: 1, COMPLETED: 3}


# --- frame ------------------------------------------------------------------------------------------------------------


@cache
def _parts() -> tuple[Html, Html]:
    """Style and script, our own files."""
    package = files("airflow_mq_provider")
    style = (package / "publish/report.css").read_text("utf-8") + (package / "plugin/page.css").read_text("utf-8")
    return Html(style), Html((package / "plugin/page.js").read_text("utf-8"))  # noqa: S704 - our own files


@cache
def policy() -> str:
    """The pages' content security policy: this style, this script, reports in a frame, and nothing else."""
    style, script = (base64.b64encode(hashlib.sha256(one.encode()).digest()).decode() for one in _parts())
    return (
        f"default-src 'none'; style-src 'sha256-{style}'; script-src 'sha256-{script}'; img-src data:; frame-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
    )


def _document(title: str, body: Html, kind: str = "") -> str:
    style, script = _parts()
    return Html(
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n<link rel="icon" href="data:,">\n'
        "<title>{}</title>\n<style>{}</style>\n<script>{}</script>\n</head>\n"
        '<body class="{}">\n{}\n{}\n</body>\n</html>\n'
    ).format(title, style, script, kind, charts.SYMBOLS, body)


def message(title: str, *told: Html | str) -> str:
    """A page that says why there is nothing to show."""
    return _document(
        title,
        Html('<header><p class="crumb"><a href="./">Model quality</a></p><h1>{}</h1>{}</header>').format(
            title, joined(Html("<p>{}</p>").format(one) for one in told)
        ),
    )


# --- all monitors -----------------------------------------------------------------------------------------------------


def overview(monitors: Sequence[Monitor]) -> str:
    """All monitors on a page, those that need somebody first."""
    if not monitors:
        return message(
            "Model quality",
            "No monitor has a run that you may see.",
            "A monitor appears here once its DAG has been taken up, and its history with each run of analyze_quality.",
        )
    rows = [_row(one) for one in sorted(monitors, key=_urgency)]
    head = heads(
        ("Monitor", ""), ("Last window", ""), ("Its verdict", ""), ("Metrics, run by run", ""), ("Label coverage", ""),
        ("Runs without a verdict", ""),
    )  # fmt: skip
    body = Html(
        '<header>\n<p class="quiet">{}</p>\n<h1 class="hidden">Model quality</h1>\n<p class="lead big">{}</p>\n</header>\n<main>\n{}\n{}\n</main>'
    ).format(
        f"Model quality · {count(len(monitors), 'monitor')}",
        _summary(monitors),
        table("Monitors", head, rows, "monitors"),
        Html(
            '<p class="legend"><span>{}last value, within its limit</span><span>{}beyond it</span>'
            '<span><svg class="key line spark" viewBox="0 0 24 12" aria-hidden="true"><path class="limit" d="M0 6H24"/></svg>limit</span>'
            "<span>Lines have the latest {} runs; each has its own scale.</span></p>"
        ).format(_key("inside", "disc"), _key("beyond", "cross"), RECENT),
    )
    return _document("Model quality", body)


def _key(kind: str, shape: str) -> Html:
    return Html('<svg class="key" viewBox="-6 -6 12 12" aria-hidden="true"><use class="{}" href="#{}"/></svg>').format(
        kind, shape
    )


def _urgency(monitor: Monitor) -> tuple[int, str]:
    status = _ORDER.get(monitor.last.now.status, 1) if monitor.last else 2
    return (min(status, 2) if monitor.missing.any else status, monitor.name)


def _summary(monitors: Sequence[Monitor]) -> Html:
    of_status = {
        status: sum(one.last is not None and one.last.now.status == status for one in monitors) for status in _WORDS
    }
    told = [
        Html('<span class="{}">{}</span> {}').format(kind, f"{of_status[status]:,}", words)
        for status, kind, words in (
            (WITH_VIOLATIONS, "bad", "worse than constraints"),
            (NOT_JUDGED, "unsure", "not judged"),
            (COMPLETED, "good", "within constraints"),
        )
        if of_status[status]
    ]
    owing = sum(one.missing.any for one in monitors)
    if owing:
        told.append(Html('<span class="unsure">{}</span> with runs missing').format(f"{owing:,}"))
    return joined(told, ", ") if told else Html("No window has been judged yet")


def _row(monitor: Monitor) -> Html:
    last = monitor.last
    link = Html('<a href="{}">{}</a>').format(_address(monitor.name), shown(monitor.name))
    if last is None:
        cells = [_NONE, Html('<span class="quiet">no run yet</span>'), _NONE, _NONE]
        kind = Html()
    else:
        now = last.now
        kind = Html("<small>{}</small>").format(_PROBLEMS[now.problem_type])
        cells = [
            Html("{}<small>to {}</small>").format(_time(now.start), _time(now.end)),
            Html('<span class="result">{}</span>{}').format(_word(now), _beyond(now)),
            _lines(monitor),
            Html("{}{}<small>{}</small>").format(
                percent(now.coverage),
                charts.meter(now.coverage) if now.coverage is not None else "",
                "records not counted" if now.records is None else count(now.records, "record"),
            ),
        ]
    body = [*cells, _owed(monitor.missing)]
    classes = ["", "", "", "coverage", ""]
    return Html('<tr><th scope="row">{}{}</th>{}</tr>').format(
        link,
        kind,
        joined(Html('<td class="{}">{}</td>').format(one, cell) for one, cell in zip(classes, body, strict=True)),
    )


def _word(now: Verdict | Revision) -> Html:
    """The status, as a sign and in words."""
    if now.status == COMPLETED and now.violations:
        return WITHIN_NOISE
    return _WORDS.get(now.status, Html("{}").format(now.status))


def _far(now: Verdict, metric: str) -> str:
    """How far a violated metric is beyond its limit, after a comma."""
    value = Metric(now.metrics.get(metric, math.nan), now.deviations.get(metric, math.nan))
    limit = now.constraints[metric]
    far = sd_beyond(Violation(metric, value, limit).sd_beyond, limit.comparison_operator, metric in now.noise)
    return f", {far}" if far else ""


def _beyond(now: Verdict) -> Html:
    if now.violations:
        judged = sum(name in now.metrics and not math.isnan(now.metrics[name]) for name in now.constraints)
        return Html("<small>{} of {}</small>").format(len(now.violations), count(judged, "metric"))
    return Html("<small>{}</small>").format(shown(now.reason, 80)) if now.status == NOT_JUDGED else Html()


def _owed(missing: Missing) -> Html:
    told = [
        Html('<span class="{}">{} {}</span>').format(kind, f"{runs:,}", word)
        for runs, kind, word in (
            (missing.failed, "bad", "failed"),
            (missing.unfinished, "unsure", "not finished"),
            (missing.not_started, "unsure", "overdue"),
        )
        if runs
    ]
    if missing.paused:
        told.append(Html('<span class="quiet">paused</span>'))
    return joined(told, Html("<br>")) if told else _NONE


def _lines(monitor: Monitor) -> Html:
    pieces = []
    for metric in monitor.headlines:
        values = [one.now.metrics.get(metric, math.nan) for one in monitor.windows[-RECENT:]]
        now = monitor.windows[-1].now
        constraint, beyond = now.constraints.get(metric), metric in now.violations
        limit = constraint.threshold if constraint else None
        pieces.append(
            Html('<div class="{}"><p>{}<b>{}</b></p>{}</div>').format(
                "bad" if beyond else "", name(metric), number(values[-1]), charts.spark(values, limit, beyond)
            )
        )
    return Html('<div class="lines">{}</div>').format(joined(pieces))


# --- one monitor ------------------------------------------------------------------------------------------------------


def metrics_shown(monitor: Monitor) -> list[str]:
    """The metrics that a monitor's page draws: headlines first, then in SageMaker's order."""
    if monitor.last is None:
        return []
    seen = {metric for one in (*monitor.windows, *monitor.explicit) for metric in one.now.metrics}
    known = [metric for metric in metrics_of(monitor.last.now.problem_type) if metric in seen]
    return monitor.headlines + [metric for metric in known if metric not in monitor.headlines]


def monitor_page(monitor: Monitor, metric: str, runs: int) -> str:
    """A monitor over time: the chosen metric large, the others small, and every window."""
    head = Html('<p class="crumb"><a href="./">Model quality</a></p>\n<h1>{}</h1>').format(shown(monitor.name))
    if monitor.last is None:
        told = Html("<header>{}<p>No run yet. Runs without a verdict: {}</p></header>").format(
            head, _owed(monitor.missing)
        )
        return _document(f"{monitor.name}: model quality", told)
    now = monitor.last.now
    sections = [
        _over_time(monitor, metric, runs),
        _others(monitor, metric, runs),
        _arrival(monitor),
        _windows(monitor, metric),
    ]
    body = Html("<header>\n{}\n{}\n{}\n</header>\n<main>\n{}\n</main>").format(
        head, _lead(now), _facts(monitor, now), joined(sections, "\n")
    )
    return _document(f"{monitor.name}: model quality", body)


def _lead(now: Verdict) -> Html:
    if now.violations:
        told = []
        for metric in metrics_of(now.problem_type):
            if metric in now.violations:
                limit = now.constraints[metric]
                value, bound = apart(now.metrics.get(metric, math.nan), limit.threshold)
                word = "at most" if limit.comparison_operator == GREATER else "at least"
                told.append(
                    Html("<strong>{}</strong> {}, limit {} {}{}").format(metric, value, word, bound, _far(now, metric))
                )
        more = Html("; and {} more").format(len(told) - 3) if len(told) > 3 else Html()
        kind, lead = (
            ("good", "Within noise of its constraints")
            if now.status == COMPLETED
            else ("bad", "Worse than its constraints")
        )
        return Html('<p class="lead big"><span class="{}">{}</span></p><p>{}{}</p>').format(
            kind, lead, joined(told[:3], "; "), more
        )
    if now.status == NOT_JUDGED:
        return Html('<p class="lead big"><span class="unsure">Not judged</span></p><p>{}</p>').format(shown(now.reason))
    return Html('<p class="lead big"><span class="good">Within its constraints</span></p>')


def _facts(monitor: Monitor, now: Verdict) -> Html:
    facts = [
        ("Last window", Html("{} to {}").format(_time(now.start), _time(now.end))),
        ("Label coverage", Html("{}, labels as of {}").format(percent(now.coverage), moment(now.as_of))),
        ("Records judged", _judged_of(now)),
        ("Runs without a verdict", _owed(monitor.missing)),
        ("See", Html("{} · {}").format(_report(now, "report"), _run(now, "run in Airflow"))),
    ]
    return Html('<dl class="pairs">{}</dl>').format(terms(facts))


def _judged_of(now: Verdict) -> Html | str:
    if now.records is None:
        return _NONE
    return f"{now.records:,}" if now.captures is None else f"{now.records:,} of {count(now.captures, 'capture')}"


def _over_time(monitor: Monitor, metric: str, runs: int) -> Html:
    choices = [
        Html("<strong>{}</strong>").format(one)
        if one == metric
        else Html('<a href="{}">{}</a>').format(_address(monitor.name, one, runs), one)
        for one in metrics_shown(monitor)
    ]
    ranges = [
        Html("<strong>{}</strong>").format(f"{one:,}")
        if one == runs
        else Html('<a href="{}">{}</a>').format(_address(monitor.name, metric, one), f"{one:,}")
        for one in RANGES
    ]
    picture = _history(monitor.windows, metric)
    return section(
        "over-time",
        f"{metric} over time",
        Html('<nav class="choose" aria-label="Metric"><span>Metric</span>{}</nav>').format(joined(choices)),
        Html('<nav class="choose" aria-label="Range"><span>Latest runs</span>{}</nav>').format(joined(ranges)),
        Html('<div class="history">{}</div>').format(picture)
        if picture
        else Html('<p class="quiet">No window of the schedule has a value of this metric.</p>'),
    )


def _history(windows: Sequence[Judged], metric: str) -> Html | None:
    """A metric by scheduled time, with its limit, its deviation, what was beyond and what was revised."""
    points = [(one, one.now.metrics.get(metric, math.nan)) for one in windows]
    seen = [value for _, value in points if math.isfinite(value)]
    if not seen:
        return None
    times = [one.now.scheduled.timestamp() for one, _ in points]
    spread = [
        (at, value - one.now.deviations[metric], value + one.now.deviations[metric])
        for at, (one, value) in zip(times, points, strict=True)
        if math.isfinite(value) and math.isfinite(one.now.deviations.get(metric, math.nan))
    ]
    limits = [
        (at, one.now.constraints[metric].threshold if metric in one.now.constraints else math.nan)
        for at, (one, _) in zip(times, points, strict=True)
    ]
    former = [
        (at, before.metrics[metric], before)
        for at, (one, _) in zip(times, points, strict=True)
        for before in one.before
        if math.isfinite(before.metrics.get(metric, math.nan))
    ]
    edges = (
        seen
        + [edge for _, low, high in spread for edge in (low, high)]
        + [limit for _, limit in limits if math.isfinite(limit)]
        + [value for _, value, _ in former]
    )
    low, high = min(edges), max(edges)
    pad = (high - low) * 0.06 or abs(high) * 0.1 or 1.0
    first, last = min(times), max(times)
    margin = (last - first) * 0.015 or 1800.0
    frame = charts.Frame(
        (first - margin, last + margin), (low - pad, high + pad), height=320, width=1080, left=64, right=16, top=12
    )
    parts = [
        charts.axes(frame, _time_ticks(first, last), charts.ticks(*frame.y), ("scheduled time, UTC", metric)),
        charts.band(frame, "deviation", spread) if len(spread) > 1 else Html(),
    ]
    for piece in charts.unbroken(limits):
        # a single window still has its limit to be seen
        ends = piece if len(piece) > 1 else [(piece[0][0] - margin, piece[0][1]), (piece[0][0] + margin, piece[0][1])]
        parts.append(charts.line(frame, "limit", ends))
    values = [(at, value) for at, (_, value) in zip(times, points, strict=True)]
    parts += [charts.line(frame, "curve", piece) for piece in charts.unbroken(values) if len(piece) > 1]
    parts += [
        charts.dot(frame, "revised", at, value, f"before: {number(value)}, labels as of {before.as_of}", 4)
        for at, value, before in former
    ]
    dots = len(points) <= 200
    for at, (one, value) in zip(times, points, strict=True):
        beyond = metric in one.now.violations
        if math.isfinite(value) and (dots or beyond or one.before):
            parts.append(_point(frame, at, value, one, metric))
    legend = Html(
        '<p class="legend"><span>{}within its limit</span><span>{}beyond it</span>'
        '<span><svg class="key" viewBox="-6 -6 12 12" aria-hidden="true"><circle class="unjudged" r="4"/></svg>not judged</span>'
        '<span><svg class="key" viewBox="-6 -6 12 12" aria-hidden="true"><circle class="revised" r="4"/></svg>before it was run again</span>'
        '<span><svg class="key line" viewBox="0 0 24 12" aria-hidden="true"><path class="limit" d="M0 6H24"/></svg>limit</span>'
        '<span><svg class="key line" viewBox="0 0 24 12" aria-hidden="true"><path class="deviation" d="M0 1H24V11H0z"/></svg>± standard deviation</span></p>'
    ).format(_key("inside", "disc"), _key("beyond", "cross"))
    told = (
        f"{count(len(seen), 'window')} with a value, from {number(min(seen))} to {number(max(seen))}; the last is "
        f"{number(seen[-1])}. Each point leads to its report."
    )
    return figure("history", f"{metric}, window by window", charts.drawing(frame, "history", *parts), told, legend)


def _point(frame: charts.Frame, at: float, value: float, one: Judged, metric: str) -> Html:
    now = one.now
    limit = now.constraints.get(metric)
    told = f"{format_time(now.scheduled)}: {number(value)}" + (f", limit {number(limit.threshold)}" if limit else "")
    if metric in now.violations:
        mark = charts.symbol(frame, "beyond", at, value, "cross", f"{told}, beyond{_far(now, metric)}")
    elif now.status == NOT_JUDGED:
        mark = charts.dot(frame, "unjudged", at, value, f"{told}, not judged", 4)
    else:
        mark = charts.symbol(frame, "inside", at, value, "disc", told)
    return Html('<a href="{}" aria-label="{}">{}</a>').format(_report_address(now), told, mark)


def _time_ticks(first: float, last: float) -> list[tuple[float, str]]:
    """About eight moments between two, on whole hours or days, with their texts."""
    hour, day = 3600, 86400
    steps = (hour, 3 * hour, 6 * hour, 12 * hour, day, 2 * day, 7 * day, 14 * day, 30 * day, 91 * day, 365 * day)
    step = next((one for one in steps if (last - first) / one <= 8), max(365 * day, math.ceil((last - first) / 8)))
    ticks = []
    for index in range(math.ceil(first / step), math.floor(last / step) + 1):
        moment_of = datetime.fromtimestamp(index * step, tz=UTC)
        ticks.append((float(index * step), f"{moment_of:%m-%d %H:%M}" if step < day else f"{moment_of:%Y-%m-%d}"))
    return ticks or [(first, f"{datetime.fromtimestamp(first, tz=UTC):%Y-%m-%d %H:%M}")]


def _others(monitor: Monitor, metric: str, runs: int) -> Html:
    figures = []
    now = monitor.windows[-1].now if monitor.windows else None
    for one in metrics_shown(monitor):
        if one == metric or now is None:
            continue
        values = [judged.now.metrics.get(one, math.nan) for judged in monitor.windows]
        constraint, beyond = now.constraints.get(one), one in now.violations
        figures.append(
            Html('<div><h3><a href="{}">{}</a><span class="{}">{}</span></h3>{}</div>').format(
                _address(monitor.name, one, runs), name(one), "bad" if beyond else "", number(values[-1]),
                charts.spark(values, constraint.threshold if constraint else None, beyond),
            )
        )  # fmt: skip
    coverage = [math.nan if one.now.coverage is None else one.now.coverage for one in monitor.windows]
    if coverage:
        last = monitor.windows[-1].now.coverage
        figures.append(
            Html("<div><h3>label coverage<span>{}</span></h3>{}</div>").format(
                percent(last), charts.spark(coverage, None, beyond=False)
            )
        )
    return section("others", "Everything else", Html('<div class="charts several">{}</div>').format(joined(figures)))


def _arrival(monitor: Monitor) -> Html:
    """How coverage grows with the age of labels, and the offsets that would have seen most of them."""
    found = monitor.arrival
    if found is None or monitor.last is None:
        return Html()
    points = [(0.0, 0.0), *((age / 24, coverage) for age, coverage in found.curve)]
    shares = [(share, found.age_of(share)) for share in PROPOSED]
    end = points[-1][0]
    frame = charts.Frame((0, end), (0, 1), height=260, width=720, left=64, right=16, top=12)
    parts = [
        charts.axes(
            frame,
            charts.ticks(0, end),
            [(share, f"{share:.0%}") for share in (0, 0.25, 0.5, 0.75, 1)],
            ("age of the label, days", "captures with a label"),
        ),
        charts.line(frame, "curve", points),
    ]
    parts += [
        charts.dot(
            frame, "inside", age / 24, dict(found.curve)[age], f"{percent(share)} of the labels within {_age(age)}"
        )
        for share, age in shares
    ]
    window = monitor.last.now
    rows = [
        Html('<tr><th scope="row">{}</th><td>{}</td><td><code>{}</code></td><td><code>{}</code></td></tr>').format(
            percent(share), _age(age), *proposed_offsets(age, window.end - window.start)
        )
        for share, age in shares
    ]
    head = heads(("Labels seen", ""), ("Have come within", ""), ("start_time_offset", ""), ("end_time_offset", ""))
    told = (
        f"{percent(found.coverage)} of the captures have a label after {_age(found.curve[-1][0])}, the latest age that these "
        f"{count(found.captures, 'capture')} tell of. Windows of {duration(window.end - window.start)} with the offsets below "
        "would have seen so many of those labels, of their youngest captures too."
    )
    drawn = charts.drawing(frame, "arrival", *parts)
    return section(
        "label-age",
        "How late labels come",
        Html('<div class="history narrow">{}</div>').format(
            figure("arrival", "Coverage by the age of labels", drawn, told)
        ),
        table("Offsets that would have seen most labels", head, rows, "offsets"),
    )


def _age(hours: int) -> str:
    return duration(timedelta(hours=hours))


def _windows(monitor: Monitor, metric: str) -> Html:
    newest = sorted(
        (*monitor.windows, *monitor.explicit), key=lambda one: (one.now.scheduled, one.now.start), reverse=True
    )
    rows = [_window_row(one, metric) for one in newest[:ROWS]]
    head = heads(
        ("Scheduled time", ""), ("Window", ""), ("Verdict", ""), (metric, "n"), ("Limit", "n"), ("Coverage", "n"),
        ("Records", "n"), ("Before it was run again", ""), ("See", ""),
    )  # fmt: skip
    more = Html()
    if len(newest) > ROWS:
        more = Html('<p class="quiet">The newest {} of {}.</p>').format(ROWS, count(len(newest), "window"))
    return section("windows", "Windows", more, table("Windows, newest first", head, rows, "runs"))


def _window_row(one: Judged, metric: str) -> Html:
    now = one.now
    value, deviation = now.metrics.get(metric, math.nan), now.deviations.get(metric, math.nan)
    limit = now.constraints.get(metric)
    text, bound = (
        (number(value), _NONE)
        if limit is None
        else (
            apart(value, limit.threshold)[0],
            Html("{}&nbsp;{}").format(
                "≤" if limit.comparison_operator == GREATER else "≥", apart(value, limit.threshold)[1]
            ),
        )
    )
    spread = Html('<span class="sd"> ± {}</span>').format(number(deviation)) if math.isfinite(deviation) else ""
    tag = Html(' <span class="tag">given by params</span>') if now.explicit else Html()
    cells = [
        ("", Html("{}{}").format(_time(now.scheduled), tag)),
        ("", Html("{}<small>{}</small>").format(_time(now.start), duration(now.end - now.start))),
        ("result", _word(now)),
        ("n", Html("{}{}").format(text, spread)),
        ("n", bound),
        ("n", percent(now.coverage)),
        ("n", _NONE if now.records is None else f"{now.records:,}"),
        ("", _revisions(one, metric)),
        ("short", Html("{} · {}").format(_report(now, "report"), _run(now, "run"))),
    ]
    return Html("<tr{}>{}</tr>").format(
        Html(' class="violated"') if now.status == WITH_VIOLATIONS else "",
        joined(Html('<td class="{}">{}</td>').format(kind, cell) for kind, cell in cells),
    )


def _revisions(one: Judged, metric: str) -> Html:
    """What was said of a window before: by the events, and by the latest report where theirs is not among them."""
    revision = one.now.revision
    formers: list[Verdict | Revision] = list(one.before)
    if revision is not None and revision.as_of not in {before.as_of for before in one.before}:
        formers.append(revision)
    if not formers:
        return _NONE
    told = [
        Html('<span class="result">{}</span> {}, {} labelled<small>labels as of {}</small>').format(
            _word(before),
            number(before.metrics[metric]) if metric in before.metrics else "",
            percent(before.coverage),
            moment(before.as_of),
        )
        for before in formers
    ]
    if revision is not None:
        why = ", ".join(_WHY.get(code, code) for code in revision.why)
        told.append(Html("<small>revision {}: {}</small>").format(revision.number, why))
    return joined(Html("<div>{}</div>").format(one) for one in told)


# --- one run ----------------------------------------------------------------------------------------------------------


def worst_first(verdicts: Mapping[str, Verdict]) -> list[str]:
    """The monitors that a run judged, those that need somebody first."""
    return sorted(verdicts, key=lambda monitor: (_ORDER.get(verdicts[monitor].status, 1), monitor))


def run_page(verdicts: Mapping[str, Verdict], chosen: str) -> str:
    """The tab of a DAG run: the report of a monitor, and the way to the others, the worst first, and to the history."""
    now = verdicts[chosen]
    others = [
        Html('<a href="run?{}"{}>{}</a>').format(
            urlencode({"dag_id": verdicts[monitor].dag_id, "run_id": verdicts[monitor].run_id, "monitor": monitor}),
            Html(' class="bad"') if verdicts[monitor].status == WITH_VIOLATIONS else "",
            shown(monitor),
        )
        for monitor in worst_first(verdicts)
        if monitor != chosen
    ]
    bar = Html(
        '<nav class="bar" aria-label="Report"><strong>{}</strong><span class="result">{}</span>'
        '<a href="{}">over time</a><a href="{}">report alone</a>{}</nav>'
    ).format(
        shown(chosen),
        _word(now),
        _address(chosen),
        _report_address(now),
        _also_judged(others),
    )
    frame = Html('<iframe title="Report of {}" src="{}"></iframe>').format(chosen, _report_address(now))
    return _document(f"{chosen}: report", Html("{}\n{}").format(bar, frame), "whole")


def _also_judged(others: Sequence[Html]) -> Html:
    """The way to the other monitors of a run; those of a fleet are too many to stand above its report."""
    if len(others) > BESIDE:
        return Html("<details><summary>also judged: {}</summary><p>{}</p></details>").format(
            count(len(others), "monitor"), joined(others, ", ")
        )
    return Html("<span>also judged: {}</span>").format(joined(others, ", ")) if others else Html("")


# --- pieces -----------------------------------------------------------------------------------------------------------


def _address(monitor: str, metric: str | None = None, runs: int | None = None) -> str:
    given = {"name": monitor, "metric": metric, "runs": runs}
    return "monitor?" + urlencode({key: value for key, value in given.items() if value is not None}, quote_via=quote)


def _report_address(now: Verdict) -> str:
    return f"report?event={now.event}"


def _report(now: Verdict, told: str) -> Html:
    return Html('<a href="{}">{}</a>').format(_report_address(now), told)


def _run(now: Verdict, told: str) -> Html:
    return Html('<a data-airflow href="../dags/{}/runs/{}">{}</a>').format(
        quote(now.dag_id, safe=""), quote(now.run_id, safe=""), told
    )


def _time(time: datetime) -> Html:
    return moment(format_time(time))
