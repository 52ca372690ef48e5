"""``python tools/report_picture.py``: docs/images/report.png, the README's picture of a report.

Makes the demo's data in a folder of its own, judges the first day after its input column changed, and has Chromium (with
chromedriver, on the PATH) take the picture, light, and a quarter larger than life for sharper text.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import chromium

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
    with chromium.light_screen(str(profile), WIDTH, HEIGHT, SCALE) as driver:
        driver.get(page.as_uri())
        return chromium.taken(driver)


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
