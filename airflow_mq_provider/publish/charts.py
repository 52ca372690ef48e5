"""Charts as SVG, drawn once by the server: no script, no library, no style of their own beyond the page's classes.

A chart is a picture of numbers that also stand in the page as text; what it shows is told beside it. Positions are
rounded to a hundredth, so equal numbers give equal bytes. Colours are the page's classes; what differs in colour differs
in form or place too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from airflow_mq_provider.publish.text import Html, joined

WIDTH: Final = 360
SHADES: Final = 5


def _at(position: float) -> str:
    return f"{position:.2f}".rstrip("0").rstrip(".")


@dataclass(frozen=True, slots=True)
class Frame:
    """The field of a chart: what lies at its edges, and how large the drawing is."""

    x: tuple[float, float]
    y: tuple[float, float]
    height: int = 300
    width: int = WIDTH
    left: int = 44
    right: int = 10
    top: int = 10
    bottom: int = 44

    def across(self, value: float) -> float:
        """Where a value of the horizontal axis lies."""
        return self.left + (self.width - self.left - self.right) * _share(value, *self.x)

    def up(self, value: float) -> float:
        """Where a value of the vertical axis lies."""
        return self.height - self.bottom - (self.height - self.top - self.bottom) * _share(value, *self.y)

    def path(self, points: Sequence[tuple[float, float]]) -> str:
        """A line through points, as the ``d`` of a path."""
        # `across`, `up` and `_at` of all points at once: a curve has a thousand, and a page is drawn in every run
        (left, right), (low, high) = self.x, self.y
        wide, tall = self.width - self.left - self.right, self.height - self.top - self.bottom
        start, floor = self.left, self.height - self.bottom
        text = "L".join(
            [
                f"{start + wide * ((x - left) / (right - left)):.2f} {floor - tall * ((y - low) / (high - low)):.2f}"
                for x, y in points
            ]
        )
        text = text.replace(".00", "")
        for digit in "123456789":
            text = text.replace(f".{digit}0", f".{digit}")
        return "M" + text

    def box(self, x: tuple[float, float], y: tuple[float, float]) -> str:
        """A rectangle between two values of either axis, as part of the ``d`` of a path."""
        left, right, low, high = self.across(x[0]), self.across(x[1]), self.up(y[0]), self.up(y[1])
        return f"M{_at(left)} {_at(low)}V{_at(high)}H{_at(right)}V{_at(low)}z"


def _share(value: float, low: float, high: float) -> float:
    return (value - low) / (high - low)


def drawing(frame: Frame, name: str, *parts: Html) -> Html:
    """A chart; the figure's heading (id ``name``) and caption (id ``name-text``) tell what it shows."""
    return Html('<svg viewBox="0 0 {} {}" role="img" aria-labelledby="{}" aria-describedby="{}-text">{}</svg>').format(
        frame.width, frame.height, name, name, joined(parts)
    )


def axes(
    frame: Frame,
    across: Sequence[tuple[float, str]],
    up: Sequence[tuple[float, str]],
    names: tuple[str, str],
) -> Html:
    """Fine lines at the ticks, their texts, and the names of both axes."""
    bottom, middle = frame.height - frame.bottom, (frame.left + frame.width - frame.right) / 2
    grid = "".join(
        [f"M{_at(frame.across(value))} {frame.top}V{bottom}" for value, _ in across]
        + [f"M{frame.left} {_at(frame.up(value))}H{frame.width - frame.right}" for value, _ in up]
    )
    texts = [
        Html('<text x="{}" y="{}" text-anchor="middle">{}</text>').format(_at(frame.across(value)), bottom + 16, text)
        for value, text in across
    ] + [
        Html('<text x="{}" y="{}" text-anchor="end">{}</text>').format(frame.left - 6, _at(frame.up(value) + 4), text)
        for value, text in up
    ]
    return Html(
        '<path class="grid" d="{}"/>{}<text class="name" x="{}" y="{}" text-anchor="middle">{}</text>'
        '<text class="name" transform="translate(11 {}) rotate(-90)" text-anchor="middle">{}</text>'
    ).format(grid, joined(texts), _at(middle), frame.height - 8, names[0], _at((frame.top + bottom) / 2), names[1])


