"""Everything this package takes from Airflow and the amazon provider that neither promises to keep.

Public interfaces (`airflow.sdk`, `airflow.triggers.base`) are imported where they are used. What is internal is imported
here and nowhere else, each with its reason, so that a new Airflow means changes in one file. Nothing of Airflow is imported
at module level: a DAG file that is parsed pays for none of it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from importlib import import_module
from typing import Any, ParamSpec, TypeVar

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

_INSTANT = timedelta(microseconds=1)

_HOMES = {
    "AirflowException": ("airflow.sdk.exceptions", "airflow.exceptions"),
    "AirflowFailException": ("airflow.sdk.exceptions", "airflow.exceptions"),
    "AirflowSkipException": ("airflow.sdk.exceptions", "airflow.exceptions"),
    "BaseNotifier": ("airflow.sdk", "airflow.notifications.basenotifier"),
    "CronDataIntervalTimetable": ("airflow.sdk", "airflow.timetables.interval"),
    "DeltaDataIntervalTimetable": ("airflow.sdk", "airflow.timetables.interval"),
    "conf": ("airflow.sdk.configuration", "airflow.configuration"),
}
"""Public names that moved into the task SDK with Airflow 3.2, and where earlier versions keep them."""


def of_airflow(name: str) -> Any:
    """Return one of the names in `_HOMES` from where this version of Airflow keeps it."""
    now, before = _HOMES[name]
    try:
        return getattr(import_module(now), name)
    except (ImportError, AttributeError):
        return getattr(import_module(before), name)


def schedule_periods(timetable: Any) -> Callable[[datetime], tuple[datetime, datetime]] | None:
    """Return what floors a time to a DAG's schedule, or None where the DAG has no schedule.

    The function maps ``t`` to the schedule's latest period that ends at or before ``t`` (rule W3, cases c and d): between
    the two latest ticks of a cron expression, in the timetable's own time zone; between the two latest events; for a delta,
    which has no ticks of its own, from ``t`` minus the delta to ``t``; for a timetable of somebody else's the interval that
    it infers.

    ``timetable`` is that of a parsed DAG. Manual, asset-triggered, once and continuous schedules give None.
    """
    core = _core_timetable(timetable)
    core = getattr(core, "timetable", core)  # of assets or time, the time
    if (latest := _latest_tick(core)) is not None:
        return lambda time: (latest(latest(time) - _INSTANT), latest(time))
    if (delta := getattr(core, "_delta", None)) is not None:
        return lambda time: (time - delta, time)
    if not core.periodic:
        return None
    return lambda time: _inferred(core, time)


def _core_timetable(timetable: Any) -> Any:
    """Return the timetable that computes; those of the task SDK only declare. No public function leads to it."""
    try:
        from airflow.serialization.encoders import coerce_to_core_timetable
    except ImportError:  # before Airflow 3.2 DAG files hold the core's own
        return timetable
    return coerce_to_core_timetable(timetable)


def _latest_tick(core: Any) -> Callable[[datetime], datetime] | None:
    """Return what gives the latest tick at or before a time, or None where the timetable has no ticks."""
    from airflow.timetables.events import EventsTimetable
    from airflow.timetables.interval import CronDataIntervalTimetable
    from airflow.timetables.trigger import MultipleCronTriggerTimetable

    if isinstance(core, EventsTimetable):
        return lambda time: max((event for event in core.event_dates if event <= time), default=time)
    parts = core._timetables if isinstance(core, MultipleCronTriggerTimetable) else [core]
    if not all(hasattr(part, "_expression") for part in parts):
        return None
    # A trigger timetable infers an interval of its own, mostly an empty one; the ticks are those of the expression.
    crons = [CronDataIntervalTimetable(part._expression, part._timezone) for part in parts]
    return lambda time: max(_inferred(cron, time)[1] for cron in crons)


def _inferred(core: Any, time: datetime) -> tuple[datetime, datetime]:
    import pendulum

    interval = core.infer_manual_data_interval(run_after=pendulum.instance(time))
    return interval.start, interval.end


def s3_clients(hook: Any) -> tuple[Callable[[], Any], str | None]:
    """Return what makes S3 clients over an Airflow connection, and the region they talk to.

    ``hook`` is an amazon hook. The connection is read and its credentials are resolved here, once: only the process of the
    task itself may ask Airflow for a connection, while the local engine makes its clients in forked children. The
    connection's endpoint, region, ``verify`` and botocore configuration are honoured; retries are adaptive unless the
    connection says otherwise. Temporary credentials refresh themselves in whichever process uses them.
    """
    from botocore.config import Config

    session = hook.get_session(region_name=hook.region_name)
    session.get_credentials()
    # These are the arguments of the hook's own get_client_type, which would ask for the connection again in a child.
    config = Config(retries={"mode": "adaptive", "max_attempts": 8}).merge(hook._get_config())
    endpoint_url = hook.conn_config.get_service_endpoint_url(service_name="s3")
    verify = hook.verify

    return _S3Clients(session, endpoint_url=endpoint_url, config=config, verify=verify), session.region_name


class _S3Clients:
    """Makes the clients of `s3_clients`.

    What is sent to another machine, as Spark sends it to its executors, carries the credentials as they are then: what
    refreshes temporary ones stays behind, and they hold no longer than they would have.
    """

    def __init__(self, session: Any, **arguments: Any) -> None:
        self._session = session
        self._arguments = arguments

    def __call__(self) -> Any:
        return self._session.client("s3", **self._arguments)

    def __getstate__(self) -> dict[str, Any]:
        credentials = self._session.get_credentials()
        return {
            "arguments": self._arguments,
            "region": self._session.region_name,
            "credentials": tuple(credentials.get_frozen_credentials()) if credentials is not None else (None,) * 3,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        import boto3

        key, secret, token = state["credentials"][:3]
        self._session = boto3.session.Session(key, secret, token, region_name=state["region"])
        self._arguments = state["arguments"]


def aws_hook(client_type: str, **connection: Any) -> Any:
    """Return an amazon hook of any service over an Airflow connection; the amazon provider has none for some of them."""
    from airflow.providers.amazon.aws.hooks.base_aws import AwsGenericHook

    return AwsGenericHook(client_type=client_type, **connection)


def let_task_have_children() -> None:
    """Let the local engine start workers in the process of a task, whatever executor started that.

    Airflow forks a task off its executor's worker in a way that leaves `multiprocessing` in the belief that it still is that
    worker. Those of Celery are daemonic, which are forbidden to have children; the task's own process is not.
    """
    import multiprocessing

    # There is no public way: the setter refuses once a process runs.
    multiprocessing.current_process()._config.pop("daemon", None)  # type: ignore[attr-defined]


def event_by_alias(event: dict[str, Any]) -> dict[str, Any]:
    """Return an asset event's content as this version of Airflow takes it for an asset to which an alias leads.

    Before 3.2 Airflow hashes each value and fails the task over one that is a mapping or a list: those become JSON text there.
    """
    import json
    from importlib.metadata import version

    if tuple(map(int, version("apache-airflow").split(".")[:2])) >= (3, 2):
        return event
    return {name: json.dumps(value) if isinstance(value, (dict, list)) else value for name, value in event.items()}


def notified(notifier: Any, context: Any) -> None:
    """Send a notifier's message, and raise what keeps it from being sent; before 3.1 Airflow logs that and goes on."""
    if not isinstance(notifier, of_airflow("BaseNotifier")):
        notifier(context)
        return
    notifier._update_context(context)
    notifier.render_template_fields(context)
    notifier.notify(context)


