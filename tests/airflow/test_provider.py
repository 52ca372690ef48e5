"""What Airflow is told about this package is true, and what a DAG file that uses it loads."""

from __future__ import annotations

import ast
import importlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from airflow_mq_provider.get_provider_info import get_provider_info
from tests.airflow_versions import AIRFLOW

PACKAGE = Path(__file__).parents[2] / "airflow_mq_provider"
INFO = get_provider_info()
MODULES = [
    module
    for kind in ("operators", "sensors", "hooks", "triggers")
    for group in INFO[kind]
    for module in group["python-modules"]
]


def test_the_description_has_the_shape_that_airflow_asks_for() -> None:
    import airflow
    import jsonschema

    schema = json.loads((Path(airflow.__file__).parent / "provider_info.schema.json").read_text())
    jsonschema.validate(INFO, schema)


@pytest.mark.parametrize("module", MODULES)
def test_a_module_that_is_described_can_be_imported(module: str) -> None:
    assert importlib.import_module(module).__doc__


@pytest.mark.parametrize("kind", ["operators", "sensors", "hooks", "triggers"])
def test_every_module_of_a_room_that_offers_a_class_is_described(kind: str) -> None:
    described = {module.rpartition(".")[2] for module in MODULES if f".{kind}." in module}
    offering = {
        path.stem
        for path in (PACKAGE / kind).glob("*.py")
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.ClassDef)
        and re.search(r"(Operator|Sensor|Hook|Trigger)$", node.name)
        and not node.name.startswith("_")
    }
    assert described == offering


@pytest.mark.parametrize("path", INFO["extra-links"])
def test_a_link_that_is_described_exists(path: str) -> None:
    module, _, name = path.rpartition(".")
    assert getattr(importlib.import_module(module), name)().name


def test_every_setting_that_is_described_is_read_and_every_one_read_is_described() -> None:
    source = "\n".join(path.read_text() for path in PACKAGE.rglob("*.py"))
    read = set(re.findall(r'conf\.get\w*\(\s*SECTION,\s*"(\w+)"', source))
    assert read == set(INFO["config"]["model_quality"]["options"])


def test_every_link_of_the_room_is_described() -> None:
    offering = {
        f"airflow_mq_provider.links.{path.stem}.{node.name}"
        for path in (PACKAGE / "links").glob("*.py")
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    }
    assert set(INFO["extra-links"]) == offering


def test_airflow_knows_the_provider_and_its_link() -> None:
    from airflow.providers_manager import ProvidersManager

    manager = ProvidersManager()
    assert manager.providers["airflow-mq-provider"].data["name"] == "Model Quality"
    assert "airflow_mq_provider.links.model_quality.ModelQualityReportLink" in manager.extra_links_class_names


def test_airflow_knows_the_settings_and_their_defaults() -> None:
    from airflow.providers_manager import ProvidersManager

    from tests.airflow_versions import conf

    ProvidersManager().initialize_providers_configuration()
    assert (conf.get("model_quality", "engine"), conf.getint("model_quality", "workers")) == ("local", 0)


# --- what a DAG file loads

MINIMAL = """
from datetime import datetime
from airflow_mq_provider import EndpointInput, ModelQualityMonitor, model_quality_dag
monitor = ModelQualityMonitor(
    name="churn",
    problem_type="BinaryClassification",
    endpoint_input=EndpointInput(
        endpoint_name="churn",
        data_captured_destination_uri="s3://bucket/capture",
        probability_attribute="0",
        start_time_offset="-P8D",
        end_time_offset="-P1D",
    ),
    ground_truth_uri="s3://bucket/labels",
    output_uri="s3://bucket/reports",
)
dag = model_quality_dag(
    monitor,
    schedule="0 * * * *",
    start_date=datetime(2026, 11, 1),
    wait_for_captures="PT1H",
    wait_for_ground_truth="P2D",
    on_violation="fail",
)
"""

HEAVY = {"numpy", "boto3", "botocore", "aiobotocore", "pyarrow", "pandas", "xxhash", "jmespath", "sklearn", "yaml"}