def line(frame: Frame, kind: str, points: Sequence[tuple[float, float]]) -> Html:
    """A line through points."""
    return Html('<path class="{}" d="{}"/>').format(kind, frame.path(points))


def band(frame: Frame, kind: str, spans: Sequence[tuple[float, float, float]]) -> Html:
    """What lies between two lines: where, from, to."""
    if not spans:
        return Html()
    outline = [(x, high) for x, _, high in spans] + [(x, low) for x, low, _ in reversed(spans)]
    return Html('<path class="{}" d="{}z"/>').format(kind, frame.path(outline))


def symbol(frame: Frame, kind: str, x: float, y: float, shape: str, told: str) -> Html:
    """One of `SYMBOLS` at a point, with what it tells when it is pointed at."""
    return Html('<use class="{}" href="#{}" x="{}" y="{}"><title>{}</title></use>').format(
        kind, shape, _at(frame.across(x)), _at(frame.up(y)), told
    )


def area(frame: Frame, kind: str, points: Sequence[tuple[float, float]]) -> Html:
    """What lies between a line and the horizontal axis."""
    closed = [(points[0][0], frame.y[0]), *points, (points[-1][0], frame.y[0])]
    return Html('<path class="{}" d="{}z"/>').format(kind, frame.path(closed))


def bars(frame: Frame, kind: str, heights: Sequence[tuple[float, float, float]]) -> Html:
    """Bars from zero, up or down: from, to, height. Those without height are left out."""
    boxes = "".join(frame.box((left, right), (0.0, height)) for left, right, height in heights if height)
    return Html('<path class="{}" d="{}"/>').format(kind, boxes) if boxes else Html()


def whiskers(frame: Frame, kind: str, spans: Sequence[tuple[float, float, float]]) -> Html:
    """Vertical spans with feet: where, from, to."""
    pieces = []
    for x, low, high in spans:
        at, bottom, top = frame.across(x), _at(frame.up(low)), _at(frame.up(high))
        left, right = _at(at - 4), _at(at + 4)
        pieces.append(f"M{_at(at)} {bottom}V{top}M{left} {bottom}H{right}M{left} {top}H{right}")
    return Html('<path class="{}" d="{}"/>').format(kind, "".join(pieces))


def dot(frame: Frame, kind: str, x: float, y: float, told: str, size: float = 5) -> Html:
    """A point with what it tells when it is pointed at."""
    return Html('<circle class="{}" cx="{}" cy="{}" r="{}"><title>{}</title></circle>').format(
        kind, _at(frame.across(x)), _at(frame.up(y)), _at(size), told
    )


def upright(frame: Frame, kind: str, x: float, told: str) -> Html:
    """A vertical line through the field, named at its top."""
    at = frame.across(x)
    anchor = "start" if _share(x, *frame.x) < 0.7 else "end"
    return Html('<path class="{}" d="M{} {}V{}"/><text class="mark" x="{}" y="{}" text-anchor="{}">{}</text>').format(
        kind, _at(at), frame.top, frame.height - frame.bottom,
        _at(at + (5 if anchor == "start" else -5)), frame.top + 11, anchor, told,
    )  # fmt: skip


def squares(frame: Frame, side: float, cells: Sequence[tuple[float, float, int]]) -> tuple[Html, list[tuple[int, int]]]:
    """Cells by where their lower left corners lie, shaded by their rows; and from and up to how many each shade goes."""
    most = max((rows for _, _, rows in cells), default=0)
    # steps of equal ratio: few rows can be seen beside many
    limits = sorted({min(most, max(step, math.ceil(most ** (step / SHADES)))) for step in range(1, SHADES + 1)})
    ranges = [(low + 1, high) for low, high in zip([0, *limits], limits, strict=False)]
    drawn = []
    for shade, (low, high) in enumerate(ranges):
        boxes = "".join(frame.box((x, x + side), (y, y + side)) for x, y, rows in cells if low <= rows <= high)
        if boxes:
            drawn.append(Html('<path class="shade{}" d="{}"/>').format(_shade(shade, len(ranges)), boxes))
    return joined(drawn), ranges


def _shade(step: int, steps: int) -> int:
    return SHADES if steps == 1 else 1 + round(step * (SHADES - 1) / (steps - 1))


