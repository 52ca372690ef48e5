"""The job that a cluster is given: its arguments say all, and its result is that of a merge in the worker."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from importlib.metadata import requires, version
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from airflow_mq_provider import __version__, run, spark_job
from airflow_mq_provider.engines import ENGINES
from airflow_mq_provider.exceptions import DocumentError, InputError, ModelQualityError, MonitorError
from airflow_mq_provider.monitor import EndpointInput, ModelQualityMonitor
from airflow_mq_provider.spark_job import Job, arguments_of, command_of, handed_over, main, make_way
from airflow_mq_provider.storage import Storage, join
from airflow_mq_provider.window import AsOf, Window, ground_truth_as_of
from tests.loopback import SPARK
from tests.spark_world import run_entry
from tests.world import T, World, capture_line, label_line

DIFFERS = {"engine", "versions", "timings"}


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Three hundred labelled captures, one line that is none, and a constraint."""
    return filled(World(Storage(), str(tmp_path / "root"), "local"))


def filled(world: World) -> World:
    world.captures(*[capture_line(f"id{n}", f"0.{n % 10}") for n in range(300)], b"no record")
    world.labels(*[label_line(f"id{n}", str(int(n % 10 > 4 or n % 7 == 0))) for n in range(290)])
    limit = {"recall": {"threshold": 0.9, "comparison_operator": "LessThanThreshold"}}
    world.put("constraints.json", json.dumps({"binary_classification_constraints": limit}).encode())
    world.settings["constraints_uri"] = join(world.root, "constraints.json")
    return world


def job_of(world: World, **changes: Any) -> Job:
    window = world.window()
    as_of = ground_truth_as_of("schedule", window)
    return Job(**{"monitor": world.monitor(), "window": window, "as_of": as_of, "engine": "local", **changes})


def comparable(written: dict[str, bytes]) -> dict[str, Any]:
    """What was written, but for what may differ between two engines."""
    found: dict[str, Any] = dict(written)
    found["report.json"] = {
        name: value for name, value in json.loads(written["report.json"]).items() if name not in DIFFERS
    }
    return found


def read_back(command: list[str]) -> Job:
    return spark_job._job_of(spark_job._parser().parse_args(command))


# --- arguments


TIMES = st.integers(10**9, 4 * 10**9).map(lambda seconds: datetime.fromtimestamp(seconds, UTC))


