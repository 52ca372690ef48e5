"""Where a model is right and wrong: the charts and tables of each problem type."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

from airflow_mq_provider.monitor import label_text
from airflow_mq_provider.publish import charts
from airflow_mq_provider.publish.page import figure, heads, numbers, plus_minus, section, table
from airflow_mq_provider.publish.text import Html, code, count, joined, number, percent
from airflow_mq_provider.quality.documents import CURVES, Statistics
from airflow_mq_provider.quality.figures import (
    CALIBRATION_BINS,
    SCORE_BINS,
    BinaryFigures,
    Histogram,
    MulticlassFigures,
    RegressionFigures,
    Squares,
)
from airflow_mq_provider.quality.report import RunResult
from airflow_mq_provider.quality.states import BINARY


def quality_sections(run: RunResult) -> list[Html]:
    """The section of the problem type; none where no row was merged."""
    if run.statistics is None:
        return []
    if run.problem_type == BINARY:
        return _binary(run, run.statistics)
    if isinstance(run.figures, MulticlassFigures):
        return [_multiclass(run.figures)]
    if isinstance(run.figures, RegressionFigures):
        return [_regression(run.figures)]
    return []


_SHARES: Final = [(index / 5, f"{index / 5:g}") for index in range(6)]


# binary


def _binary(run: RunResult, statistics: Statistics) -> list[Html]:
    figures = run.figures if isinstance(run.figures, BinaryFigures) else None
    matrix = _matrix_of(run, statistics)
    drawn = [] if matrix is None else [_confusion(run, matrix)]
    if figures is not None:
        drawn += [
            _scores(run, figures),
            *_curves(statistics, figures),
            _calibration(run, figures),
        ]
    if not drawn:
        return []
    source = run.monitor.input
    note = (
        Html("A probability above {} is read as {}.").format(
            f"{run.monitor.threshold:g}", code(run.monitor.positive_label)
        )
        if source.inference_attribute is None
        else Html("The predicted label was captured.")
        if source.probability_attribute is None
        else Html(
            "Predicted label and probability were captured: the label makes the matrix, the probability the curves."
        )
    )
    return [
        section(
            "quality",
            "Where it is right and wrong",
            Html('<p class="quiet">{}</p>').format(note),
            Html('<div class="charts">\n{}\n</div>').format(joined(drawn, "\n")),
        )
    ]


def _matrix_of(run: RunResult, statistics: Statistics) -> dict[str, dict[str, int]] | None:
    """The matrix of the monitor's two classes; None where SageMaker's own statistics have none, or one of others."""
    labels = run.monitor.positive_label, run.monitor.negative_label
    matrix = {actual: dict.fromkeys(labels, 0) for actual in labels}
    for actual, row in (statistics.confusion_matrix or {}).items():
        for predicted, rows in row.items():
            place = label_text(actual), label_text(predicted)
            if not {*place} <= {*labels}:
                return None
            matrix[place[0]][place[1]] += rows
    return matrix if statistics.confusion_matrix is not None else None


def _confusion(run: RunResult, matrix: Mapping[str, Mapping[str, int]]) -> Html:
    labels = positive, negative = run.monitor.positive_label, run.monitor.negative_label
    totals = {actual: sum(matrix[actual].values()) for actual in labels}
    rows = []
    for actual in labels:
        cells = joined(
            Html('<td class="{}">{}<span class="share">{}</span></td>').format(
                "right" if actual == predicted else "",
                f"{matrix[actual][predicted]:,}",
                percent(matrix[actual][predicted] / totals[actual] if totals[actual] else None),
            )
            for predicted in labels
        )
        rows.append(
            Html('<tr><th scope="row">{}</th>{}<td class="sum">{}</td></tr>').format(
                code(actual, 40), cells, f"{totals[actual]:,}"
            )
        )
    sums = [sum(matrix[actual][predicted] for actual in labels) for predicted in labels] + [sum(totals.values())]
    rows.append(
        Html('<tr><th scope="row">All</th>{}</tr>').format(
            joined(Html('<td class="sum">{}</td>').format(f"{total:,}") for total in sums)
        )
    )
    head = Html(
        '<tr><th scope="col" rowspan="2">Actual</th><th scope="colgroup" colspan="2">Predicted</th>'
        '<th scope="col" rowspan="2">All</th></tr><tr>{}</tr>'
    ).format(joined(Html('<th scope="col">{}</th>').format(code(label, 40)) for label in labels))
    caption = Html(
        "{} of {} actual {} were missed; {} of {} actual {} raised a false alarm. Shares are of the row."
    ).format(
        f"{matrix[positive][negative]:,}", f"{totals[positive]:,}", code(positive, 40),
        f"{matrix[negative][positive]:,}", f"{totals[negative]:,}", code(negative, 40),
    )  # fmt: skip
    return figure("confusion", "Confusion matrix", table("Confusion matrix", head, rows, "matrix"), caption, whole=True)


def _curves(statistics: Statistics, figures: BinaryFigures) -> list[Html]:
    roc, precision_recall = (statistics.curves.get(curve, {}) for curve in CURVES)
    at, auc = figures.operating_point, statistics.metrics.get("auc")
    told = f"at the threshold {at.threshold:g}"
    found = []
    frame = charts.Frame((0.0, 1.0), (0.0, 1.0), height=320)
    points = list(zip(roc.get("false_positive_rates", ()), roc.get("true_positive_rates", ()), strict=True))
    if points:
        bound = statistics.auc_error_bound
        caption = Html("AUC {}{}{}. {}: recall {}, false positive rate {} (ringed). Dashed: guessing.").format(
            number(auc.value) if auc else "undefined", plus_minus(auc) if auc else "",
            "" if bound is None else f", of binned scores: off by {bound:.1e} at most",
            told.capitalize(), number(at.recall), number(at.false_positive_rate),
        )  # fmt: skip
        picture = charts.drawing(
            frame,
            "roc",
            charts.axes(frame, _SHARES, _SHARES, ("False positive rate", "True positive rate (recall)")),
            charts.area(frame, "under", points),
            charts.line(frame, "diagonal", [(0.0, 0.0), (1.0, 1.0)]),
            charts.line(frame, "curve", points),
            charts.dot(frame, "point", at.false_positive_rate, at.recall, told),
        )
        found.append(figure("roc", "ROC curve", picture, caption))
    points = list(zip(precision_recall.get("recalls", ()), precision_recall.get("precisions", ()), strict=True))
    if points:
        share = sum(figures.positives) / (sum(figures.positives) + sum(figures.negatives))
        parts = [
            charts.axes(frame, _SHARES, _SHARES, ("Recall", "Precision")),
            charts.line(frame, "diagonal", [(0.0, share), (1.0, share)]),
            charts.line(frame, "curve", points),
        ]
        if math.isfinite(at.precision):
            parts.append(charts.dot(frame, "point", at.recall, at.precision, told))
        caption = Html("{}: precision {}, recall {}{}. Dashed: the share of positives, {}.").format(
            told.capitalize(),
            number(at.precision),
            number(at.recall),
            " (ringed)" if math.isfinite(at.precision) else "",
            percent(share),
        )
        found.append(
            figure(
                "precision-recall", "Precision and recall", charts.drawing(frame, "precision-recall", *parts), caption
            )
        )
    return found


def _scores(run: RunResult, figures: BinaryFigures) -> Html:
    """Both classes on one axis, one upwards and one downwards: told apart without colour, and none behind the other."""
    above, below = ([rows / (sum(side) or 1) for rows in side] for side in (figures.positives, figures.negatives))
    most = max(*above, *below) or 1.0
    frame = charts.Frame((0.0, 1.0), (-1.06 * most, 1.06 * most), height=320)
    width = 1 / SCORE_BINS
    edges = [index * width for index in range(SCORE_BINS + 1)]
    picture = charts.drawing(
        frame,
        "scores",
        charts.axes(
            frame,
            _SHARES,
            [(value, f"{abs(value):.0%}") for value, _ in charts.ticks(-most, most)],
            ("Probability", "Share of the class"),
        ),
        charts.bars(frame, "bar-b", list(zip(edges, edges[1:], above, strict=False))),
        charts.bars(
            frame, "bar-a", [(left, right, -share) for left, right, share in zip(edges, edges[1:], below, strict=False)]
        ),
        charts.line(frame, "zero", [(0.0, 0.0), (1.0, 0.0)]),
        charts.upright(frame, "threshold", run.monitor.threshold, f"threshold {run.monitor.threshold:g}"),
    )
    caption = Html("Upwards: the {} actually {}. Downwards: the {} actually {}.").format(
        count(sum(figures.positives), "record"),
        code(run.monitor.positive_label, 40),
        count(sum(figures.negatives), "record"),
        code(run.monitor.negative_label, 40),
    )
    rows = [
        (f"{left:.2f}–{right:.2f}", f"{positives:,}", f"{negatives:,}")
        for left, right, positives, negatives in zip(
            edges, edges[1:], figures.positives, figures.negatives, strict=False
        )
    ]
    return figure(
        "scores",
        "Probability by actual class",
        picture,
        caption,
        numbers("Records by probability and class", ("Probability", "Positive", "Negative"), rows),
    )


def _calibration(run: RunResult, figures: BinaryFigures) -> Html:
    frame = charts.Frame((0.0, 1.0), (0.0, 1.0), height=320)
    bins = figures.calibration
    parts = [
        charts.axes(frame, _SHARES, _SHARES, ("Mean probability", "Share that is positive")),
        charts.line(frame, "diagonal", [(0.0, 0.0), (1.0, 1.0)]),
        charts.line(frame, "curve", [(one.mean_probability, one.share) for one in bins]),
        charts.whiskers(frame, "spread", [(one.mean_probability, *one.interval) for one in bins]),
        *(charts.dot(frame, "disc", one.mean_probability, one.share, count(one.rows, "record"), 3.5) for one in bins),
    ]
    sure = sum(not one.interval[0] <= one.mean_probability <= one.interval[1] for one in bins)
    caption = Html(
        "Of the records with a probability in each tenth, the share that is actually {}; on the dashed line they agree. "
        "Whiskers: 95 % confidence. {} of {} lie off the line by more than that."
    ).format(code(run.monitor.positive_label, 40), sure, count(len(bins), "tenth"))
    rows = [
        (
            f"{one.low:.1f}–{one.low + 1 / CALIBRATION_BINS:.1f}",
            f"{one.rows:,}",
            f"{one.mean_probability:.3f}",
            f"{one.share:.3f}",
            f"{one.interval[0]:.3f}–{one.interval[1]:.3f}",
        )
        for one in bins
    ]
    return figure(
        "calibration", "Calibration", charts.drawing(frame, "calibration", *parts), caption,
        numbers("Calibration", ("Probability", "Records", "Mean", "Positive", "95 %"), rows),
    )  # fmt: skip


# multiclass


def _multiclass(figures: MulticlassFigures) -> Html:
    listed, number_of = len(figures.classes), figures.number
    if listed < number_of:
        note = f"The {listed:,} commonest of {number_of:,} classes; statistics.json has all."
    else:
        note = f"{number_of:,} class{'' if number_of == 1 else 'es'}, the commonest first."
    return section(
        "quality",
        "Class by class",
        Html('<p class="quiet">{} A dash: nothing to divide by.</p>').format(note),
        _classes(figures),
        Html('<div class="charts block">\n{}\n{}\n</div>').format(_matrix(figures), _confusions(figures)),
    )


def _classes(figures: MulticlassFigures) -> Html:
    columns = (("Records", "n"), ("Predicted", "n wide"), ("Recall", "n"), ("Precision", "n"), ("F1", "n"))
    rows = []
    for one in figures.classes:
        ratios = ["–" if math.isnan(ratio) else f"{ratio:.3f}" for ratio in (one.recall, one.precision, one.f1)]
        values = (f"{one.records:,}", f"{one.predicted:,}", *ratios)
        cells = joined(
            Html('<td class="{}">{}</td>').format(kind, value) for (_, kind), value in zip(columns, values, strict=True)
        )
        rows.append(Html('<tr><th scope="row">{}</th>{}</tr>').format(code(one.name, 40), cells))
    return table("Each class", heads(("Class", ""), *columns), rows, "classes")


def _matrix(figures: MulticlassFigures) -> Html:
    size = len(figures.matrix)
    names: list[Html] = [code(one.name, 12) for one in figures.classes[:size]]
    # names that are longer than the counts beneath them stand upright
    kind = "matrix small turned" if any(len(one.name) > 4 for one in figures.classes[:size]) else "matrix small"
    others = figures.number > size
    if others:
        names[-1] = Html("others")
    rows = []
    for place, (actual, cells) in enumerate(zip(names, figures.matrix, strict=True)):
        kinds = ["right" if place == column else "" if found else "none" for column, found in enumerate(cells)]
        drawn = joined(
            Html('<td class="{}">{}</td>').format(kind, f"{found:,}") for kind, found in zip(kinds, cells, strict=True)
        )
        rows.append(Html('<tr><th scope="row">{}</th>{}</tr>').format(actual, drawn))
    head = Html('<tr><th scope="col">Actual</th>{}</tr>').format(
        joined(Html('<th scope="col">{}</th>').format(one) for one in names)
    )
    told = "A row for each actual class, a column for each predicted one" + (
        f"; the {size - 1} commonest of {figures.number:,}, and all others together." if others else "."
    )
    return figure("confusion", "Confusion matrix", table("Confusion matrix", head, rows, kind), told, whole=size > 8)


def _confusions(figures: MulticlassFigures) -> Html:
    rows = [
        Html('<tr><td>{}</td><td>{}</td><td class="n">{}</td></tr>').format(
            code(actual, 40), code(found, 40), f"{number_of:,}"
        )
        for actual, found, number_of in figures.confusions
    ]
    if not rows:
        return Html()
    head = heads(("Actual", ""), ("Predicted", ""), ("Records", "n"))
    return figure(
        "confusions", "Commonest mistakes", table("Commonest mistakes", head, rows),
        "No other pair of classes is taken for each other more often.",
    )  # fmt: skip


# regression


def _regression(figures: RegressionFigures) -> Html:
    drawn = Html('<div class="charts">\n{}\n{}\n</div>').format(_pairs(figures.pairs), _errors(figures.errors))
    return section("quality", "Where it is right and wrong", drawn)


def _pairs(pairs: Squares) -> Html:
    end = pairs.low + pairs.steps * pairs.side
    frame = charts.Frame((pairs.low, end), (pairs.low, end), height=346, left=60)
    marks = charts.ticks(pairs.low, end)
    corners = [(pairs.low + x * pairs.side, pairs.low + y * pairs.side, rows) for x, y, rows in pairs.cells]
    cells, ranges = charts.squares(frame, pairs.side, corners)
    picture = charts.drawing(
        frame,
        "pairs",
        charts.axes(frame, marks, marks, ("Actual", "Predicted")),
        cells,
        charts.line(frame, "diagonal", [(pairs.low, pairs.low), (end, end)]),
    )
    inside = sum(rows for _, _, rows in pairs.cells) or 1
    below, above = (sum(rows for x, y, rows in pairs.cells if sign * y < sign * x) / inside for sign in (1, -1))
    caption = (
        f"Dashed: a perfect prediction; {percent(below)} of the records lie in cells below it, {percent(above)} above."
    )
    if pairs.outside:
        caption += f" {count(pairs.outside, 'record')} beyond the axes."
    return figure("pairs", "Predicted against actual", picture, caption, charts.shades(ranges))


def _errors(errors: Histogram) -> Html:
    edges = [errors.low + index * errors.side for index in range(len(errors.counts) + 1)]
    most = max(errors.counts)
    frame = charts.Frame((edges[0], edges[-1]), (0, most * 1.06 or 1), height=346, left=60)
    marks = [(value, text) for value, text in charts.ticks(0, most) if value == int(value)]
    bars = list(zip(edges, edges[1:], errors.counts, strict=False))
    picture = charts.drawing(
        frame,
        "errors",
        charts.axes(frame, charts.ticks(edges[0], edges[-1]), marks, ("Predicted − actual", "Records")),
        charts.bars(frame, "bar-a", bars),
        charts.upright(frame, "threshold", 0.0, "no error"),
    )
    low = errors.below + sum(rows for _, end, rows in bars if end <= 0)
    total = errors.below + sum(errors.counts) + errors.above
    caption = (
        f"{percent(low / total)} of {count(total, 'record')} were predicted too low, "
        f"{percent((total - low) / total)} right or too high."
    )
    if errors.below or errors.above:
        caption += f" {count(errors.below, 'record')} below and {errors.above:,} above the axis."
    rows = [(number(start), number(end), f"{rows:,}") for start, end, rows in bars if rows]
    return figure("errors", "Errors", picture, caption, numbers("Records by error", ("From", "To", "Records"), rows))
