"""What tests take from Airflow that lies elsewhere from one version to the next; import it once Airflow has its home.

The first branch is that of the version under development, the second that of the lowest one which `make test-lowest` installs.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from inspect import signature
from pathlib import Path
from typing import Any

from packaging.version import Version

AIRFLOW = Version(version("apache-airflow")).release[:2]
"""Major and minor version."""


def _first(name: str, *homes: str) -> Any:
    """The name from the first of these modules that has it."""
    for home in homes:
        try:
            return getattr(import_module(home), name)
        except (ImportError, AttributeError):
            continue
    raise ImportError(f"no {name} in {', '.join(homes)}")


def _of(home: str, *names: str) -> Any:
    """The first of these names that the module has."""
    module = import_module(home)
    return next(getattr(module, name) for name in names if hasattr(module, name))


AirflowFailException = _first("AirflowFailException", "airflow.sdk.exceptions", "airflow.exceptions")
AirflowNotFoundException = _first("AirflowNotFoundException", "airflow.sdk.exceptions", "airflow.exceptions")
AirflowSkipException = _first("AirflowSkipException", "airflow.sdk.exceptions", "airflow.exceptions")
AirflowRescheduleException = _first("AirflowRescheduleException", "airflow.sdk.exceptions", "airflow.exceptions")
AirflowSensorTimeout = _first("AirflowSensorTimeout", "airflow.sdk.exceptions", "airflow.exceptions")
AssetOrTimeSchedule = _first("AssetOrTimeSchedule", "airflow.sdk", "airflow.timetables.assets")
BaseHook = _first("BaseHook", "airflow.sdk", "airflow.hooks.base")
CronDataIntervalTimetable = _first("CronDataIntervalTimetable", "airflow.sdk", "airflow.timetables.interval")
CronTriggerTimetable = _first("CronTriggerTimetable", "airflow.sdk", "airflow.timetables.trigger")
DagSerialization = _of("airflow.serialization.serialized_objects", "DagSerialization", "SerializedDAG")
DeltaDataIntervalTimetable = _first("DeltaDataIntervalTimetable", "airflow.sdk", "airflow.timetables.interval")
MultipleCronTriggerTimetable = _first("MultipleCronTriggerTimetable", "airflow.sdk", "airflow.timetables.trigger")
TaskDeferred = _first("TaskDeferred", "airflow.sdk.exceptions", "airflow.exceptions")
conf = _first("conf", "airflow.sdk.configuration", "airflow.configuration")
deserialize = _first("deserialize", "airflow.sdk.serde", "airflow.serialization.serde")
import_string = _first("import_string", "airflow.sdk._shared.module_loading", "airflow.utils.module_loading")
serialize = _first("serialize", "airflow.sdk.serde", "airflow.serialization.serde")


def take_up(path: Path, folder: Path) -> dict[str, Any]:
    """Have Airflow take up a DAG file below its folder of DAG files, and return the file's DAGs by id."""
    from airflow.dag_processing.bundles.manager import DagBundlesManager

    DagBundlesManager().sync_bundles_to_db()  # type: ignore[no-untyped-call] # Airflow's own
    dag_bag = _first("DagBag", "airflow.dag_processing.dagbag", "airflow.models.dagbag")
    named = {"bundle_name": "dags-folder"} if "bundle_name" in signature(dag_bag).parameters else {}
    bag = dag_bag(dag_folder=str(path), bundle_path=folder, **named)
    assert not bag.import_errors, bag.import_errors
    if hasattr(bag, "sync_to_db"):
        bag.sync_to_db("dags-folder", None)
    else:
        _first("sync_bag_to_db", "airflow.dag_processing.dagbag", "airflow.models.dagbag")(bag, "dags-folder", None)
    return dict(bag.dags)


def run_task(instance: Any, task: Any) -> None:
    """Run a task instance in this process, triggers included, as ``dag.test()`` does."""
    run = _first("_run_task", "airflow.sdk.definitions.dag")
    if "task" in signature(run).parameters:
        run(ti=instance, task=task, run_triggerer=True)
    else:
        instance.task = task
        run(ti=instance, run_triggerer=True)