@given(
    start=TIMES,
    length=st.timedeltas(timedelta(seconds=1), timedelta(days=40)).map(
        lambda d: timedelta(seconds=d // timedelta(seconds=1))
    ),
    source=st.sampled_from(["params", "data_interval", "schedule", "run_after", "command_line"]),
    as_of=st.builds(AsOf, TIMES, st.sampled_from(["schedule", "now", "time", "sensor"])),
    label=st.text(st.characters(blacklist_categories=("Cs", "Cc", "Zs")), min_size=1, max_size=9).filter(str.strip),
    allow=st.booleans(),
    owner=st.none() | st.just("123456789012"),
)
def test_what_is_asked_for_is_what_the_cluster_understands(
    start: datetime, length: timedelta, source: str, as_of: AsOf, label: str, allow: bool, owner: str | None
) -> None:
    monitor = ModelQualityMonitor(
        name="churn",
        problem_type="MulticlassClassification",
        endpoint_input=EndpointInput(
            endpoint_name="churn",
            data_captured_destination_uri="s3://bucket/capture",
            inference_attribute="$.a.{b: {c: d}}",
        ),
        ground_truth_uri="s3://bucket/labels",
        ground_truth_attribute=f'"{label}"' if '"' not in label and "\\" not in label else "label",
        output_uri="s3://bucket/reports",
    )
    window = Window(start, start + length, start + length, source)
    job = Job(monitor, window, as_of, allow_scripts=allow, expected_bucket_owner=owner)
    assert read_back(command_of(job)) == job


def test_no_shell_and_no_resource_manager_can_change_an_argument(world: World) -> None:
    world.settings["endpoint"] = {"probability_attribute": "$.a.{b: {c: 'ü'}}"}
    for value in arguments_of(job_of(world)).values():
        assert value.isascii()
        assert not re.search(r"\{\{|\}\}|[$`'!%\n]", value)


def test_the_environment_of_sagemaker_s_containers_stays_out_of_the_arguments(world: World) -> None:
    world.settings["sagemaker"] = {"environment": {"TOKEN": "hunter2"}, "output_kms_key_id": "alias/key"}
    job = job_of(world)
    command = command_of(job)
    assert "hunter2" not in " ".join(command)
    sent = read_back(command).monitor
    assert sent.definition_hash() == job.monitor.definition_hash()
    assert sent.sagemaker is not None
    assert sent.sagemaker.output_kms_key_id == "alias/key"


def test_a_preprocessor_that_sees_an_environment_is_refused(world: World) -> None:
    world.settings["sagemaker"] = {
        "environment": {"TOKEN": "hunter2"},
        "record_preprocessor_source_uri": "s3://bucket/preprocess.py",
    }
    with pytest.raises(MonitorError, match="must be empty where a preprocessor runs on a cluster"):
        arguments_of(job_of(world))


@pytest.mark.parametrize(
    "name", ["--monitor", "--window-start", "--scheduled-time", "--window-source", "--labels-as-of"]
)
def test_what_decides_the_result_must_be_said(world: World, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = arguments_of(job_of(world))
    arguments[f"{name}s"] = arguments.pop(name)
    with pytest.raises(SystemExit):
        main([part for pair in arguments.items() for part in pair])
    assert f"the following arguments are required: {name}" in capsys.readouterr().err


def test_arguments_that_a_service_adds_are_passed_over(world: World) -> None:
    glue = ["--JOB_NAME", "merge", "--enable-metrics", "true", "--additional-python-modules", "isodate,pydantic"]
    assert main([*glue, *command_of(job_of(world))])["merge"]["matched"] == 290


# --- where the monitor is


def test_a_monitor_may_lie_in_a_file(world: World, tmp_path: Path) -> None:
    path = tmp_path / "churn.yaml"
    path.write_text(world.monitor().to_yaml())
    main([*command_of(job_of(world)), "--monitor", str(path)])
    assert handed_over(world.monitor(), world.window(), world.storage)["merge"]["matched"] == 290


def test_a_monitor_may_lie_on_s3(
    s3_storage: Storage, s3_bucket: str, s3_endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = filled(World(s3_storage, f"s3://{s3_bucket}/root", "local"))
    world.put("churn.json", world.monitor().to_json().encode())
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", s3_endpoint)
    main([*command_of(job_of(world)), "--monitor", join(world.root, "churn.json")])
    assert handed_over(world.monitor(), world.window(), world.storage)["merge"]["matched"] == 290


def test_a_template_is_refused(world: World) -> None:
    world.settings["output_uri"] = "{{ var.value.root }}/reports"
    with pytest.raises(MonitorError, match="holds a template"):
        main(command_of(job_of(world)))


def test_a_wrong_monitor_is_told_with_all_its_faults(world: World) -> None:
    with pytest.raises(MonitorError, match=r"problem_type.*ground_truth_uri"):
        main([*command_of(job_of(world)), "--monitor", '{"name": "churn", "output_uri": "s3://bucket"}'])


# --- what both sides must agree on


def test_another_version_than_airflow_s_is_refused(world: World) -> None:
    with pytest.raises(ModelQualityError, match=rf"0\.0\.9, as in Airflow; came {re.escape(__version__)}"):
        main([*command_of(job_of(world)), "--expect-version", "0.0.9"])
    assert not list(world.storage.list(join(world.root, "out")))


def test_another_place_than_airflow_s_is_refused(world: World) -> None:
    with pytest.raises(ModelQualityError, match="place of the report s3://elsewhere, as in Airflow"):
        main([*command_of(job_of(world)), "--expect-report-prefix", "s3://elsewhere"])
    assert not list(world.storage.list(join(world.root, "out")))


# --- the result


def test_the_result_is_that_of_a_merge_in_the_worker_byte_for_byte(world: World) -> None:
    world.run()
    expected = comparable(world.written())
    world.storage.delete([one.uri for one in world.storage.list(world.prefix())])
    job = job_of(world, engine="reference")
    make_way(job, world.storage)
    done = run_entry(spark_job.ENTRY, command_of(job))
    assert done.returncode == 0, done.stderr
    assert "merged 290 rows" in done.stderr
    handover = handed_over(job.monitor, job.window, world.storage)
    run.analyze(job.monitor, job.window, handover=handover, storage=world.storage, engine="no engine merges again")
    assert comparable(world.written()) == expected
    assert json.loads(world.read("report.json"))["engine"] == "reference"


@pytest.mark.spark
@pytest.mark.parametrize("engine", sorted(set(ENGINES) - {"local"}))
def test_spark_submit_itself_merges_what_the_worker_would(engine: str, world: World) -> None:
    """Spark's own program starts the file that clusters are given, on two cores, with nothing but loopback."""
    path = os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]])
    submit = shutil.which("spark-submit", path=path)
    if submit is None or shutil.which("java") is None:
        pytest.skip("no spark-submit, which PySpark brings, or no Java")
    world.run()
    expected = comparable(world.written())
    job = job_of(world, engine=engine)
    make_way(job, world.storage)
    options = [option for name, value in SPARK.items() for option in ("--conf", f"{name}={value}")]
    done = subprocess.run(
        [submit, *options, str(spark_job.ENTRY), *command_of(job)],
        env={"PATH": path, "PYSPARK_PYTHON": sys.executable, "SPARK_LOCAL_IP": "127.0.0.1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    handover = handed_over(job.monitor, job.window, world.storage)
    run.analyze(job.monitor, job.window, handover=handover, storage=world.storage, engine="no engine merges again")
    assert comparable(world.written()) == expected
    assert json.loads(world.read("report.json"))["engine"] == engine


def test_the_hand_over_is_that_of_a_merge_in_the_worker(world: World) -> None:
    job = job_of(world)
    here = run.merge(job.monitor, job.window, storage=world.storage, engine="local")
    there = main(command_of(job))
    assert there == handed_over(job.monitor, job.window, world.storage)
    assert there | {"merge_seconds": 0} == here | {"merge_seconds": 0}


def test_labels_count_up_to_the_time_that_is_asked_for(world: World) -> None:
    world.labels(label_line("id295", "1"), hour=T + timedelta(hours=1))
    as_of = AsOf(T + timedelta(hours=2), "now")
    assert main(command_of(job_of(world, as_of=as_of)))["merge"]["matched"] == 291


def test_a_report_judged_again_names_what_it_replaces(world: World) -> None:
    """The way is made before the job, and what stood there is not forgotten."""
    as_of = AsOf(T + timedelta(hours=2), "now")
    found = []
    for elsewhere in (False, True):
        world.run()
        world.labels(label_line("id295", "1"), hour=T + timedelta(hours=1))
        job = job_of(world, as_of=as_of)
        if elsewhere:
            make_way(job, world.storage)
            handover = main(command_of(job))
            report = run.analyze(job.monitor, job.window, handover=handover, storage=world.storage)
        else:
            report = world.run(as_of)
        found.append(report["revision"] and {**report["revision"], "number": None})
    assert found[0] is not None
    assert found[0] == found[1]


def test_the_way_is_made_before_the_job(world: World) -> None:
    world.run()
    run.merge(world.monitor(), world.window(), storage=world.storage)
    job = job_of(world)
    make_way(job, world.storage)
    assert not {"report.json", "statistics.json", "merged/merge.json"} & set(world.written())
    with pytest.raises(InputError, match=r"which the job on the cluster leaves at its end; came none"):
        handed_over(job.monitor, job.window, world.storage)


def test_constraints_of_another_kind_are_told_before_the_work(world: World) -> None:
    world.run()
    world.put("constraints.json", b'{"regression_constraints": {}}')
    with pytest.raises(DocumentError):
        make_way(job_of(world), world.storage)
    assert "report.json" in world.written()


def test_a_hand_over_of_another_definition_is_none(world: World) -> None:
    main(command_of(job_of(world)))
    world.settings["min_records"] = 7
    with pytest.raises(InputError, match="hand-over of this window and definition"):
        handed_over(world.monitor(), world.window(), world.storage)


def test_a_job_that_fails_ends_with_its_reason(world: World) -> None:
    world.settings["max_rejected_ratio"] = 0.0
    done = run_entry(spark_job.ENTRY, command_of(job_of(world)))
    assert done.returncode == 1
    assert "RejectedLinesError" in done.stderr.splitlines()[-1]


def test_the_module_is_a_command_too(world: World, tmp_path: Path) -> None:
    script = tmp_path / "run_module.py"
    script.write_text('import runpy\n\nrunpy.run_module("airflow_mq_provider.spark_job", run_name="__main__")\n')
    done = run_entry(script, command_of(job_of(world)))
    assert (done.returncode, "merged 290 rows" in done.stderr) == (0, True), done.stderr


# --- what a cluster has to have

TELLING = """import runpy, sys
from importlib.metadata import packages_distributions
try:
    runpy.run_path({entry!r}, run_name="__main__")
finally:
    homes = packages_distributions()
    loaded = {{name.partition(".")[0] for name, module in list(sys.modules.items()) if module is not None}}
    print(*{{home for name in loaded for home in homes.get(name, ())}})
"""
ON_CLUSTERS = {"boto3", "botocore", "s3transfer", "urllib3", "certifi"}
"""What AWS's services have already: boto3 and its own needs."""


def test_a_merge_needs_what_is_said_and_no_more(
    s3_storage: Storage, s3_bucket: str, s3_endpoint: str, tmp_path: Path
) -> None:
    world = filled(World(s3_storage, f"s3://{s3_bucket}/root", "local"))
    world.settings["endpoint"] = {"start_time_offset": "-PT1H", "end_time_offset": "-PT0H"}
    world.put("churn.yaml", world.monitor().to_yaml().encode())
    script = tmp_path / "telling.py"
    script.write_text(TELLING.format(entry=str(spark_job.ENTRY)))
    command = [*command_of(job_of(world, engine="reference")), "--monitor", join(world.root, "churn.yaml")]
    done = run_entry(script, command, s3_endpoint=s3_endpoint)
    assert done.returncode == 0, done.stderr
    loaded = {canonicalize_name(name) for name in done.stdout.split()}
    loaded -= {"airflow-mq-provider", "setuptools", "pip"} | {name for name in loaded if name.startswith("types-")}
    assert loaded <= {*spark_job.REQUIREMENTS, *ON_CLUSTERS}
    assert {"boto3", "numpy", "pydantic", "xxhash"} <= loaded


def test_the_requirements_need_nothing_else() -> None:
    """They are installed without dependencies of their own."""
    for name in (one.partition("==")[0] for one in spark_job.requirements() if "==" in one):
        for needed in map(Requirement, requires(name) or ()):
            if needed.marker is None or needed.marker.evaluate({"extra": ""}):
                assert canonicalize_name(needed.name) in spark_job.REQUIREMENTS, name


def test_the_requirements_are_those_of_the_package() -> None:
    declared = {canonicalize_name(Requirement(line).name) for line in requires("airflow-mq-provider") or ()}
    of_pydantic = {"annotated-types", "pydantic-core", "typing-extensions", "typing-inspection"}
    of_pyspark = {"pandas", "python-dateutil", "pytz", "six", "tzdata"}
    assert set(spark_job.REQUIREMENTS) - of_pydantic - of_pyspark <= declared


def test_the_requirements_are_pinned_to_what_is_here() -> None:
    assert f"numpy=={version('numpy')}" in spark_job.requirements()
    assert [one.partition("==")[0] for one in spark_job.requirements()] == list(spark_job.REQUIREMENTS)
