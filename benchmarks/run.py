"""Measure the whole job against copying the same bytes, what one would write by hand, and Evidently: ``make bench``.

Every row is a process of its own, from its start to its end, measured alternately with the others in one run, so that a
busy machine slows all alike; slow rows take part in fewer rounds. Wall and CPU are medians. Data and results lie in
memory (``/dev/shm`` where there is one): figures are CPU and memory, not disk. A result that is not the generator's truth
ends the benchmark: a fast wrong answer is none.

It writes ``results.json``, and from that README's figures and the chart (`publish`). With another number of records, or
with rows left out, it only prints, unless ``--results`` says where to write: README's figures are of one whole run.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import publish
from dag_import import beyond_amazon
from generate import ENDPOINT, START, Truth, generate
from measure import Row, environment, interleaved, machine, once, tell, work_folder

HERE = Path(__file__).parent
RECORDS = 1_000_000
LARGE = 5_000_000
SMALL = 200
EVIDENTLY = HERE / "evidently"
HOUR = timedelta(hours=1)
Check = Callable[[Path], None]


def main() -> int:
    """Measure, print the tables, write ``results.json`` and what README shows of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--records", type=int, default=RECORDS)
    parser.add_argument("--large", action="store_true", help=f"copy and run of {LARGE:,} records too: 5 GB of memory")
    parser.add_argument("--rounds", type=int, default=5, help="of each time (default: %(default)s)")
    parser.add_argument("--slow-rounds", type=int, default=3, help="of what takes long (default: %(default)s)")
    parser.add_argument("--sliding", type=int, default=1_000_000, help="records of the seven days of a sliding window")
    parser.add_argument("--windows", type=int, default=168, help="that a backfill judges; 168 is a week")
    parser.add_argument("--seed", type=int, default=20261101)
    parser.add_argument("--workers", type=int, help="processes of the local engine (default: all cores)")
    parser.add_argument("--without-evidently", action="store_true", help="do not set up its environment")
    parser.add_argument("--results", type=Path, help="where to write the figures (see above)")
    given = parser.parse_args()
    started = time.monotonic()
    work = Path(tempfile.mkdtemp(prefix="model-quality-bench-", dir=work_folder()))
    try:
        results = measure(work, given)
        results["elapsed_s"] = round(time.monotonic() - started)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    print(table(results))
    whole = given.records == RECORDS and not results["left_out"]
    if given.results or whole:
        (given.results or publish.RESULTS).write_text(json.dumps(results, indent=2) + "\n")
    if whole and not given.results:
        publish.main()
    return 0


def measure(work: Path, given: argparse.Namespace) -> dict[str, Any]:
    """Generate the data, run every row in every round, and gather the figures."""
    left_out: dict[str, str] = {}
    evidently = None if given.without_evidently else evidently_python(left_out)
    if given.without_evidently:
        left_out["Evidently"] = "--without-evidently"
    data = generated(work / "data", given.records, given.seed)
    small = generated(work / "small", SMALL, given.seed, hours=4)

    def runs(truth: Truth, records: int, rounds: int) -> Row:
        return Row(run_name(records), lambda folder: judge(truth, folder, given.workers), judged(truth), rounds)

    rows = [floor("read", data, given.rounds), floor("copy", data, given.rounds), floor("parse", data, given.rounds)]
    rows += [runs(data, given.records, given.rounds), runs(small, SMALL, given.rounds)]
    rows += [Row("python -c pass", lambda _: [sys.executable, "-c", "pass"], lambda _: None, given.rounds)]
    rows += [script("by hand", sys.executable, HERE / "by_hand.py", data, small, given.slow_rounds)]
    if evidently:
        rows.append(script("Evidently", str(evidently), EVIDENTLY / "report.py", data, small, given.slow_rounds))
    interleaved(rows, work, memory_rounds=3)
    walls = {row.name: statistics.median(row.wall) for row in rows}
    mine, copy = walls[run_name(given.records)], walls["copy"]
    shutil.rmtree(data.root)
    results: dict[str, Any] = {
        "machine": machine("msgspec", "numpy", "scikit-learn")
        | ({"evidently": evidently_version()} if evidently else {}),
        "records": given.records,
        "files": data.files,
        "bytes": data.size,
        "rounds": given.rounds,
        "seed": given.seed,
        "load_average": round(os.getloadavg()[0], 2),
        "rows": {row.name: row.figures() for row in rows},
        "times_copy": {
            name: round(wall / copy, 2)
            for name, wall in walls.items()
            if name not in (run_name(SMALL), "python -c pass")
        },
        "times_run": {name: round(walls[name] / mine, 1) for name in ("by hand", "Evidently") if name in walls},
        "dag_import_cpu_s": beyond_amazon(given.rounds, environment(work) | {"AIRFLOW_HOME": str(work / "airflow")}),
        "left_out": left_out,
    }
    small_cpu = results["rows"][run_name(SMALL)]["cpu_s"]
    results["sliding"] = sliding(
        work, given.sliding, given.windows, given.seed, given.workers, small_cpu, given.slow_rounds
    )
    if given.large:
        large = generated(work / "large", LARGE, given.seed)
        rows = [floor("copy", large, given.slow_rounds), runs(large, LARGE, given.slow_rounds)]
        interleaved(rows, work, memory_rounds=1)
        results["large"] = {
            "records": LARGE,
            "files": large.files,
            "bytes": large.size,
            "rows": {row.name: row.figures() for row in rows},
            "times_copy": round(statistics.median(rows[1].wall) / statistics.median(rows[0].wall), 2),
        }
    return results


