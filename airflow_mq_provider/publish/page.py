"""The pieces that the sections of a page are made of."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Final

from markupsafe import Markup

from airflow_mq_provider.publish.text import joined, number
from airflow_mq_provider.quality.states import Metric

SMALL_TICK: Final = "M1.5 6.5L4.5 9.5L10.5 2.5"
SMALL_CROSS: Final = "M2 2L10 10M2 10L10 2"
SMALL_DASH: Final = "M1.5 6H10.5"


def result(kind: str, sign: str, told: str) -> Markup:
    """What came of something, as a sign and in words: ``good``, ``bad`` or ``unsure``."""
    return Markup('<span class="{}"><svg viewBox="0 0 12 12" aria-hidden="true"><path d="{}"/></svg>{}</span>').format(
        kind, sign, told
    )


WITHIN: Final = result("good", SMALL_TICK, "within")
VIOLATED: Final = result("bad", SMALL_CROSS, "violated")
WITHIN_NOISE: Final = result("good", SMALL_TICK, "within noise")
UNJUDGED: Final = result("unsure", SMALL_DASH, "not judged")


def plus_minus(metric: Metric) -> Markup:
    """`` ± `` and the metric's standard deviation; nothing where it has none."""
    return (
        Markup("")
        if math.isnan(metric.standard_deviation)
        else Markup("&nbsp;±&nbsp;{}").format(number(metric.standard_deviation))
    )


def section(key: str, title: str, *parts: Markup | str) -> Markup:
    """A part of the page under a heading (id ``key``)."""
    return Markup('<section aria-labelledby="{}">\n<h2 id="{}">{}</h2>\n{}\n</section>').format(
        key, key, title, joined([part for part in parts if part], "\n")
    )


def terms(items: Iterable[tuple[str, Markup | str]]) -> Markup:
    """The content of a list of terms and what they are."""
    return joined(Markup("<dt>{}</dt><dd>{}</dd>").format(title, value) for title, value in items)


def heads(*columns: tuple[str, str]) -> Markup:
    """The head row of a table: of each column its title and its class."""
    return Markup("<tr>{}</tr>").format(
        joined(Markup('<th scope="col" class="{}">{}</th>').format(kind, title) for title, kind in columns)
    )


def table(caption: str, head: Markup, rows: Sequence[Markup], kind: str = "") -> Markup:
    """A table that scrolls by itself where it is too wide, also by keyboard."""
    return Markup(
        '<div class="scroll" role="region" aria-label="{}" tabindex="0"><table class="{}"><caption class="hidden">{}</caption>'
        "<thead>{}</thead><tbody>\n{}\n</tbody></table></div>"
    ).format(caption, kind, caption, head, joined(rows, "\n"))


def figure(
    key: str, title: str, picture: Markup, caption: Markup | str, more: Markup | str = "", *, whole: bool = False
) -> Markup:
    """A chart with its heading (id ``key``), and what it shows in words (id ``key-text``); as wide as two if `whole`."""
    return Markup(
        '<figure{} aria-labelledby="{}"><h3 id="{}">{}</h3>{}<figcaption id="{}-text">{}</figcaption>{}</figure>'
    ).format(Markup(' class="whole"') if whole else "", key, key, title, picture, key, caption, more)


def numbers(caption: str, titles: Sequence[str], rows: Iterable[Sequence[str]]) -> Markup:
    """The numbers of a chart as a table, folded away."""
    body = [
        Markup("<tr>{}</tr>").format(joined(Markup('<td class="n">{}</td>').format(cell) for cell in row))
        for row in rows
    ]
    return Markup("<details><summary>The numbers</summary>{}</details>").format(
        table(caption, heads(*((title, "n") for title in titles)), body)
    )