def latest_asset_events(uri: str, limit: int) -> list[dict[str, Any]]:
    """Return what the latest events of an asset carry, in the order in which they came, as a running task may ask.

    ``uri`` is the asset's name too. Of an asset that is in no DAG there are none. Before Airflow 3.1 all events are read, and
    an event that came over an alias holds its mappings as text (`event_by_alias`), which is undone here.
    """
    import json

    from airflow.sdk import Asset

    # A task's context gives the events of its declared inlets, which a callback's or a file's monitor cannot be among.
    from airflow.sdk.execution_time.context import InletEventsAccessors

    asset = Asset(uri)
    events: Any = InletEventsAccessors([asset])[asset]
    if hasattr(events, "limit"):
        events = events.ascending(False).limit(limit)
    latest = sorted(events, key=lambda event: event.timestamp)[-limit:]
    return [
        {
            name: json.loads(value) if name in ("window", "metrics") and isinstance(value, str) else value
            for name, value in (event.extra or {}).items()
        }
        for event in latest
    ]


def in_thread(function: Callable[Parameters, Result]) -> Callable[Parameters, Awaitable[Result]]:
    """Return the awaitable form of a blocking function, for triggers.

    It runs in the event loop's thread pool. asgiref's form is used, not `asyncio.to_thread`: a function that asks Airflow
    for a connection finds its way back to the triggerer's loop only from there in Airflow 3.1 and 3.2.
    """
    from asgiref.sync import sync_to_async

    return sync_to_async(function, thread_sensitive=False)


# --- what only the API server has: users, their rights, its database


def request_user() -> Callable[..., Any]:
    """Return the FastAPI dependency that tells who asks: by bearer token or by the cookie of Airflow's pages, else 401.

    Apps of plugins have no authentication of their own, and Airflow names none for them.
    """
    from airflow.api_fastapi.core_api.security import get_user

    return get_user


def readable_dags(user: Any) -> set[str]:
    """Return the ids of the DAGs that a user may read.

    Asked of the auth manager itself: the dependencies of Airflow's own routes find it only in Airflow's own app.
    """
    from airflow.api_fastapi.app import get_auth_manager

    readable: set[str] = get_auth_manager().get_authorized_dag_ids(user=user)
    return readable


def require_runs_of(dag_id: str, request: Any, user: Any) -> None:
    """Refuse with 403 a user who may not see the runs of a DAG."""
    from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
    from airflow.api_fastapi.core_api.security import requires_access_dag

    requires_access_dag("GET", DagAccessEntity.RUN, param_dag_id=dag_id)(request, user)


def airflow_tables() -> Any:
    """Return the models of Airflow's database in which a monitor's history stands."""
    from types import SimpleNamespace

    from airflow.models.asset import AssetEvent, AssetModel, TaskOutletAssetReference
    from airflow.models.dag import DagModel
    from airflow.models.dagrun import DagRun

    return SimpleNamespace(
        event=AssetEvent, asset=AssetModel, outlet=TaskOutletAssetReference, dag=DagModel, run=DagRun
    )


def database_session() -> Any:
    """Return a session of Airflow's database, as a context manager."""
    from airflow.utils.session import create_session

    return create_session()