def generated(root: Path, records: int, seed: int, hours: int = 168) -> Truth:
    """Data whose merged records are kept as SageMaker keeps them."""
    started = time.perf_counter()
    truth = generate(root, records=records, seed=seed, hours=hours, settings={"keep_merged": "jsonl"})
    took = time.perf_counter() - started
    tell(f"{records:,} records: {truth.files:,} files, {truth.size / 1e6:,.0f} MB generated in {took:.0f} s")
    return truth


# --- rows


def run_name(records: int) -> str:
    """The name of the row of a run."""
    return f"model-quality run, {records:,} records"


def floor(name: str, truth: Truth, rounds: int) -> Row:
    """What `floors` does under a name."""

    def command(folder: Path) -> list[str]:
        return [sys.executable, str(HERE / "floors.py"), name, str(truth.root), str(folder / name)]

    def check(folder: Path) -> None:
        made = folder / name
        size = sum(path.stat().st_size for path in (truth.root / "capture").rglob("*") if path.is_file())
        lines = truth.counts["capture"]["lines"] + truth.counts["ground_truth"]["lines"]
        wrong = {
            "copy": lambda: made.stat().st_size != size,
            "read": lambda: int(made.read_text()) < size,
            "parse": lambda: int(made.read_text()) < 0.99 * lines,
        }
        if wrong[name]():
            raise SystemExit(f"the floor {name!r} did not do all of its work")

    return Row(name, command, check, rounds)


def judge(truth: Truth, folder: Path, workers: int | None, at: str | None = None, **changes: Any) -> list[str]:
    """The command line of a run that reports below `folder`; its monitor is written there."""
    monitor = folder / "monitor.json"
    monitor.write_text(json.dumps(truth.monitor | {"output_uri": str(folder / "reports")} | changes))
    # the command that users call, from the environment that runs this
    command = [str(Path(sys.executable).with_name("model-quality")), "run", str(monitor)]
    command += ["--at", at or f"{truth.at:%Y-%m-%dT%H:%M:%SZ}", "--json"]
    return command + (["--workers", str(workers)] if workers else [])


def judged(truth: Truth) -> Check:
    """The check of a run: its counters and its confusion matrix are the generator's."""

    def check(folder: Path) -> None:
        report = json.loads((folder / "answer").read_text())
        for block, wanted in truth.counts.items():
            found = {name: report[block][name] for name in wanted}
            if found != wanted:
                raise SystemExit(f"{block} is wrong: expected {wanted}, came {found}")
        if report["metrics"]["confusion_matrix"] != truth.confusion:
            raise SystemExit(f"the confusion matrix is wrong: {report['metrics']['confusion_matrix']}")

    return check


def script(name: str, python: str, path: Path, truth: Truth, small: Truth, rounds: int) -> Row:
    """A script that is told where captures and labels lie, and of which window; it is warmed on few records."""

    def row(of: Truth) -> Row:
        def command(folder: Path) -> list[str]:
            places = [of.root / "capture" / ENDPOINT / "AllTraffic", of.root / "labels"]
            times = [time.isoformat() for time in (*of.window, of.at)]
            return [python, "-W", "ignore", str(path), *map(str, places), *times, str(folder / "merged")]

        return Row(name, command, merged(of, name), rounds)

    return replace(row(truth), warm=row(small))