def shades(ranges: Sequence[tuple[int, int]]) -> Html:
    """What each shade of `squares` stands for."""
    keys = [
        Html(
            '<span><svg class="key" viewBox="0 0 12 12" aria-hidden="true"><path class="shade{}" d="M0 0h12v12H0z"/></svg>{}</span>'
        ).format(_shade(step, len(ranges)), f"{low:,}" if low == high else f"{low:,}–{high:,}")
        for step, (low, high) in enumerate(ranges)
    ]
    return Html('<p class="legend"><span>Rows in a cell:</span>{}</p>').format(joined(keys))


def ticks(low: float, high: float, number: int = 5) -> list[tuple[float, str]]:
    """Round numbers within an interval, about so many, with their texts."""
    raw = (high - low) / number
    power = 10.0 ** math.floor(math.log10(raw)) if raw > 0 and math.isfinite(raw) else 0.0
    if not (power > 0 and math.isfinite(power)):
        return []
    step = next(size * power for size in (1, 2, 5, 10) if size * power >= raw)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    if last - first > 4 * number:  # too narrow a span for its distance from zero: no two texts would differ
        return []
    largest = max(abs(first), abs(last)) * step
    if largest >= 1e6 or (largest and largest < 1e-3):
        return [(index * step, f"{index * step:.3g}".replace("-", "−")) for index in range(first, last + 1)]
    decimals = max(0, -math.floor(math.log10(step)))
    return [(index * step, f"{index * step:,.{decimals}f}".replace("-", "−")) for index in range(first, last + 1)]


# what lies along a line, and is as wide as the page lets it be: positions in percent


def _along(share: float) -> str:
    return f"{_at(100 * share)}%"


def against_limit(
    value: float, deviation: float, limit: float, better_above: bool, violated: bool, within: tuple[float, float]
) -> Html:
    """One metric on its scale: the side of the limit that is allowed, the limit, the value with its deviation.

    A value within is a disc, one beyond a lying cross. The numbers stand beside it in the table, so a screen reader is
    not told them again.
    """

    def place(number: float) -> float:
        return 0.02 + 0.96 * min(max(_share(number, *within), 0.0), 1.0)

    at = place(limit)
    left, right = (at, 1.0) if better_above else (0.0, at)
    whisker = Html()
    if math.isfinite(deviation):
        whisker = Html('<line class="deviation" x1="{}" y1="12" x2="{}" y2="12"/>').format(
            _along(place(value - deviation)), _along(place(value + deviation))
        )
    return Html(
        '<svg class="gauge" width="100%" height="24" aria-hidden="true"><line class="track" x1="0" y1="12" x2="100%" y2="12"/>'
        '<rect class="allowed" x="{}" y="7" width="{}" height="10"/><line class="limit" x1="{}" y1="3" x2="{}" y2="21"/>{}'
        '<svg class="{}" x="{}" y="12" overflow="visible"><use href="{}"/></svg></svg>'
    ).format(
        _along(left), _along(right - left), _along(at), _along(at), whisker,
        "beyond" if violated else "inside", _along(place(value)), "#cross" if violated else "#disc",
    )  # fmt: skip


SYMBOLS: Final = Html(
    '<svg class="symbols" width="0" height="0" aria-hidden="true"><defs>'
    '<circle id="disc" r="4.5"/><path id="cross" d="M-5 -5L5 5M-5 5L5 -5"/>'
    "</defs></svg>"
)


def meter(share: float) -> Html:
    """A bar filled by a share."""
    return Html(
        '<svg class="meter" width="100%" height="6" aria-hidden="true"><rect class="track" width="100%" height="6" rx="3"/>'
        '<rect class="fill" width="{}" height="6" rx="3"/></svg>'
    ).format(_along(min(max(share, 0.0), 1.0)))


