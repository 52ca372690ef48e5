"""Text for a page: whatever comes from data, made visible and harmless; numbers and times as people read them."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterable
from datetime import timedelta
from functools import lru_cache
from string import Formatter
from typing import Any, Final

from markupsafe import Markup, escape

from airflow_mq_provider.quality.constraints import LESS

SHOWN_LENGTH: Final = 200

# Categories whose characters have no form of their own, or change that of others: controls, directions, halves of pairs,
# private and unassigned ones, ends of lines and paragraphs.
_INVISIBLE: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_MARKS: Final = frozenset({"Mn", "Me"})
_MARKS_IN_A_ROW: Final = 2


class Html(Markup):
    """Markup that is filled in fast: a page is some 600 templates, which `string.Formatter` would parse anew each time."""

    __slots__ = ()

    def format(self, *values: Any, **named: Any) -> Html:
        """Values, in places such as ``{}``, ``{:g}`` and ``{name}``, escaped unless they are markup themselves."""
        texts, places = _parsed(str(self))
        pieces = list(texts)
        following = iter(values)
        for at, place, spec in places:
            value = named[place] if place else next(following)
            pieces[at] = escape(format(value, spec) if spec else value)
        return Html("".join(pieces))  # noqa: S704 - each piece is markup


@lru_cache(1024)
def _parsed(template: str) -> tuple[tuple[str, ...], tuple[tuple[int, str, str], ...]]:
    """A template's texts, with an empty one for each place; and which those are, each with its name and its format."""
    texts: list[str] = []
    places: list[tuple[int, str, str]] = []
    for text, name, spec, conversion in Formatter().parse(template):
        if conversion:
            raise ValueError(f"a template of a page shows values, never what they are to Python: {template!r}")
        texts.append(text)
        if name is not None:
            places.append((len(texts), name, spec or ""))
            texts.append("")
    return tuple(texts), tuple(places)


def shown(value: object, length: int = SHOWN_LENGTH) -> Html:
    r"""Text that comes from data, as an element of its own.

    Escaped; kept from turning the direction of what surrounds it; characters without a form of their own (controls,
    marks of direction, halves of surrogate pairs) as their ``\u`` escapes; no more than two combining marks on a
    character; cut after `length` characters, with an ellipsis.
    """
    text = str(value)
    if len(text) <= length and text.isascii() and text.isprintable():
        return Html("<bdi>{}</bdi>").format(text)
    pieces: list[str] = []
    room = length
    marks = 0
    for character in text:
        category = unicodedata.category(character)
        marks = marks + 1 if category in _MARKS else 0
        if category in _INVISIBLE or marks > _MARKS_IN_A_ROW:
            piece = f"\\u{ord(character):04x}" if ord(character) < 0x10000 else f"\\U{ord(character):08x}"
        else:
            piece = character
        room -= len(piece)
        if room < 0:
            pieces.append("…")
            break
        pieces.append(piece)
    return Html("<bdi>{}</bdi>").format("".join(pieces))


def code(value: object, length: int = SHOWN_LENGTH) -> Html:
    """`shown`, in the type of code."""
    return Html("<code>{}</code>").format(shown(value, length))


def joined(pieces: Iterable[Html | str], between: Html | str = "") -> Html:
    """The pieces one after the other; plain text among them is escaped."""
    return Html(escape(between).__str__().join([escape(piece) for piece in pieces]))  # noqa: S704 - each piece is markup


def name(metric: str) -> Html:
    """A metric's name, which may be broken after an underscore."""
    return Html("_<wbr>").join(metric.split("_"))


def number(value: float, digits: int = 4) -> str:
    """A number with so many significant digits, and with commas between thousands.

    Up to one, digits are counted from the point on, so that rates stand beneath each other.
    """
    if math.isnan(value):
        return "undefined"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    size = abs(value)
    if value and not 10.0**-digits <= size < 1e9:
        text = f"{value:.{digits - 1}e}"
    else:
        whole = len(str(int(size))) if size > 1 else 0
        text = f"{value:,.{max(digits - whole, 0)}f}"
    return text.replace("-", "−")


def apart(value: float, limit: float) -> tuple[str, str]:
    """Both numbers, with as many digits as it takes to tell them apart where they differ."""
    for digits in range(4, 18):
        texts = number(value, digits), number(limit, digits)
        if texts[0] != texts[1] or value == limit:
            return texts
    return repr(value), repr(limit)


def sd_beyond(deviations: float, comparison_operator: str, within_noise: bool) -> str:
    """How far beyond its limit a value is: ``0.8 sd below: within noise``; nothing where that is unknown or endless."""
    if not (math.isfinite(deviations) and deviations > 0):
        return ""
    side = "below" if comparison_operator == LESS else "above"
    return f"{deviations:.1f} sd {side}" + (": within noise" if within_noise else "")


def count(rows: int, noun: str = "") -> str:
    """A whole number with commas, and its noun where one is given."""
    return f"{rows:,}" + (f" {noun}{'' if rows == 1 else 's'}" if noun else "")


def percent(share: float | None) -> str:
    """A share as percent. One that is not all is never rounded to 100 %, nor one that is something to 0 %."""
    if share is None or math.isnan(share):
        return "–"
    text = f"{share:.1%}"
    if text == "100.0%" and share < 1:
        return "> 99.9%"
    if text == "0.0%" and share > 0:
        return "< 0.1%"
    return text


def duration(length: timedelta) -> str:
    """Days, hours, minutes and seconds, without those that are none."""
    seconds = int(length.total_seconds())
    parts = []
    for unit, size in (("day", 86400), ("hour", 3600), ("minute", 60), ("second", 1)):
        whole, seconds = divmod(seconds, size)
        if whole:
            parts.append(count(whole, unit))
    return " ".join(parts) or "no time"


def moment(text: str) -> Html:
    """A time as `format_time` writes it, for people: ``2026-11-05 00:00 UTC``, with seconds where there are some."""
    day, _, clock = text.removesuffix("Z").partition("T")
    return Html('<time datetime="{}">{} {} UTC</time>').format(text, day, clock.removesuffix(":00"))
