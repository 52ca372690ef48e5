"""What takes the pictures of the docs: a Chromium (with chromedriver, on the PATH) without a screen, in light."""

from __future__ import annotations

import base64
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from selenium import webdriver


@contextmanager
def light_screen(profile: str, width: int, height: int, scale: float = 1) -> Iterator[Any]:
    """A driver whose screen has that size, in CSS pixels, ended with the block; `profile` is a folder of its own."""
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or "chromium"
    for flag in ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--user-data-dir={profile}"):
        options.add_argument(flag)
    driver = webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver") or "chromedriver"))
    try:
        screen = {"width": width, "height": height, "deviceScaleFactor": scale, "mobile": False}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
        light = [{"name": "prefers-color-scheme", "value": "light"}]
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": light})
        yield driver
    finally:
        driver.quit()


def taken(driver: Any) -> bytes:
    """What the screen shows, as PNG."""
    return base64.b64decode(driver.execute_cdp_cmd("Page.captureScreenshot", {"format": "png"})["data"])
