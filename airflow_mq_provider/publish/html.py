"""``report.html``: a run on one page, for people. SageMaker's documents and ``report.json`` are for programs.

The page is one file: it asks for nothing, runs no script, and its own policy forbids both. It holds no clock and nothing of
other runs, so the same inputs give the same bytes (rule O2). All that comes from data goes through `publish.text`: markup is
made only of literals of this room, into which MarkupSafe escapes the rest.
"""

from __future__ import annotations

import base64
import hashlib
import math
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Final

from airflow_mq_provider.publish import charts
from airflow_mq_provider.publish.page import (
    SMALL_CROSS,
    UNJUDGED,
    VIOLATED,
    WITHIN,
    heads,
    plus_minus,
    result,
    section,
    table,
    terms,
)
from airflow_mq_provider.publish.pictures import quality_sections
from airflow_mq_provider.publish.segments import segments_section
from airflow_mq_provider.publish.text import (
    Html,
    apart,
    code,
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
from airflow_mq_provider.quality.constraints import COMPLETED, GREATER, NOT_JUDGED, Constraint, Violation, without_value
from airflow_mq_provider.quality.metrics import metrics_of
from airflow_mq_provider.quality.records import REASONS
from airflow_mq_provider.quality.report import RunResult
from airflow_mq_provider.quality.states import (
    BINARY,
    EXAMPLES,
    MULTICLASS,
    REGRESSION,
    SPREAD_RECORDS,
    MergeCounts,
    Metric,
    RejectedLine,
)
from airflow_mq_provider.window import format_time

_VIOLATIONS_TOLD: Final = 4
_CONSTANT: Final = "_best_constant_classifier"

_PROBLEMS: Final = {BINARY: "Binary classification", MULTICLASS: "Multiclass classification", REGRESSION: "Regression"}

_SOURCES: Final = {
    "params": "given with the run",
    "data_interval": "end of the data interval",
    "schedule": "from the schedule",
    "run_after": "from the time of the run",
    "command_line": "given on the command line",
}
_AS_OF: Final = {
    "schedule": "the scheduled time",
    "now": "when the run started",
    "time": "as given with the run",
    "sensor": "when the label sensor was satisfied",
    "merger": "the end of the last hour that SageMaker's merger reads",
}


def report_page(run: RunResult) -> bytes:
    """The page of a run, in UTF-8: at most a megabyte, whatever the data."""
    style = _style()
    policy = (
        f"default-src 'none'; style-src 'sha256-{_digest(style)}'; img-src data:; base-uri 'none'; form-action 'none'"
    )
    window = f"{format_time(run.window.start)} to {format_time(run.window.end)}"
    parts = [_metrics(run), segments_section(run), *quality_sections(run), _lines(run), _provenance(run)]
    document = Html(
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n<meta name="referrer" content="no-referrer">\n'
        # an empty icon: a browser asks for /favicon.ico otherwise
        '<link rel="icon" href="data:,">\n'
        "<title>{title}</title>\n<style>{style}</style>\n</head>\n"
        "<body>\n{symbols}\n{header}\n<main>\n{sections}\n</main>\n{footer}\n</body>\n</html>\n"
    ).format(
        policy=policy,
        title=f"{run.monitor.name}: {_title(run)}, {window}",
        style=style,
        symbols=charts.SYMBOLS,
        header=_header(run),
        sections=joined([part for part in parts if part], "\n"),
        footer=_footer(run),
    )
    return document.encode("utf-8", "backslashreplace")


@cache
def _style() -> Html:
    return Html(Path(__file__).with_name("report.css").read_text("utf-8"))  # noqa: S704 - our own file


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


# --- the first screen -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Status:
    title: str
    kind: str
    sign: str


_TICK, _CROSS, _DASH = "M10 18.5L15.5 24L26 12.5", "M12 12L24 24M12 24L24 12", "M11 18H25"
_STATUS: Final = {
    COMPLETED: _Status("within its constraints", "good", _TICK),
    "CompletedWithViolations": _Status("worse than its constraints", "bad", _CROSS),
    NOT_JUDGED: _Status("not judged", "unsure", _DASH),
}


def _title(run: RunResult) -> str:
    if run.verdict.code == "within_noise":
        return "within noise of its constraints"
    return _STATUS[run.verdict.status].title


def _header(run: RunResult) -> Html:
    status = _STATUS[run.verdict.status]
    return Html(
        '<header>\n<p class="quiet">Model quality · {}</p>\n<h1>{}</h1>\n<div class="verdict">\n'
        '<svg class="badge {}" viewBox="0 0 36 36" aria-hidden="true"><circle cx="18" cy="18" r="18"/><path d="{}"/></svg>\n'
        "{}\n</div>\n{}\n{}\n</header>"
    ).format(
        _PROBLEMS[run.problem_type],
        shown(run.monitor.name),
        status.kind,
        status.sign,
        _verdict(run),
        _facts(run),
        _when(run),
    )


def _verdict(run: RunResult) -> Html:
    if run.judgement is None:
        reason, _, detail = run.verdict.reason.partition(": ")
        told = Html("<p>{}.</p>\n").format(detail[:1].upper() + detail[1:]) if detail else Html()
        return Html(
            '<p class="lead"><strong class="unsure">Not judged:</strong> {}.</p>\n{}<p class="next">{}</p>'
        ).format(reason, told, run.verdict.next_step)
    violations = run.judgement.violations
    judged = len(violations) + len(run.judgement.within)
    if run.verdict.code == "within_noise":
        lead = Html(
            '<strong class="good">Within noise:</strong> {} of {} beyond {}, by no more than {:g} standard deviations'
        ).format(
            len(violations),
            count(judged, "metric"),
            "its constraint" if len(violations) == 1 else "their constraints",
            run.monitor.noise_sd,
        )
    elif violations:
        lead = Html('<strong class="bad">Worse than its constraints</strong> in {} of {}').format(
            len(violations), count(judged, "metric")
        )
    else:
        lead = Html('<strong class="good">Within its constraints</strong> in {} {}').format(
            "its only" if judged == 1 else f"all {judged:,}", "judged metric" if judged == 1 else "judged metrics"
        )
    items = []
    for violation in violations[:_VIOLATIONS_TOLD]:
        value, limit = apart(violation.metric.value, violation.constraint.threshold)
        items.append(
            Html("<li><strong>{}</strong> {}{}, limit {} {}{}</li>").format(
                violation.metric_name,
                value,
                plus_minus(violation.metric),
                _bound(violation.constraint),
                limit,
                _far(violation, run.monitor.noise_sd),
            )
        )
    if len(violations) > _VIOLATIONS_TOLD:
        items.append(Html("<li>and {} more, below</li>").format(len(violations) - _VIOLATIONS_TOLD))
    unjudged = [one.metric_name for one in run.judgement.not_judged]
    if unjudged:
        items.append(
            Html('<li class="unsure"><strong>Without a value and not judged:</strong> {}</li>').format(
                ", ".join(unjudged)
            )
        )
    return Html('<p class="lead">{}{}</p>{}').format(
        lead, ":" if violations else ".", Html("\n<ul>{}</ul>").format(joined(items)) if items else ""
    )


def _far(violation: Violation, noise_sd: float | None) -> str:
    """How far beyond, after a comma."""
    operator = violation.constraint.comparison_operator
    far = sd_beyond(violation.sd_beyond, operator, violation.within_noise(noise_sd))
    return f", {far}" if far else ""


def _bound(constraint: Constraint) -> str:
    return "at most" if constraint.comparison_operator == GREATER else "at least"


def _facts(run: RunResult) -> Html:
    """What a reader wants to know first, as figures; what nobody counted is said to be so."""
    counts, judgement = run.counts, run.judgement
    rows = counts.merge.matched if counts else run.statistics.item_count if run.statistics else None
    judged = len(judgement.within) + len(judgement.violations) if judgement else 0
    coverage, rejected = (_UNCOUNTED, _UNCOUNTED) if counts is None else (_coverage(counts), _rejected(counts))
    facts = [
        ("Records judged" if judgement else "Records", f"{rows or 0:,}", "predictions with their label", Html()),
        ("Label coverage", *coverage),
        (
            "Beyond the limit",
            f"{len(judgement.violations):,}" if judgement else "–",
            f"of {count(judged, 'judged metric')}" if judgement else "nothing was judged",
            Html(),
        ),
        ("Rejected lines", *rejected),
    ]
    return Html('<dl class="facts">{}</dl>').format(
        joined(
            Html("<div><dt>{}</dt><dd>{}</dd><dd>{}{}</dd></div>").format(title, value, picture, told)
            for title, value, told, picture in facts
        )
    )


_Figure = tuple[str, Html | str, Html]
"""A number, what it is of, and a picture of it."""
_UNCOUNTED: Final[_Figure] = ("–", Html('not counted, <a href="#lines">why</a>'), Html())


def _coverage(counts: MergeCounts) -> _Figure:
    labelled = counts.capture.used - counts.merge.captures_without_label
    coverage = counts.merge.label_coverage
    told = f"{labelled:,} of {count(counts.capture.used, 'capture')}"
    return percent(coverage), told, charts.meter(coverage) if coverage is not None else Html()


def _rejected(counts: MergeCounts) -> _Figure:
    sides = (counts.capture.rejected, counts.ground_truth.rejected, counts.merge.rejected)
    rejected = sum(sum(side.values()) for side in sides)
    why = Html(', <a href="#lines">why</a>') if rejected else ""
    return (
        f"{rejected:,}",
        Html("of {} read{}").format(f"{counts.capture.lines + counts.ground_truth.lines:,}", why),
        Html(),
    )


def _when(run: RunResult) -> Html:
    window, read, source = run.window, run.as_of.time, run.monitor.input
    length = (max(window.end, window.scheduled_time) - window.start).total_seconds()

    def place(time: datetime) -> float:
        return 0.03 + 0.83 * (time - window.start).total_seconds() / length

    offsets = []
    if window.source != "params" and source.start_time_offset is not None:
        offsets.append((place(window.start), f"start offset {source.start_time_offset}"))
    if window.source != "params" and source.end_time_offset is not None and window.end < window.scheduled_time:
        offsets.append((place(window.end), f"end offset {source.end_time_offset}"))
    seen = min(max(place(read), 0.015), 0.985)
    picture = charts.time_line(
        (place(window.start), place(window.end)),
        place(window.scheduled_time),
        seen,
        "labels as of" if seen == place(read) else "labels as of (not to scale)",
        offsets,
    )
    items = [
        (
            "Window",
            Html("{} to {}, {}; the end is not part of it").format(
                moment(format_time(window.start)), moment(format_time(window.end)), duration(window.end - window.start)
            ),
        ),
        (
            "T, the scheduled time",
            Html("{}, {}").format(moment(format_time(window.scheduled_time)), _SOURCES[window.source]),
        ),
        ("Labels as of", Html("{}, {}").format(moment(format_time(read)), _AS_OF[run.as_of.source])),
    ]
    return Html(
        '<div class="when"><h2 id="when" class="hidden">When</h2>{}<dl class="pairs" id="when-text">{}</dl></div>'
    ).format(picture, terms(items))


# --- metrics against constraints --------------------------------------------------------------------------------------


_RESULTS: Final = {
    "within": WITHIN,
    "violated": VIOLATED,
    "within noise": result("unsure", SMALL_CROSS, "violated, within noise"),
    "not judged": UNJUDGED,
    None: Html('<span class="quiet">no constraint</span>'),
}


def _metrics(run: RunResult) -> Html | None:
    if run.statistics is None:
        return None
    constraints = run.constraints or {}
    found = run.statistics.metrics
    known = metrics_of(run.problem_type)
    judged = run.judgement
    results = dict.fromkeys(constraints, "not judged")
    results |= dict.fromkeys(judged.within if judged else (), "within")
    for violation in judged.violations if judged else ():
        noise = violation.within_noise(run.monitor.noise_sd)
        results[violation.metric_name] = "within noise" if noise else "violated"
    reasons = {
        one: reason for one in constraints if (reason := without_value(one, found, run.problem_type)) is not None
    }
    has_constant = any(one.endswith(_CONSTANT) for one in found)
    rows = []
    for one, info in known.items():
        if info.higher_is_better is None or (one not in found and one not in constraints):
            continue
        metric, constraint, result = found.get(one, Metric(math.nan)), constraints.get(one), results.get(one)
        value, limit = number(metric.value), Html("–")
        if constraint is not None:
            value, told = apart(metric.value, constraint.threshold)
            limit = Html("{}&nbsp;{}").format("≤" if constraint.comparison_operator == GREATER else "≥", told)
        constant = found.get(one + _CONSTANT)
        cells = [
            Html('<td class="n">{}</td>').format(_value(metric, value)),
            Html('<td class="n">{}</td>').format(limit),
            Html('<td class="picture wide">{}</td>').format(
                _gauge(run, one, metric, constraint, result in ("violated", "within noise"))
            ),
            Html('<td class="n wide">{}</td>').format("–" if constant is None else number(constant.value)),
            Html('<td class="result">{}</td>').format(_RESULTS[result]),
        ]
        if not has_constant:
            del cells[3]
        rows.append(
            Html('<tr{}><th scope="row">{}</th>{}</tr>').format(
                Html(' class="violated"') if result == "violated" else "", name(one), joined(cells)
            )
        )
    head = [("Metric", ""), ("Value", "n"), ("Limit", "n"), ("Against the limit", "wide"), ("Result", "")]
    if has_constant:
        head.insert(4, ("Constant guess", "n wide"))
    note = "± is the standard deviation over five random samples of 80 % of the records"
    if (run.statistics.item_count or 0) < SPREAD_RECORDS:
        note += f"; below {SPREAD_RECORDS} records there is none"
    unjudged = [Html("<li>{}: {}</li>").format(one, reason) for one, reason in reasons.items()]
    return section(
        "metrics",
        "Metrics against constraints",
        Html('<p class="quiet">{}.</p>').format(note),
        table("Metrics, their constraints, and the result", heads(*head), rows, "metrics"),
        _legend(has_constant),
        Html('<ul class="quiet">{}</ul>').format(joined(unjudged)) if unjudged else "",
    )


def _legend(has_constant: bool) -> Html:
    keys = [
        Html(
            '<svg class="key gauge" viewBox="-6 -6 12 12" aria-hidden="true"><use class="inside" href="#disc"/></svg>'
            "value ± standard deviation"
        ),
        Html(
            '<svg class="key gauge" viewBox="-6 -6 12 12" aria-hidden="true"><use class="beyond" href="#cross"/></svg>'
            "value beyond its limit"
        ),
        Html(
            '<svg class="key long gauge" viewBox="0 0 24 12" aria-hidden="true"><path class="allowed" d="M2 2H24V10H2z"/>'
            '<path class="limit" d="M2 0V12"/></svg>limit, and the side that is allowed; each row has its own scale'
        ),
    ]
    if has_constant:
        keys.append(Html("Constant guess: a model that always says the commonest class"))
    return Html('<p class="legend wide">{}</p>').format(joined(Html("<span>{}</span>").format(key) for key in keys))


def _value(metric: Metric, value: str) -> Html:
    if math.isnan(metric.standard_deviation):
        return Html("{}").format(value)
    return Html('{} <span class="sd">±&nbsp;{}</span>').format(value, number(metric.standard_deviation))


def _gauge(run: RunResult, one: str, metric: Metric, constraint: Constraint | None, violated: bool) -> Html:
    """A metric on a scale of its own, wide enough to show how far value and limit are apart, and no wider."""
    if constraint is None or not math.isfinite(metric.value):
        return Html()
    deviation = metric.standard_deviation if math.isfinite(metric.standard_deviation) else 0.0
    middle = (metric.value + constraint.threshold) / 2
    reach = max(1.1 * abs(metric.value - constraint.threshold), 4 * deviation, 0.02 * abs(middle), 1e-9)
    low, high = middle - reach, middle + reach
    if run.problem_type != REGRESSION or one == "r2":
        high = min(high, 1.0)
    if one != "r2":
        low = max(low, 0.0)
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        return Html()
    return charts.against_limit(
        metric.value,
        metric.standard_deviation,
        constraint.threshold,
        constraint.comparison_operator != GREATER,
        violated,
        (low, high),
    )


# --- lines and provenance ---------------------------------------------------------------------------------------------


_REASONS: Final = {**REASONS, "row_count_mismatch": "a record of several rows has more or fewer labels than rows"}


def _lines(run: RunResult) -> Html:
    return _not_counted(run) if run.counts is None else _accounted(run.counts)


def _not_counted(run: RunResult) -> Html:
    """What SageMaker's merger leaves open, said plainly: nobody is to take it for zero."""
    if (run.jobs or {}).get("merge") is None:
        told = Html("No job was started, since one side holds no object in the hours of the window. No line was read.")
    else:
        told = Html(
            "SageMaker's merger joined captures and labels, and it counts nothing. Not known are therefore: how many captures "
            "have no label, how many labels no capture, which lines could not be read, and which ids came more than once. "
            "{} has this package merge, which accounts for every line."
        ).format(code('merge_on="airflow"'))
    return section("lines", "Lines that were not counted", Html("<p>{}</p>").format(told))


def _accounted(counts: MergeCounts) -> Html:
    capture, labels, merge = counts.capture, counts.ground_truth, counts.merge
    rejected = {
        "Captures": (capture.rejected, capture.examples),
        "Labels": (labels.rejected, labels.examples),
        "After the join": (merge.rejected, ()),
    }
    account = [
        (
            "Captures",
            f"{count(capture.lines, 'line')} in {count(capture.files, 'file')}: {capture.used:,} used, "
            f"{capture.outside_window:,} outside the window, {capture.dropped:,} dropped, "
            f"{sum(capture.rejected.values()):,} rejected; {count(capture.duplicate_ids, 'repeated id')}",
        ),
        (
            "Labels",
            f"{count(labels.lines, 'line')} in {count(labels.files, 'file')}: {labels.used:,} used, "
            f"{sum(labels.rejected.values()):,} rejected; {labels.duplicate_labels:,} replaced by a later one of the same id",
        ),
        (
            "Join",
            f"{count(merge.matched, 'row')} matched; {count(merge.captures_without_label, 'capture')} without a label, "
            f"{count(merge.labels_without_capture, 'label')} without a capture in the window",
        ),
    ]
    reasons = [
        Html(
            '<tr><td>{}</td><th scope="row"><code>{}</code></th><td class="n" data-name="lines">{}</td><td>{}</td></tr>'
        ).format(side, name(reason), f"{lines:,}", _REASONS.get(reason, ""))
        for side, (by_reason, _) in rejected.items()
        for reason, lines in by_reason.items()
    ]
    examples = [_example(side, example) for side, (_, found) in rejected.items() for example in found[:EXAMPLES]]
    blocks = []
    if reasons:
        head = heads(("Side", ""), ("Reason", ""), ("Lines", "n"), ("What it says", ""))
        blocks.append(
            Html('<div class="block"><h3>Rejected, by reason</h3>{}</div>').format(
                table("Rejected lines by reason", head, reasons, "stack")
            )
        )
    if examples:
        head = heads(("Side", ""), ("Reason", ""), ("Line", "n"), ("Of the object", ""), ("Seen there", ""))
        blocks.append(
            Html(
                '<div class="block"><h3>The first of them</h3>'
                '<p class="quiet">All are in <a href="rejected.jsonl">rejected.jsonl</a>.</p>{}</div>'
            ).format(table("Examples of rejected lines", head, examples, "stack examples"))
        )
    accounted = Html('<dl class="pairs">{}</dl>').format(terms(account))
    return section("lines", "Every line, accounted for", accounted, *blocks)


def _example(side: str, example: RejectedLine) -> Html:
    return Html(
        '<tr><td>{}</td><td><code>{}</code></td><td class="n" data-name="line">{}</td><td>{}</td><td>{}</td></tr>'
    ).format(
        side,
        name(example.reason),
        f"{example.line:,}",
        code(example.file, 400),
        code(example.seen) if example.seen else "–",
    )


def _provenance(run: RunResult) -> Html:
    monitor, source = run.monitor, run.monitor.input
    items: list[tuple[str, Html | str]] = [
        ("Monitor", Html("{}, definition {}").format(code(monitor.name), code(monitor.definition_hash()))),
        ("Captures", _listing(monitor.capture_root, run.capture_digest)),
        ("Labels", _listing(monitor.ground_truth_uri, run.ground_truth_digest)),
        ("Constraints", code(monitor.constraints_uri, 400) if monitor.constraints_uri else "none"),
        ("Report", code(monitor.report_prefix(run.window), 400)),
    ]
    items += [
        (
            kind.replace("_", " ").capitalize(),
            Html("{}; SHA-256 {}").format(code(one["uri"], 400), code(one["sha256"])),
        )
        for kind, one in run.scripts.items()
    ]
    items += _jobs(run)
    attributes = [
        Html("{} {}").format(kind, code(attribute))
        for kind, attribute in (
            ("prediction", source.inference_attribute),
            ("probability", source.probability_attribute),
            ("label", monitor.ground_truth_attribute),
        )
        if attribute is not None
    ]
    if attributes:
        items.append(("Attributes", joined(attributes, ", ")))
    if monitor.problem_type == BINARY:
        items.append(
            (
                "Classes",
                Html("positive {}, negative {}{}").format(
                    code(monitor.positive_label),
                    code(monitor.negative_label),
                    f"; threshold {monitor.threshold:g}" if source.probability_attribute is not None else "",
                ),
            )
        )
    needed = f"at least {count(monitor.min_records, 'record')}"
    if run.counts is not None:
        needed += (
            f" and {percent(monitor.min_label_coverage)} label coverage; at most {percent(monitor.max_rejected_ratio)} of the "
            "lines rejected"
        )
    items.append(("Judged only with", needed))
    return section("provenance", "What it was made from", Html('<dl class="pairs">{}</dl>').format(terms(items)))


def _listing(uri: str, digest: str | None) -> Html:
    """Where a side lies, and the digest of what was listed there; that is not known where SageMaker listed it."""
    return code(uri, 400) if digest is None else Html("{}; listing {}").format(code(uri, 400), code(digest))


def _jobs(run: RunResult) -> list[tuple[str, Html | str]]:
    """Who merged and who judged, of a run on SageMaker's compute."""
    if run.jobs is None:
        return []
    merge, analysis, message = (run.jobs.get(key) for key in ("merge", "analysis", "exit_message"))
    if merge is not None:
        merged: Html | str = Html("SageMaker's merger, job {}").format(code(merge))
    else:
        merged = "nobody" if run.counts is None else "this package, in the worker"
    judged: Html | str = "nobody"
    if analysis is not None:
        judged = Html("SageMaker's analyzer, job {}").format(code(analysis))
        if message:
            judged += Html(", which says {}").format(code(message, 400))
    return [("Merged by", merged), ("Analyzed by", judged)]


def _footer(run: RunResult) -> Html:
    documents = ["report.json"]
    if run.statistics is not None:
        documents.append("statistics.json")
    if run.judgement is not None:
        documents.append("constraint_violations.json")
    if run.counts is not None:
        documents.append("rejected.jsonl")
    links = joined((Html('<a href="{}">{}</a>').format(document, document) for document in documents), " · ")
    return Html(
        "<footer><p>Beside this page: {}. A run is complete when its report.json is there.</p></footer>"
    ).format(links)
