"""The page in Airflow: *Model quality* in the navigation, and a tab with the report on each DAG run.

Every Airflow process that looks for plugins imports this module, so it imports nothing but Airflow's base class; FastAPI and
the pages are loaded when the first request comes.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from airflow.plugins_manager import AirflowPlugin

PREFIX = "/model-quality"


@cache
def _app() -> Any:
    from airflow_mq_provider.plugin.app import make_app

    return make_app()


async def serve(scope: Any, receive: Any, send: Any) -> None:
    """Answer a request: the ASGI application that Airflow mounts."""
    await _app()(scope, receive, send)


class ModelQualityPlugin(AirflowPlugin):
    """What Airflow's API server takes up. Before Airflow 3.1, which has no such views, the pages are there without links."""

    name = "model_quality"
    fastapi_apps = [{"app": serve, "url_prefix": PREFIX, "name": "Model quality"}]  # noqa: RUF012 - Airflow's own form
    # Without a leading slash: Airflow's pages know under which path they are served, and read these relative to it.
    external_views = [  # noqa: RUF012 - likewise
        {
            "name": "Model quality",
            "href": "model-quality/",
            "destination": "nav",
            "url_route": "model-quality",
            "nav_top_level": True,
        },
        {
            "name": "Model quality",
            "href": "model-quality/run?dag_id={DAG_ID}&run_id={RUN_ID}",
            "destination": "dag_run",
            "url_route": "model-quality-run",
        },
    ]