WATCHED = """
import builtins, os, socket, sys
from airflow.sdk import DAG  # what Airflow loads and reads by itself comes before
from airflow.triggers.base import BaseTrigger
DAG("warm", schedule=None)
opened = []
def hook(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "subprocess.Popen"):
        opened.append(event)
    if event == "open" and isinstance(arguments[0], str) and not arguments[0].endswith((".py", ".pyc", ".so")):
        opened.append(arguments[0])
before = set(sys.modules)
sys.addaudithook(hook)
"""

TOLD = """
watched = list(opened)
open(os.devnull).close()
import json
print(json.dumps({"opened": watched, "control": opened[len(watched):], "loaded": sorted(set(sys.modules) - before)}))
"""


def parse(source: str) -> dict[str, Any]:
    """What parsing a DAG file opened and loaded, beyond what Airflow did before."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", WATCHED + source + TOLD],
        capture_output=True,
        text=True,
        check=True,
    )
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


@pytest.fixture(scope="module")
def parsed() -> dict[str, Any]:
    """The same, of a file with all kinds of tasks."""
    return parse(MINIMAL)


@pytest.mark.skipif(AIRFLOW < (3, 2), reason="there Airflow's own timetables load providers")
def test_parsing_a_dag_file_of_sagemaker_loads_nothing_heavy_either() -> None:
    source = (PACKAGE.parent / "dags/model_quality_shadow.py").read_text()
    # whence newer versions of Airflow have it, which read no file for it
    source = source.replace("from airflow.timetables.interval", "from airflow.sdk")
    told = parse(source.replace("from __future__ import annotations", ""))
    loaded = {
        name for name in told["loaded"] if name.startswith(("airflow.providers.", "airflow_mq_provider.sagemaker"))
    }
    assert HEAVY & {name.partition(".")[0] for name in told["loaded"]} == set()
    assert loaded == set()
    assert told["opened"] == []


def test_parsing_a_dag_file_loads_nothing_heavy(parsed: dict[str, Any]) -> None:
    assert HEAVY & {name.partition(".")[0] for name in parsed["loaded"]} == set()


def test_parsing_a_dag_file_loads_no_room_that_works(parsed: dict[str, Any]) -> None:
    """The rooms of storage, engines and quality belong to the worker, and so does the amazon provider."""
    loaded = {name for name in parsed["loaded"] if name.startswith(("airflow_mq_provider.", "airflow.providers."))}
    rooms = {name.split(".")[1] for name in loaded if name.startswith("airflow_mq_provider.")}
    assert rooms == {
        *("airflow_internals", "dag", "exceptions", "hooks", "links", "monitor", "operators", "sensors", "window")
    }
    assert "airflow_mq_provider.hooks.model_quality" not in loaded
    assert not any(name.startswith("airflow.providers.amazon") for name in loaded)


@pytest.mark.skipif(
    AIRFLOW < (3, 2), reason="there Airflow reads files of its own while it loads what a DAG file names"
)
def test_parsing_a_dag_file_reads_no_file_and_opens_no_connection(parsed: dict[str, Any]) -> None:
    assert parsed["control"] == [os.devnull]  # the watch sees what is opened
    assert parsed["opened"] == []


# --- imports of Airflow

PUBLIC = (
    "airflow.plugins_manager",
    "airflow.sdk",
    "airflow.sdk.configuration",
    "airflow.sdk.exceptions",
    "airflow.sdk.types",
    "airflow.triggers.base",
    "airflow.providers.amazon.aws.hooks.s3",
    "airflow.providers.amazon.aws.hooks.sagemaker",
    "airflow.providers.amazon.aws.operators.emr",
    "airflow.providers.amazon.aws.operators.glue",
    "airflow.providers.apache.spark.hooks.spark_connect",
    "airflow.providers.apache.spark.operators.spark_submit",
    "airflow.providers.openlineage.extractors.base",
)


def test_what_airflow_does_not_promise_is_imported_in_one_module_only() -> None:
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        if path.name == "airflow_internals.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            found += [
                f"{path.name}: {name}" for name in names if name.split(".")[0] == "airflow" and name not in PUBLIC
            ]
    assert found == []
