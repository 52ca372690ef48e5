"""A run may be stopped anywhere: nothing is left that a reader could take for a result, and run again it gives the same."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from airflow_mq_provider.storage import Storage
from benchmarks.generate import generate
from tests.killers import state_of_process
from tests.world import StoppedError, StoppingStorage, World, capture_line, label_line


def timeless(world: World) -> dict[str, Any]:
    found: dict[str, Any] = world.written()
    report = json.loads(found["report.json"])
    report.pop("timings")
    return {**found, "report.json": report}


@pytest.mark.parametrize("engine", ["local", "reference"])
@pytest.mark.parametrize("after", [False, True])
def test_stopped_at_any_change_no_report_stands_and_the_next_run_gives_the_same(
    tmp_path: Path, engine: str, after: bool
) -> None:
    world = World(Storage(), str(tmp_path), engine, {"keep_merged": "jsonl"})
    world.captures(capture_line("a", "0.9"), capture_line("b", "0.1"), b"broken")
    world.labels(label_line("a", "1"), label_line("b", "1"))
    world.settings["min_records"] = 2
    world.run()  # what stood there was of another definition, and its successor names it
    world.settings["min_records"] = 1
    world.run()
    expected = timeless(world)
    stops = 0
    while True:
        world.settings["min_records"] = 2
        world.storage = Storage()
        world.run()
        former = json.loads(world.read("report.json"))
        world.settings["min_records"] = 1
        world.storage = StoppingStorage(stops, after)
        try:
            world.run()
        except StoppedError:
            world.storage = Storage()
            written = world.written()
            if "report.json" in written and json.loads(written["report.json"]) != former:
                # only what is swept up after the report can still be missing
                assert {**json.loads(written["report.json"]), "timings": None} == {
                    **expected["report.json"],
                    "timings": None,
                }
            world.run()
            again = timeless(world)
            again["report.json"].setdefault("replaces", expected["report.json"]["replaces"])
            assert again == expected
            stops += 1
        else:
            break
    assert stops > 8


def test_killed_while_it_reads_a_run_leaves_no_report_and_gives_the_same_bytes_later(tmp_path: Path) -> None:
    truth = generate(tmp_path / "data", records=60_000, hours=6, seed=5, settings={"keep_merged": "jsonl"})
    monitor = str(tmp_path / "data" / "monitor.json")
    command = [str(Path(sys.executable).parent / "model-quality"), "run", monitor, "--json"]
    command += ["--at", truth.at.isoformat(), "--interval-start", (truth.at - timedelta(hours=1)).isoformat()]
    output = Path(truth.monitor["output_uri"])

    def bytes_of() -> dict[str, Any]:
        files = {str(path.relative_to(output)): path.read_bytes() for path in output.rglob("*") if path.is_file()}
        (name,) = [name for name in files if name.endswith("report.json")]
        report = json.loads(files[name])
        report.pop("timings")
        return {**files, name: report}

    subprocess.run([*command, "--workers", "2"], check=True, stdout=subprocess.DEVNULL)
    expected = bytes_of()

    def parts() -> list[str]:
        return [
            name
            for _, _, names in os.walk(output)
            for name in names
            if name.endswith(".jsonl") and name != "rejected.jsonl"
        ]

    for wanted in (1, 2, 4):
        shutil.rmtree(output)
        process = subprocess.Popen(
            [*command, "--workers", "2"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        deadline = time.monotonic() + 60
        while len(parts()) < wanted and time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.002)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert not list(output.rglob("report.json"))
    subprocess.run([*command, "--workers", "1"], check=True, stdout=subprocess.DEVNULL)
    found = bytes_of()
    assert sorted(found) == sorted(expected)
    assert [name for name in found if found[name] != expected[name]] == []


def test_workers_of_a_killed_run_end_with_it(tmp_path: Path) -> None:
    """Even those that are stopped, and could not look whether it is there still: they would go on where the next run writes."""
    truth = generate(tmp_path / "data", records=60_000, hours=6, seed=5)
    command = [str(Path(sys.executable).parent / "model-quality"), "run", str(tmp_path / "data" / "monitor.json")]
    command += ["--at", truth.at.isoformat(), "--workers", "2"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        deadline = time.monotonic() + 60
        workers: list[str] = []
        while len(workers) < 2 and process.poll() is None and time.monotonic() < deadline:
            workers = children.read_text().split()
        assert len(workers) == 2
        for worker in workers:
            # the thread that looks after the parent is the last that a worker starts before its work
            while len(os.listdir(f"/proc/{worker}/task")) < 2 and time.monotonic() < deadline:
                pass
            os.kill(int(worker), signal.SIGSTOP)
        process.kill()
        process.wait()
        while any(alive(worker) for worker in workers) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert [worker for worker in workers if alive(worker)] == []
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def alive(worker: str) -> bool:
    """Whether a process runs still; one that has ended and waits to be collected does not."""
    try:
        return state_of_process(int(worker)) != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
