"""``python tools/report_picture.py``: docs/images/report.png, the README's picture of a report.

Makes the demo's data in a folder of its own, judges the first day after its input column changed, and has Chromium (with
chromedriver, on the PATH) take the picture, light, and a quarter larger than life for sharper text.
"""

from __future__ import annotations

import base64
import shutil
import sys
import tempfile
from pathlib import Path

from selenium import webdriver

from airflow_mq_provider import demo
from airflow_mq_provider.monitor import ModelQualityMonitor
from airflow_mq_provider.report_folder import PAGE
from airflow_mq_provider.run import run

PICTURE = Path(__file__).parents[1] / "docs" / "images" / "report.png"
MONITOR, DAY = "diabetes-model-quality", 4
WIDTH, HEIGHT, SCALE = 1120, 970, 1.25


def report(folder: Path) -> Path:
    """A report of the demo's model that got worse."""
    demo.make(folder)
    monitor = ModelQualityMonitor.from_file(folder / "monitors" / MONITOR / "monitor.yaml")
    window = demo.windows()[DAY]
    run(monitor, window)
    return Path(monitor.report_prefix(window)) / PAGE


def picture(page: Path, profile: Path) -> bytes:
    """The first screen of a page, as PNG."""
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or "chromium"
    for flag in ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--user-data-dir={profile}"):
        options.add_argument(flag)
    driver = webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver") or "chromedriver"))
    try:
        screen = {"width": WIDTH, "height": HEIGHT, "deviceScaleFactor": SCALE, "mobile": False}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
        light = [{"name": "prefers-color-scheme", "value": "light"}]
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": light})
        driver.get(page.as_uri())
        return base64.b64decode(driver.execute_cdp_cmd("Page.captureScreenshot", {"format": "png"})["data"])
    finally:
        driver.quit()


def main() -> int:
    """Take the picture and say where it is."""
    with tempfile.TemporaryDirectory() as folder:
        taken = picture(report(Path(folder) / "demo"), Path(folder) / "profile")
    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    PICTURE.write_bytes(taken)
    sys.stdout.write(f"{PICTURE}: {len(taken):,} bytes\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