def merged(truth: Truth, name: str) -> Check:
    """The check of a script: as many rows as the generator's truth has, and its accuracy."""

    def check(folder: Path) -> None:
        told = json.loads((folder / "answer").read_text())
        confusion = truth.confusion or {}
        right = sum(confusion[label][label] for label in confusion) / truth.counts["merge"]["matched"]
        accuracy = {key.lower(): value for key, value in told["metrics"].items()}["accuracy"]
        if told["matched"] != truth.counts["merge"]["matched"] or abs(accuracy - right) > 1e-12:
            raise SystemExit(f"{name} is wrong: {told}; expected {truth.counts['merge']['matched']} rows, {right}")

    return check


# --- Evidently, in an environment of its own


def evidently_python(left_out: dict[str, str]) -> Path | None:
    """The interpreter of Evidently's environment, which is made where it is absent or out of date; None, and why."""
    place = HERE / "data" / "evidently"
    python, pinned, done = place / "bin" / "python", EVIDENTLY / "requirements.txt", place / "installed.txt"
    if done.is_file() and done.read_text() == pinned.read_text():
        return python
    tell("setting up an environment for Evidently")
    uv = str(Path(sys.executable).with_name("uv"))
    for command in (
        [uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(place)],
        [uv, "pip", "install", "--quiet", "--python", str(python), "-r", str(pinned)],
    ):
        came = subprocess.run(command, capture_output=True, text=True)
        if came.returncode:
            left_out["Evidently"] = f"{Path(command[0]).name} {command[1]}: {came.stderr.strip()[-500:]}"
            tell(f"Evidently is left out: {left_out['Evidently']}")
            return None
    done.write_text(pinned.read_text())
    return python


def evidently_version() -> str:
    """The version that is pinned."""
    lines = (EVIDENTLY / "requirements.txt").read_text().splitlines()
    return next(line for line in lines if line.startswith("evidently==")).removeprefix("evidently==")


# --- windows that slide


