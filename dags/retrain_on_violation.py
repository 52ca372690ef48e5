"""Retrains a model that became worse than its constraints, once a person has agreed: a SageMaker pipeline behind an approval.

A run looks at the newest window of scheduled runs only, so a backfill of 168 windows starts no training. Needs Airflow 3.1.
"""

from __future__ import annotations

from datetime import UTC, datetime

from airflow.providers.amazon.aws.operators.sagemaker import SageMakerStartPipelineOperator
from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import DAG, Asset, task

CHURN = Asset("x-model-quality://churn-model-quality")

# One run at a time: while a question is open, no other is asked.
with DAG("retrain_churn", schedule=[CHURN], start_date=datetime(2026, 11, 1, tzinfo=UTC), max_active_runs=1):

    @task.short_circuit(inlets=[CHURN])
    def newest_verdict_if_worse(triggering_asset_events, inlet_events):
        def scheduled(events):
            told = [event.extra for event in events]
            return [verdict for verdict in told if verdict["run_type"] == "scheduled" and verdict["newest_window"]]

        if not scheduled(triggering_asset_events[CHURN]):
            return None
        # All that came until now: of several events in a queue, Airflow hands over the first alone.
        verdicts = scheduled(inlet_events[CHURN].ascending(False).limit(1000))
        newest = max(verdicts, key=lambda verdict: verdict["window"]["scheduled_time"])
        return newest if newest["status"] == "CompletedWithViolations" else None

    approve = ApprovalOperator(
        task_id="approve",
        subject="The churn model is worse than its constraints. Retrain it?",
        body="{{ ti.xcom_pull('newest_verdict_if_worse')['reason'] }}",
    )
    retrain = SageMakerStartPipelineOperator(task_id="retrain", pipeline_name="churn-training")
    newest_verdict_if_worse() >> approve >> retrain
