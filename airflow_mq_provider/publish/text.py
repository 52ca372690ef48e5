"""Text for a page: whatever comes from data, made visible and harmless; numbers and times as people read them."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterable
from datetime import timedelta
from typing import Final

from markupsafe import Markup, escape

from airflow_mq_provider.quality.constraints import LESS

SHOWN_LENGTH: Final = 200

# Categories whose characters have no form of their own, or change that of others: controls, directions, halves of pairs,
# private and unassigned ones, ends of lines and paragraphs.
_INVISIBLE: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_MARKS: Final = frozenset({"Mn", "Me"})
_MARKS_IN_A_ROW: Final = 2


def shown(value: object, length: int = SHOWN_LENGTH) -> Markup:
    r"""Text that comes from data, as an element of its own.

    Escaped; kept from turning the direction of what surrounds it; characters without a form of their own (controls,
    marks of direction, halves of surrogate pairs) as their ``\u`` escapes; no more than two combining marks on a
    character; cut after `length` characters, with an ellipsis.
    """
    text = str(value)
    if len(text) <= length and text.isascii() and text.isprintable():
        return Markup("<bdi>{}</bdi>").format(text)
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
    return Markup("<bdi>{}</bdi>").format("".join(pieces))


def code(value: object, length: int = SHOWN_LENGTH) -> Markup:
    """`shown`, in the type of code."""
    return Markup("<code>{}</code>").format(shown(value, length))


def joined(pieces: Iterable[Markup | str], between: Markup | str = "") -> Markup:
    """The pieces one after the other; plain text among them is escaped."""
    return escape(between).join(pieces)


def name(metric: str) -> Markup:
    """A metric's name, which may be broken after an underscore."""
    return Markup("_<wbr>").join(metric.split("_"))


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


def moment(text: str) -> Markup:
    """A time as `format_time` writes it, for people: ``2026-11-05 00:00 UTC``, with seconds where there are some."""
    day, _, clock = text.removesuffix("Z").partition("T")
    return Markup('<time datetime="{}">{} {} UTC</time>').format(text, day, clock.removesuffix(":00"))
