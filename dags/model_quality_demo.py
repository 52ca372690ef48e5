"""The demo's three monitors as DAGs: `make demo` makes their data; set MODEL_QUALITY_DEMO to its folder."""

from __future__ import annotations

import os
from datetime import UTC, datetime

from airflow_mq_provider import model_quality_dag

FOLDER = os.environ.get("MODEL_QUALITY_DEMO", "demo")

for model in ("tumours", "digits", "diabetes"):
    globals()[model] = model_quality_dag(
        f"{os.path.abspath(FOLDER)}/monitors/{model}-model-quality/monitor.yaml",
        dag_id=f"demo_{model}",
        schedule="0 0 * * *",
        start_date=datetime(2026, 11, 3, tzinfo=UTC),
        end_date=datetime(2026, 11, 11, tzinfo=UTC),
        catchup=True,
    )