def spark(values: Sequence[float], limit: float | None, beyond: bool) -> Html:
    """A value run by run as a small line, its limit as a fine one, its last point as a disc or, beyond the limit, a cross.

    A run without a value is a gap. The last value stands beside it as text, so a screen reader is not told it again.
    """
    seen = [value for value in values if math.isfinite(value)]
    if not seen:
        return Html()
    edges = [*seen, *([limit] if limit is not None else [])]
    low, high = min(edges), max(edges)
    pad = (high - low) * 0.08 or abs(high) * 0.1 or 1.0
    frame = Frame(
        (0, max(len(values) - 1, 1)), (low - pad, high + pad), height=32, width=132, left=2, right=7, top=3, bottom=3
    )
    places = list(enumerate(values)) if len(values) > 1 else [(0, values[0]), (1, values[0])]
    parts = [] if limit is None else [line(frame, "limit", [(0, limit), (frame.x[1], limit)])]
    parts += [line(frame, "curve", piece) for piece in unbroken(places) if len(piece) > 1]
    last = places[-1]
    if math.isfinite(last[1]):
        parts.append(
            Html('<use class="{}" href="{}" x="{}" y="{}"/>').format(
                "beyond" if beyond else "inside", "#cross" if beyond else "#disc",
                _at(frame.across(last[0])), _at(frame.up(last[1])),
            )
        )  # fmt: skip
    return Html('<svg class="spark" viewBox="0 0 132 32" aria-hidden="true">{}</svg>').format(joined(parts))


def unbroken(points: Sequence[tuple[float, float]]) -> list[list[tuple[float, float]]]:
    """The points in pieces, cut where one has no value."""
    pieces: list[list[tuple[float, float]]] = [[]]
    for point in points:
        if math.isfinite(point[1]):
            pieces[-1].append(point)
        elif pieces[-1]:
            pieces.append([])
    return [piece for piece in pieces if piece]


def time_line(
    window: tuple[float, float], scheduled: float, read: float, read_told: str, offsets: Sequence[tuple[float, str]]
) -> Html:
    """A window on its time line; all places between 0 and 1.

    Args:
        window: where it starts and where it ends.
        scheduled: the scheduled time, T.
        read: up to when labels count.
        read_told: what stands beside that, where it is not T itself.
        offsets: from where each reaches up to T, and its text; one above the other.
    """
    line = 18 * len(offsets) + 22
    height = line + 32
    parts = [_offset(18 * row + 12, line, left, scheduled, told) for row, (left, told) in enumerate(offsets)]
    parts.append(
        Html(
            '<line class="track" x1="0" y1="{y}" x2="100%" y2="{y}"/>'
            '<rect class="window" x="{left}" y="{upper}" width="{width}" height="16" rx="2"/>'
            '<line class="scheduled" x1="{at}" y1="0" x2="{at}" y2="{lower}"/>'
            '<svg class="read" x="{read}" y="{y}" overflow="visible"><path d="M0 -7L7 0L0 7L-7 0z"/></svg>'
            '<text x="{middle}" y="{text}" text-anchor="middle">window</text>'
            '<text x="{at}" y="{text}" text-anchor="middle">T</text>'
        ).format(
            y=line, left=_along(window[0]), upper=line - 8, width=_along(window[1] - window[0]), at=_along(scheduled),
            lower=line + 12, read=_along(read), middle=_along(sum(window) / 2), text=line + 26,
        )
    )  # fmt: skip
    if abs(read - scheduled) > 0.001:
        height += 16
        anchor = "end" if read > 0.8 else "start" if read < 0.2 else "middle"
        parts.append(
            Html('<text x="{}" y="{}" text-anchor="{}">{}</text>').format(_along(read), line + 42, anchor, read_told)
        )
    return Html(
        '<svg class="timeline" width="100%" height="{}" role="img" aria-labelledby="when" aria-describedby="when-text">{}</svg>'
    ).format(height, joined(parts))


def _offset(y: int, line: int, left: float, right: float, told: str) -> Html:
    """A measure from T back to an end of the window; its text stands on it, or before it where it is too short."""
    inside = right - left > 0.4
    return Html(
        '<line class="span" x1="{left}" y1="{y}" x2="{right}" y2="{y}"/>'
        '<line class="span" x1="{left}" y1="{upper}" x2="{left}" y2="{lower}"/>'
        '<line class="drop" x1="{left}" y1="{y}" x2="{left}" y2="{end}"/>'
        '<text class="plate" x="{text}" y="{lower}" text-anchor="{anchor}">{told}</text>'
    ).format(
        left=_along(left), right=_along(right), y=y, upper=y - 4, lower=y + 4, end=line - 8,
        text=_along((left + right) / 2 if inside else left - 0.012), anchor="middle" if inside else "end", told=told,
    )  # fmt: skip
