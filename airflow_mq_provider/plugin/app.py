"""The routes. Each asks who the user is and what that user may read, before anything else: Airflow guards no app of a plugin.

A monitor, run or report that is not there and one that may not be seen get the same answer.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Depends, FastAPI, Request
from fastapi.responses import HTMLResponse, Response

from airflow_mq_provider.airflow_internals import (
    database_session,
    of_airflow,
    readable_dags,
    request_user,
    require_runs_of,
)
from airflow_mq_provider.exceptions import ModelQualityError
from airflow_mq_provider.plugin import history, pages
from airflow_mq_provider.plugin.history import Verdict

REPORT_POLICY = (
    "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'self'"
)
"""Of a report: whatever stands in the bucket by now, it runs no script, asks for nothing and is of no origin."""

_user = request_user()
User = Annotated[Any, Depends(_user)]
"""Who asks; without a token that holds there is no answer but 401."""

_HEADERS = {
    "Cache-Control": "private, no-store",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}


_NOTHING = "There is none, or you may not see it."


def make_app() -> FastAPI:
    """Return the application that is mounted under ``/model-quality``."""
    app = FastAPI(title="Model quality", docs_url=None, redoc_url=None, openapi_url=None, dependencies=[Depends(_user)])
    for path, answer in (("/", overview), ("/monitor", monitor), ("/run", run), ("/report", report)):
        app.get(path, response_class=HTMLResponse)(answer)
    return app


def overview(user: User) -> Response:
    """All monitors that the user may see."""
    with database_session() as session:
        found = history.monitors(session, readable_dags(user), history.utc_now())
    return _page(pages.overview(found))


def monitor(user: User, name: str, metric: str = "", runs: int = pages.RANGES[0]) -> Response:
    """One monitor over time; a metric that it does not have, or another range, falls back to the first."""
    runs = runs if runs in pages.RANGES else pages.RANGES[0]
    with database_session() as session:
        found = history.monitor(session, name, readable_dags(user), history.utc_now(), runs)
    if found is None:
        return _page(pages.message("No such monitor", _NOTHING), 404)
    shown = pages.metrics_shown(found)
    return _page(pages.monitor_page(found, metric if metric in shown else next(iter(shown), ""), runs))


def run(user: User, request: Request, dag_id: str, run_id: str, monitor: str = "") -> Response:
    """The tab of a DAG run."""
    verdicts: dict[str, Verdict] = {}
    if dag_id in readable_dags(user):
        require_runs_of(dag_id, request, user)
        with database_session() as session:
            verdicts = history.of_run(session, dag_id, run_id)
    if not verdicts:
        return _page(pages.message("No report", "This run has judged no model, or has not come so far yet."), 404)
    return _page(pages.run_page(verdicts, monitor if monitor in verdicts else pages.worst_first(verdicts)[0]))


def report(user: User, request: Request, event: int) -> Response:
    """``report.html`` of the run that emitted an event, as it lies there now."""
    with database_session() as session:
        found = history.verdict(session, event, readable_dags(user))
    if found is None:
        return _page(pages.message("No such report", _NOTHING), 404)
    require_runs_of(found[1].dag_id, request, user)
    try:
        content = report_of(found[1])
    except ModelQualityError as error:
        return _page(pages.message("The report cannot be shown", str(error)), 404)
    headers = _HEADERS | {"Content-Security-Policy": REPORT_POLICY}
    return Response(content, media_type="text/html; charset=utf-8", headers=headers)


def _page(text: str, status: int = 200) -> Response:
    return HTMLResponse(text, status, headers=_HEADERS | {"Content-Security-Policy": pages.policy()})


def report_of(verdict: Verdict) -> bytes:
    """Read ``report.html`` beside the ``report.json`` that an event names, by the connection that wrote it.

    Raises:
        ModelQualityError: it is not there, or cannot be read from here.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    from airflow_mq_provider.hooks.model_quality import storage_for
    from airflow_mq_provider.report_folder import PAGE, REPORT

    folder, _, name = verdict.report_uri.rpartition("/")
    if name != REPORT:
        raise ModelQualityError(
            expected=f"an event that names a {REPORT}",
            came=name,
            where=f"asset event {verdict.event}",
            next_step="look at what emitted the event: analyze_quality emits no other",
        )
    uri = f"{folder}/{PAGE}"
    given = verdict.connection or {}
    connection = {key: given.get(key) for key in ("aws_conn_id", "region_name", "verify")}
    try:
        storage, _ = storage_for([uri], **connection)
        return storage.read(uri)
    except (of_airflow("AirflowException"), BotoCoreError, ClientError) as error:
        raise ModelQualityError(
            expected="the report",
            came=f"{type(error).__name__}: {error}",
            where=uri,
            next_step="see whether the API server has the connection of the tasks, and may read there",
        ) from error
