"""The pieces that the sections of a page are made of."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Final

from airflow_mq_provider.publish.text import Html, joined, number
from airflow_mq_provider.quality.states import Metric

SMALL_TICK: Final = "M1.5 6.5L4.5 9.5L10.5 2.5"
SMALL_CROSS: Final = "M2 2L10 10M2 10L10 2"
SMALL_DASH: Final = "M1.5 6H10.5"


def result(kind: str, sign: str, told: str) -> Html:
    """What came of something, as a sign and in words: ``good``, ``bad`` or ``unsure``."""
    return Html('<span class="{}"><svg viewBox="0 0 12 12" aria-hidden="true"><path d="{}"/></svg>{}</span>').format(
        kind, sign, told
    )


WITHIN: Final = result("good", SMALL_TICK, "within")
VIOLATED: Final = result("bad", SMALL_CROSS, "violated")
WITHIN_NOISE: Final = result("good", SMALL_TICK, "within noise")
UNJUDGED: Final = result("unsure", SMALL_DASH, "not judged")


def plus_minus(metric: Metric) -> Html:
    """`` ± `` and the metric's standard deviation; nothing where it has none."""
    return (
        Html("")
        if math.isnan(metric.standard_deviation)
        else Html("&nbsp;±&nbsp;{}").format(number(metric.standard_deviation))
    )


def section(key: str, title: str, *parts: Html | str) -> Html:
    """A part of the page under a heading (id ``key``)."""
    return Html('<section aria-labelledby="{}">\n<h2 id="{}">{}</h2>\n{}\n</section>').format(
        key, key, title, joined([part for part in parts if part], "\n")
    )


def terms(items: Iterable[tuple[str, Html | str]]) -> Html:
    """The content of a list of terms and what they are."""
    return joined(Html("<dt>{}</dt><dd>{}</dd>").format(title, value) for title, value in items)


def heads(*columns: tuple[str, str]) -> Html:
    """The head row of a table: of each column its title and its class."""
    return Html("<tr>{}</tr>").format(
        joined(Html('<th scope="col" class="{}">{}</th>').format(kind, title) for title, kind in columns)
    )


def table(caption: str, head: Html, rows: Sequence[Html], kind: str = "") -> Html:
    """A table that scrolls by itself where it is too wide, also by keyboard."""
    return Html(
        '<div class="scroll" role="region" aria-label="{}" tabindex="0"><table class="{}"><caption class="hidden">{}</caption>'
        "<thead>{}</thead><tbody>\n{}\n</tbody></table></div>"
    ).format(caption, kind, caption, head, joined(rows, "\n"))


def figure(
    key: str, title: str, picture: Html, caption: Html | str, more: Html | str = "", *, whole: bool = False
) -> Html:
    """A chart with its heading (id ``key``), and what it shows in words (id ``key-text``); as wide as two if `whole`."""
    return Html(
        '<figure{} aria-labelledby="{}"><h3 id="{}">{}</h3>{}<figcaption id="{}-text">{}</figcaption>{}</figure>'
    ).format(Html(' class="whole"') if whole else "", key, key, title, picture, key, caption, more)


def numbers(caption: str, titles: Sequence[str], rows: Iterable[Sequence[str]]) -> Html:
    """The numbers of a chart as a table, folded away."""
    body = [
        Html("<tr>{}</tr>").format(joined(Html('<td class="n">{}</td>').format(cell) for cell in row)) for row in rows
    ]
    return Html("<details><summary>The numbers</summary>{}</details>").format(
        table(caption, heads(*((title, "n") for title in titles)), body)
    )
