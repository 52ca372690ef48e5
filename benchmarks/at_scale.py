"""What many objects and many monitors cost, by the piece: ``python benchmarks/at_scale.py``.

Three parts, each against the stand-in of `s3_server` in a process of its own, so that what is measured is this side alone:

- ``objects``: processor time of one read, by boto3 and by obstore; a whole run over many small objects on S3.
- ``parsing``: DAG files with a monitor each, as Airflow's DagBag and its DAG processor parse them, and one file that
  makes as many DAGs in a loop.
- ``waiting``: as many triggers as there are monitors in one event loop: memory, requests and processor time of a look.

The unit costs go to ``at_scale.json``: docs/ compute with them. Times are processor time, which a busy machine changes
little; each part says how often it was measured.
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
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from generate import generate
from measure import Row, environment, machine, once, tell, work_folder

HERE = Path(__file__).parent
PARTS = ("objects", "parsing", "waiting")
RECORDS_PER_OBJECT = 72  # about 50 KB
READERS = 8
LABEL_FILES = 192  # an hour folder each, of the eight days that a window of a week and its labels take

DAG = """\
from datetime import datetime
from airflow_mq_provider import EndpointInput, ModelQualityMonitor, model_quality_dag
{loop}monitor = ModelQualityMonitor(
{indent}    name=f"model-{{number}}", problem_type="BinaryClassification",
{indent}    endpoint_input=EndpointInput(
{indent}        endpoint_name=f"model-{{number}}", data_captured_destination_uri="s3://bucket/capture",
{indent}        probability_attribute="0", start_time_offset="-P8D", end_time_offset="-P1D"),
{indent}    ground_truth_uri=f"s3://bucket/labels/{{number}}", output_uri="s3://bucket/reports")
{indent}globals()[f"dag_{{number}}"] = model_quality_dag(
{indent}    monitor, schedule="0 * * * *", start_date=datetime(2026, 11, 1), wait_for_captures="PT1H", wait_for_ground_truth="P7D")
"""


def main() -> int:
    """Measure the parts that are asked for, print them, write them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("part", nargs="*", help=f"of {', '.join(PARTS)} (default: all)")
    parser.add_argument("--objects", type=int, default=20_000)
    parser.add_argument("--monitors", type=int, default=1_000)
    parser.add_argument("--processed", type=int, default=40, help="DAG files for the DAG processor, a process each")
    parser.add_argument("--results", type=Path, default=HERE / "at_scale.json")
    given = parser.parse_args()
    if unknown := set(given.part) - set(PARTS):
        parser.error(f"there is no part {', '.join(unknown)}")
    results = json.loads(given.results.read_text()) if given.results.is_file() else {}
    work = Path(tempfile.mkdtemp(prefix="model-quality-at-scale-", dir=work_folder()))
    os.environ |= {
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "eu-central-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AIRFLOW_HOME": str(work / "airflow"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    }
    try:
        results["machine"] = machine("apache-airflow", "boto3", "obstore")
        for part in given.part or PARTS:
            results[part] = {"objects": objects, "parsing": parsing, "waiting": waiting}[part](work, given)
            tell(json.dumps(results[part], indent=2))
    finally:
        shutil.rmtree(work, ignore_errors=True)
    given.results.write_text(json.dumps(results, indent=2) + "\n")
    return 0


@contextmanager
def stand_in(root: Path) -> Iterator[str]:
    """The address of the stand-in, which serves a folder from a process of its own."""
    command = [sys.executable, str(HERE / "s3_server.py"), str(root)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


def requests(endpoint: str) -> dict[str, int]:
    """What the stand-in was asked for since it was asked last, by operation."""
    with urllib.request.urlopen(f"{endpoint}/-/requests") as answer:  # noqa: S310 - the loopback interface
        found: dict[str, int] = json.loads(answer.read())
    return found


# --- objects


def objects(work: Path, given: argparse.Namespace) -> dict[str, Any]:
    """Reads by the piece, and a whole run."""
    bucket = work / "objects" / "bucket"
    data = generate(bucket, records=given.objects * RECORDS_PER_OBJECT, hours=168, records_per_file=RECORDS_PER_OBJECT)
    keys = [path.relative_to(bucket).as_posix() for path in sorted((bucket / "capture").rglob("*.jsonl"))]
    sample = keys[:: max(1, len(keys) // 2000)]
    with stand_in(bucket.parent) as endpoint:
        reads = {client: [read_cost(client, endpoint, sample) for _ in range(3)] for client in ("boto3", "obstore")}
        requests(endpoint)
        row = Row("run", lambda folder: run_on_s3(folder, data.monitor, data.root, data.at), lambda _: None, 2)
        row.environment = {"AWS_ENDPOINT_URL": endpoint}
        answers: list[dict[str, Any]] = []
        row.check = lambda folder: answers.append(json.loads((folder / "answer").read_text()))
        once(row, work, watch=False)
        asked = requests(endpoint)
        once(row, work, watch=True)
    for block, wanted in data.counts.items():
        if any(answer[block][name] != wanted[name] for answer in answers for name in wanted):
            raise SystemExit(f"{block} of the run on S3 is wrong: {answers[0][block]}, expected {wanted}")
    shutil.rmtree(work / "objects")
    return {
        "objects": data.files,
        "bytes": data.size,
        "read_cpu_ms": {client: round(1000 * statistics.median(costs), 3) for client, costs in reads.items()},
        "read_cpu_ms_all": {client: [round(1000 * cost, 3) for cost in costs] for client, costs in reads.items()},
        "run_cpu_s": round(row.cpu[0], 2),
        "run_wall_s": round(row.wall[0], 2),
        "run_peak_pss_mb": round(row.pss[0], 1),
        "run_requests": asked,
    }


def read_cost(client: str, endpoint: str, keys: list[str]) -> float:
    """Seconds of CPU that a worker takes for a read, in a forked child."""
    from airflow_mq_provider.s3_reads import will_not_fork
    from airflow_mq_provider.storage import Storage

    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.environ["AWS_ENDPOINT_URL"] = endpoint
            if client == "obstore":
                will_not_fork()
            storage = Storage()
            storage.read(f"s3://bucket/{keys[0]}")
            if ("obstore" in sys.modules) is not (client == "obstore"):
                os._exit(1)
            started = time.process_time()
            with ThreadPoolExecutor(READERS) as pool:
                for _ in pool.map(storage.read, (f"s3://bucket/{key}" for key in keys)):
                    pass
            os.write(writer, str((time.process_time() - started) / len(keys)).encode())
            os._exit(0)
        finally:
            os._exit(1)
    os.close(writer)
    with os.fdopen(reader) as answer:
        told = answer.read()
    if os.waitpid(child, 0)[1]:
        raise SystemExit(f"reading by {client} failed")
    return float(told)


def run_on_s3(folder: Path, monitor: dict[str, Any], root: Path, at: datetime) -> list[str]:
    """The command of a run that reads S3 and reports to a local folder."""
    there = json.loads(json.dumps(monitor).replace(str(root), "s3://bucket"))
    path = folder / "monitor.json"
    path.write_text(json.dumps(there | {"output_uri": str(folder / "reports"), "constraints_uri": None}))
    command = [str(Path(sys.executable).with_name("model-quality")), "run", str(path), "--json"]
    return [*command, "--at", f"{at:%Y-%m-%dT%H:%M:%SZ}"]


# --- parsing


def parsing(work: Path, given: argparse.Namespace) -> dict[str, Any]:
    """Many files with a monitor each, and one file with as many."""
    many, one, few = work / "many", work / "one", work / "few"
    for folder, numbers in ((many, range(given.monitors)), (few, range(given.processed))):
        folder.mkdir()
        for number in numbers:
            (folder / f"model_{number}.py").write_text(f"number = {number}\n" + DAG.format(loop="", indent=""))
    one.mkdir()
    loop = f"for number in range({given.monitors}):\n    "
    (one / "models.py").write_text(DAG.format(loop=loop, indent="    "))
    airflow = [str(Path(sys.executable).with_name("airflow"))]
    subprocess.run([*airflow, "db", "migrate"], env=environment(work), check=True, capture_output=True)
    bags = {name: bag(work, folder) for name, folder in (("many_files", many), ("one_file", one))}
    return {
        "monitors": given.monitors,
        "first_file_cpu_s": bags["many_files"]["first"],
        "file_cpu_ms": round(1000 * bags["many_files"]["rest"] / (given.monitors - 1), 2),
        "one_file_of_all_cpu_s": bags["one_file"]["first"],
        "processor_file_cpu_s": processed(work, few, given.processed),
    }


BAG = """
import json, sys, time
from pathlib import Path
from airflow.dag_processing.dagbag import DagBag
import airflow.sdk
files = sorted(Path(sys.argv[1]).glob("*.py"))
took = []
bag = DagBag(dag_folder="/nowhere", collect_dags=False)
for path in files:
    started = time.process_time()
    bag.process_file(str(path))
    took.append(time.process_time() - started)
assert not bag.import_errors, bag.import_errors
print(json.dumps({"dags": len(bag.dags), "first": round(took[0], 3), "rest": round(sum(took[1:]), 3)}))
"""


def bag(work: Path, folder: Path) -> dict[str, Any]:
    """Seconds of CPU of the first file, which loads what all need, and of the others, in one process."""
    command = [sys.executable, "-W", "ignore", "-c", BAG, str(folder)]
    told = subprocess.run(command, env=environment(work), check=True, stdout=subprocess.PIPE, text=True).stdout
    found: dict[str, Any] = json.loads(told.splitlines()[-1])
    return found


def processed(work: Path, folder: Path, files: int) -> float:
    """Seconds of CPU that the DAG processor takes for a file: a process for each, what its own start costs left out."""

    def cpu(dags: Path) -> float:
        bundles = [
            {
                "name": dags.name,
                "classpath": "airflow.dag_processing.bundles.local.LocalDagBundle",
                "kwargs": {"path": str(dags)},
            }
        ]
        settings = {"AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST": json.dumps(bundles)}
        command = [str(Path(sys.executable).with_name("airflow")), "dag-processor", "--num-runs", "1"]
        row = Row(dags.name, lambda _: command, lambda _: None, 1, environment=settings)
        once(row, work, watch=False)
        return row.cpu[0]

    single = work / "single"
    single.mkdir()
    shutil.copy(folder / "model_0.py", single)
    return round((cpu(folder) - cpu(single)) / (files - 1), 3)


# --- waiting


def waiting(work: Path, given: argparse.Namespace) -> dict[str, Any]:
    """Triggers of as many monitors that wait for captures and for labels, each in a process of its own.

    Each monitor has labels of its own, so no listing is shared; then the runs of one monitor that wait at once, which share.
    """
    bucket = work / "waiting" / "bucket"
    start = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=LABEL_FILES)
    for number in range(LABEL_FILES):
        folder = bucket / "labels" / f"{start + timedelta(hours=number):%Y/%m/%d/%H}"
        folder.mkdir(parents=True)
        (folder / "labels.jsonl").write_bytes(b"{}\n")
    for number in range(given.monitors):
        (bucket / f"labels-{number}").symlink_to(bucket / "labels")
    found: dict[str, Any] = {"monitors": given.monitors, "label_objects": LABEL_FILES}
    with stand_in(bucket.parent) as endpoint:
        for name, kind, shared in (("captures", "capture", 0), ("labels", "labels", 0), ("labels_shared", "labels", 1)):
            command = [sys.executable, "-W", "ignore", str(HERE / "at_scale_triggers.py"), kind, endpoint]
            command += [str(given.monitors), f"{start:%Y/%m/%d/%H}", str(shared)]
            told = subprocess.run(command, env=environment(work), check=True, stdout=subprocess.PIPE, text=True).stdout
            found[name] = json.loads(told.splitlines()[-1])
    shutil.rmtree(work / "waiting")
    return found


if __name__ == "__main__":
    sys.exit(main())
