"""``report.html`` in a real Chromium: it asks for nothing, runs nothing, breaks nowhere, and everybody can read it."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.chromium import started
from tests.pages import KINDS

DESKTOP, PHONE, SMALL_PHONE = (1280, 900), (390, 844), (320, 640)


class Browser:
    """A Chromium that shows one page at a time."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver

    def show(self, page: Path, size: tuple[int, int] = DESKTOP, *, dark: bool = False, media: str = "") -> None:
        """Open a page as a screen of that size does, or as paper does (``media="print"``)."""
        width, height = size
        self.cdp(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 500
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.cdp("Emulation.setEmulatedMedia", media=media, features=[scheme])
        self.driver.get("about:blank")
        for log in ("browser", "performance"):
            self.driver.get_log(log)  # what was said until now belongs to another page
        self.driver.get(page.as_uri())

    def cdp(self, command: str, **arguments: Any) -> dict[str, Any]:
        """A command of Chromium's own."""
        answer: dict[str, Any] = self.driver.execute_cdp_cmd(command, arguments)
        return answer

    def ask(self, script: str, *arguments: Any) -> Any:
        """What a script of the test's finds in the page: it comes from outside, where the page's policy does not hold."""
        return self.driver.execute_script(script, *arguments)

    def requests(self) -> list[str]:
        """The addresses that were asked for since the page was opened, the page itself among them."""
        messages = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        return [
            message["params"]["request"]["url"]
            for message in messages
            if message["method"] == "Network.requestWillBeSent"
        ]

    def tree(self) -> list[dict[str, Any]]:
        """What a screen reader gets: role, name and description of each element that it is told of."""
        nodes = self.cdp("Accessibility.getFullAXTree")["nodes"]
        return [
            {key: node.get(key, {}).get("value", "") for key in ("role", "name", "description")}
            for node in nodes
            if not node["ignored"]
        ]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with started(tmp_path_factory.mktemp("chromium")) as driver:
        yield Browser(driver)


@pytest.mark.parametrize("kind", KINDS)
def test_it_asks_for_nothing_and_says_nothing_on_the_console(browser, pages, kind):
    browser.show(pages[kind])
    assert browser.requests() == [pages[kind].as_uri()]
    assert browser.driver.get_log("browser") == []


@pytest.mark.parametrize("kind", ["hostile", "hostile_settings"])
def test_hostile_data_runs_no_script_and_makes_no_element(browser, pages, kind):
    browser.show(pages[kind])
    assert browser.ask("return typeof window.hit") == "undefined"
    assert browser.ask("return document.querySelectorAll('script, img, iframe, object, embed').length") == 0
    assert browser.ask("return document.body.innerText.includes('<script>window.hit=1</script>')")


def test_the_policy_stops_a_script_even_if_one_got_in(browser, pages, tmp_path):
    """The test of the test: a page that was tampered with asks for nothing and runs nothing either."""
    spoiled = tmp_path / "report.html"
    inserted = '<script>window.hit=1</script><img src="http://127.0.0.1:9/x" onerror="window.hit=1"></body>'
    spoiled.write_text(pages["binary"].read_text().replace("</body>", inserted))
    browser.show(spoiled)
    assert browser.ask("return typeof window.hit") == "undefined"
    assert len(browser.driver.get_log("browser")) >= 2


@pytest.mark.parametrize("size", [DESKTOP, PHONE, SMALL_PHONE], ids=["desktop", "phone", "small-phone"])
@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_wider_than_the_screen(browser, pages, kind, size):
    browser.show(pages[kind], size)
    browser.ask("document.querySelectorAll('details').forEach(one => { one.open = true })")
    assert browser.ask("return document.documentElement.scrollWidth") <= size[0]
    # what sticks out of its column may only do so inside something that scrolls
    found = browser.ask("""
        const right = document.documentElement.clientWidth;
        return [...document.querySelectorAll('body *')]
            .filter(one => !one.closest('.scroll, .hidden, svg') && one.getBoundingClientRect().right > right + 1)
            .map(one => one.outerHTML.slice(0, 80))""")
    assert found == []


@pytest.mark.parametrize("kind", ["binary", "multiclass", "regression"])
def test_the_first_screen_holds_verdict_facts_and_time_line(browser, pages, kind):
    browser.show(pages[kind])
    ends = browser.ask(
        "return ['.verdict', '.facts', '.timeline'].map(one => document.querySelector(one).getBoundingClientRect().bottom)"
    )
    assert max(ends) < DESKTOP[1]


_CONTRAST = """
const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
function rgba(color) {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = color;
    canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
}
const over = (top, below) => [0, 1, 2].map(i => top[i] * top[3] + below[i] * (1 - top[3]));
function background(element) {
    const layers = [];
    for (let one = element; one; one = one.parentElement) layers.push(rgba(getComputedStyle(one).backgroundColor));
    return layers.reverse().reduce((below, layer) => over(layer, below), [255, 255, 255]);
}
function luminance(color) {
    const [r, g, b] = color.map(c => c / 255).map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}
function contrast(one, other) {
    const [high, low] = [luminance(one), luminance(other)].sort((a, b) => b - a);
    return (high + 0.05) / (low + 0.05);
}
"""


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("kind", ["binary", "multiclass", "regression", "not_judged", "few", "of_jobs"])
def test_every_text_stands_out_from_its_ground(browser, pages, kind, dark):
    """WCAG 2.2 AA: 4.5 to 1 for text."""
    browser.show(pages[kind], dark=dark)
    faint = browser.ask(
        _CONTRAST
        + """
        const found = {};
        const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
        let seen = 0;
        while (walker.nextNode()) {
            const element = walker.currentNode.parentElement;
            if (!walker.currentNode.data.trim() || element.closest('style, title')) continue;
            seen += 1;
            const style = getComputedStyle(element);
            const ground = background(element);
            const ratio = contrast(over(rgba(element.closest('svg') ? style.fill : style.color), ground), ground);
            if (ratio < 4.5) found[walker.currentNode.data.trim().slice(0, 40)] = ratio;
        }
        return [seen, found]"""
    )
    assert faint[0] > 40
    assert faint[1] == {}


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("kind", ["binary", "regression"])
def test_every_line_that_means_something_stands_out(browser, pages, kind, dark):
    """WCAG 2.2 AA: 3 to 1 for what must be seen in a chart. Grids and grounds need not be."""
    browser.show(pages[kind], dark=dark)
    seen = browser.ask(
        _CONTRAST
        + """
        const meaning = '.curve, .bar-a, .bar-b, .threshold, .diagonal, .point, .spread, .limit, .deviation, .beyond, '
            + '.scheduled, .span, .read path';
        return [...document.querySelectorAll(meaning)].map(one => {
            const ground = background(one.closest('svg'));
            return [one.getAttribute('class'), contrast(over(rgba(getComputedStyle(one).stroke), ground), ground)];
        })"""
    )
    assert len(seen) > 5
    assert [one for one in seen if one[1] < 3] == []


def test_light_and_dark_follow_the_reader(browser, pages):
    grounds = []
    for dark in (False, True):
        browser.show(pages["binary"], dark=dark)
        grounds.append(browser.ask("return getComputedStyle(document.body).backgroundColor"))
    assert grounds == ["rgb(255, 255, 255)", "rgb(18, 22, 27)"]


def test_paper_is_white_for_readers_of_the_dark_too(browser, pages):
    browser.show(pages["binary"], dark=True, media="print")
    assert browser.ask("return getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"


@pytest.mark.parametrize("kind", ["binary", "hostile"])
def test_it_prints(browser, pages, kind):
    browser.show(pages[kind])
    paper = base64.b64decode(browser.cdp("Page.printToPDF", printBackground=True, preferCSSPageSize=True)["data"])
    assert paper.startswith(b"%PDF-")
    assert 2 <= paper.count(b"/Type /Page\n") + paper.count(b"/Type /Page/") <= 12


@pytest.mark.parametrize("kind", KINDS)
def test_a_screen_reader_is_told_what_each_picture_table_and_region_is(browser, pages, kind):
    browser.show(pages[kind])
    tree = browser.tree()
    pictures = [one for one in tree if one["role"] == "image"]
    assert pictures
    assert [one for one in pictures if not (one["name"] and one["description"])] == []
    named = [one for one in tree if one["role"] in ("table", "region", "figure")]
    assert [one for one in named if not one["name"]] == []
    assert [one["role"] for one in tree if one["role"] in ("banner", "main", "contentinfo")] == ["banner", "main", "contentinfo"]  # fmt: skip


def test_results_are_told_in_words_and_not_by_colour_alone(browser, pages):
    browser.show(pages["binary"])
    results = browser.ask("return [...document.querySelectorAll('.metrics .result')].map(one => one.innerText.trim())")
    assert results.count("violated") == 2
    assert set(results) == {"violated", "within", "no constraint"}


def test_the_keyboard_opens_the_numbers_of_a_chart(browser, pages):
    from selenium.webdriver.common.keys import Keys

    browser.show(pages["binary"])
    for _ in range(60):
        browser.driver.switch_to.active_element.send_keys(Keys.TAB)
        if browser.ask("return document.activeElement.matches('summary')"):
            break
    assert browser.ask("return getComputedStyle(document.activeElement).outlineStyle") == "solid"
    browser.driver.switch_to.active_element.send_keys(Keys.ENTER)
    assert browser.ask("return document.activeElement.parentElement.open")


def test_what_scrolls_can_be_reached_by_keyboard(browser, pages):
    browser.show(pages["multiclass"], PHONE)
    regions = browser.ask(
        "return [...document.querySelectorAll('.scroll')].filter(one => one.scrollWidth > one.clientWidth)"
        ".map(one => [one.tabIndex, one.getAttribute('aria-label')])"
    )
    assert regions
    assert all(index == 0 and name for index, name in regions)