def sliding(
    work: Path, records: int, windows: int, seed: int, workers: int | None, small_cpu: float, rounds: int
) -> dict[str, Any]:
    """Windows of seven days an hour apart: the first, the next over the same output, and a backfill; CPU of each.

    The next is held against a run of the same window that found nothing prepared; a backfill against one read of all
    the data that it covers, in one process and with a process for each merge and each analysis. Backfills are of one round.
    """
    started = time.monotonic()
    data = generate(work / "sliding", records=records * (168 + windows) // 168, seed=seed, hours=168 + windows)
    first = START + timedelta(days=8)
    source = data.monitor["endpoint_input"]
    week = {"endpoint_input": source | {"start_time_offset": "-P8D", "end_time_offset": "-P1D"}}
    all_hours = {"endpoint_input": source | {"start_time_offset": f"-PT{192 + windows}H", "end_time_offset": "-P1D"}}
    answers: dict[str, Any] = {}

    def cpu(name: str, output: str, command: Callable[[Path], list[str]]) -> float:
        def keep(folder: Path) -> None:
            answers[name] = json.loads((folder / "answer").read_text())

        row = Row(name, command, keep, 1)
        (work / output).mkdir(exist_ok=True)
        once(row, work, watch=False)
        tell(f"{name}: {row.cpu[0]:.2f} s of CPU")
        return row.cpu[0]

    def run(hours: int, output: str, changes: dict[str, Any]) -> Callable[[Path], list[str]]:
        at = f"{first + hours * HOUR:%Y-%m-%dT%H:%M:%SZ}"
        return lambda folder: judge(data, folder, workers, at, output_uri=str(work / output), **changes)

    def backfill(output: str, *more: str) -> Callable[[Path], list[str]]:
        def command(folder: Path) -> list[str]:
            judge(data, folder, workers, output_uri=str(work / output), **week)
            times = [(first + HOUR).isoformat(), str(windows)]
            return [sys.executable, str(HERE / "backfill.py"), str(folder / "monitor.json"), *times, *more]

        return command

    took: dict[str, list[float]] = {"first_cpu_s": [], "next_cpu_s": [], "all_hours_cpu_s": []}
    for _ in range(rounds):
        took["first_cpu_s"].append(cpu("sliding window, first run", "slid", run(0, "slid", week)))
        took["next_cpu_s"].append(cpu("sliding window, next hour", "slid", run(1, "slid", week)))
        took["all_hours_cpu_s"].append(cpu("one run over all their hours", "all", run(windows, "all", all_hours)))
        for output in ("slid", "all"):
            shutil.rmtree(work / output)
    found = {name: statistics.median(values) for name, values in took.items()}
    for name, more in (("backfill", ()), ("backfill_apart", ("apart",))):
        found[f"{name}_cpu_s"] = cpu(name, name, backfill(name, *more))
        shutil.rmtree(work / name)
    cpu("the next hour, alone", "alone", run(1, "alone", week))
    for name in ("capture", "ground_truth", "merge", "metrics"):
        if answers["sliding window, next hour"][name] != answers["the next hour, alone"][name]:
            raise SystemExit(f"{name} of a window depends on what was judged before it")
    if answers["backfill"] != answers["backfill_apart"]:
        raise SystemExit("a backfill merges other rows with hours in memory than without")
    if answers["backfill"][0] != answers["the next hour, alone"]["merge"]["matched"]:
        raise SystemExit("a backfill merges other rows than a run")
    return {name: round(value, 3) for name, value in found.items()} | {
        "records": records,
        "windows": windows,
        "rounds": rounds,
        "next_of_first": round((found["next_cpu_s"] - small_cpu) / found["first_cpu_s"], 3),
        "backfill_times_all_hours": round(found["backfill_cpu_s"] / found["all_hours_cpu_s"], 2),
        "backfill_apart_times_all_hours": round(found["backfill_apart_cpu_s"] / found["all_hours_cpu_s"], 2),
        "elapsed_s": round(time.monotonic() - started),
    }


def table(results: dict[str, Any]) -> str:
    """The figures as tables in Markdown."""
    about = results["machine"]
    head = "| process | wall s | min – max | × copy | × run | CPU s | peak MB (PSS) | of it anonymous |"
    lines = [
        f"{results['records']:,} records in {results['files']:,} files, {results['bytes'] / 1e6:,.0f} MB; {about['cores']} cores "
        f"({about['cpu']}), Python {about['python']}; medians of {results['rounds']} rounds, fewer of what is slow",
        "",
        head,
        "|---|---|---|---|---|---|---|---|",
        *(
            line(name, row, results["times_copy"].get(name, ""), results["times_run"].get(name, ""))
            for name, row in results["rows"].items()
        ),
    ]
    if large := results.get("large"):
        lines += [
            "",
            f"{large['records']:,} records in {large['files']:,} files, {large['bytes'] / 1e6:,.0f} MB:",
            "",
            head,
        ]
        lines += ["|---|---|---|---|---|---|---|---|"]
        lines += [
            line(name, row, large["times_copy"] if name != "copy" else 1.0, "") for name, row in large["rows"].items()
        ]
    slid = results["sliding"]
    lines += [
        "",
        f"Sliding windows of seven days, {slid['records']:,} records: the first run takes {slid['first_cpu_s']:.2f} s of CPU, the next "
        f"hour's {slid['next_cpu_s']:.2f} s, that is {slid['next_of_first']:.0%} of it beyond a run of {SMALL} records. A backfill of {slid['windows']} "
        f"takes {slid['backfill_cpu_s']:.2f} s, {slid['backfill_times_all_hours']} times one run over all their hours; with a process for each merge "
        f"and each analysis {slid['backfill_apart_cpu_s']:.2f} s, {slid['backfill_apart_times_all_hours']} times.",
        "",
        f"A DAG file takes {results['dag_import_cpu_s']:.3f} s of CPU to import, after the amazon provider's bases.",
        f"Measured in {results['elapsed_s']} s, {slid['elapsed_s']} s of it on sliding windows.",
        *(f"Left out: {name}: {why}" for name, why in results["left_out"].items()),
    ]
    return "\n".join(lines)


def line(name: str, row: dict[str, float], times_copy: float | str, times_run: float | str) -> str:
    """A row of a table."""
    return (
        f"| {name} | {row['wall_s']:.2f} | {row['wall_min_s']:.2f} – {row['wall_max_s']:.2f} | {times_copy} | {times_run} "
        f"| {row['cpu_s']:.2f} | {row['peak_pss_mb']:.0f} | {row['peak_anonymous_mb']:.0f} |"
    )


if __name__ == "__main__":
    sys.exit(main())
