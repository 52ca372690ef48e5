"""``python tools/ui_pictures.py``: docs/images/ui-*.png, the pages in Airflow as docs/ui.md shows them.

Makes the demo in a folder of its own, serves it as `make ui` does, and has Chromium (with chromedriver, on the PATH) take the
pictures, in light. A folder of a demo that has been judged may be given, to save the minute.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import chromium
import demo_on_airflow
import ui

PICTURES = Path(__file__).parents[1] / "docs" / "images"
MONITOR = "diabetes-model-quality"
WIDTH, HEIGHT = 1360, 850


def pages(address: str, run: str) -> dict[str, str]:
    """The pages to take, by the name of their picture."""
    return {
        "ui-monitors": f"{address}/plugin/model-quality",
        "ui-monitor": f"{address}/model-quality/monitor?name={MONITOR}",
        "ui-run": f"{address}{run}/plugin/model-quality-run",
    }


def last_run(driver: Any, address: str) -> str:
    """The path of the monitor's newest DAG run, as its page links it."""
    driver.get(f"{address}/model-quality/monitor?name={MONITOR}")
    link = driver.execute_script("return document.querySelector('.pairs a[data-airflow]').getAttribute('href')")
    return str(link).removeprefix("..")


def taken(address: str, profile: str) -> dict[str, bytes]:
    """Each picture, as PNG."""
    with chromium.light_screen(profile, WIDTH, HEIGHT) as driver:
        driver.get(address)  # which gives the cookie
        time.sleep(3)
        pictures = {}
        for name, page in pages(address, last_run(driver, address)).items():
            driver.get(page)
            time.sleep(5)  # Airflow's pages build themselves
            pictures[name] = chromium.taken(driver)
        return pictures


def main(arguments: list[str]) -> int:
    """Take the pictures and say where they are."""
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as profile:
        demo = Path(arguments[0]).resolve() if arguments else Path(folder)
        if not arguments:
            script = str(Path(demo_on_airflow.__file__))
            subprocess.run([sys.executable, script, str(demo)], stdout=subprocess.DEVNULL, check=True)
        with socket.socket() as listening:
            listening.bind(("127.0.0.1", 0))
            port: int = listening.getsockname()[1]
        with ui.served(demo, port) as address:
            pictures = taken(address, profile)
    for name, picture in pictures.items():
        path = PICTURES / f"{name}.png"
        path.write_bytes(picture)
        sys.stdout.write(f"{path}: {len(picture):,} bytes\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
