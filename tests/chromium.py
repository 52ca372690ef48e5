"""A real browser for tests of pages: Debian's Chromium, without a screen, that keeps a log of what it asks for and complains of."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip


@contextmanager
def started(profile: Path, *flags: str) -> Iterator[Any]:
    """A driver of a Chromium of its own, ended with the block. Where there is none, tests skip, and fail in CI."""
    programs = shutil.which("chromium"), shutil.which("chromedriver")
    if None in programs:
        message = "needs Chromium: apt-get install chromium chromium-driver"
        if "CI" in os.environ:
            pytest.fail(message)
        pytest.skip(message)
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = str(programs[0])
    for flag in (*FLAGS, *flags, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(str(programs[1])))
    try:
        yield driver
    finally:
        driver.quit()
