"""What this package tells Airflow about itself, under the entry point ``apache_airflow_provider``.

Airflow calls `get_provider_info` in every process that looks for providers: this module imports nothing.
"""

from __future__ import annotations

from typing import Any

_INTEGRATION = "Model quality"
_SAGEMAKER = "Amazon SageMaker Model Monitor"


def get_provider_info() -> dict[str, Any]:
    """Return the provider's description in the shape of Airflow's ``provider_info.schema.json``.

    Every module named here is importable (``spark_submit`` with its extra) and every option under ``config`` is read by the code.
    """
    return {
        "package-name": "airflow-mq-provider",
        "name": "Model Quality",
        "description": "Model quality monitoring: the ground-truth merge and quality analysis of "
        "`Amazon SageMaker Model Monitor "
        "<https://docs.aws.amazon.com/sagemaker/latest/dg/model-monitor-model-quality.html>`__, run by Airflow.",
        "integrations": [
            {
                "integration-name": _INTEGRATION,
                "external-doc-url": "https://docs.aws.amazon.com/sagemaker/latest/dg/model-monitor-model-quality.html",
                "tags": ["aws", "service"],
            },
            {
                "integration-name": _SAGEMAKER,
                "external-doc-url": "https://docs.aws.amazon.com/sagemaker/latest/dg/model-monitor.html",
                "tags": ["aws", "service"],
            },
        ],
        "operators": _modules(
            "operators", "sagemaker_compute", "stepwise", own=("fleet", "refresh", "spark_on_aws", "spark_submit")
        ),
        "sensors": _modules("sensors"),
        "hooks": _modules("hooks"),
        "triggers": _modules("triggers"),
        "extra-links": [
            "airflow_mq_provider.links.model_quality.ModelQualityReportLink",
            "airflow_mq_provider.links.sagemaker.JobDefinitionLink",
            "airflow_mq_provider.links.sagemaker.MonitoringScheduleLink",
            "airflow_mq_provider.links.sagemaker.ProcessingJobLink",
            "airflow_mq_provider.links.sagemaker.ProcessingJobLogsLink",
            "airflow_mq_provider.links.sagemaker.SageMakerReportLink",
        ],
        "notifications": ["airflow_mq_provider.notifications.model_quality.ModelQualityNotifier"],
        "config": {
            "model_quality": {
                "description": "Settings of the tasks that judge models. docs/airflow.md tells how to size workers.",
                "options": {
                    "engine": {
                        "description": "The engine of tasks that do not name one themselves: ``local`` uses the cores "
                        "of the worker's machine, ``spark`` a Spark session, ``reference`` is slow and obvious, ``auto`` takes "
                        "``local`` as long as a window fits ``memory_limit``, else ``spark`` where a session is given.",
                        "version_added": "0.1.0",
                        "type": "string",
                        "example": "reference",
                        "default": "local",
                    },
                    "workers": {
                        "description": "How many processes the local engine starts in one task. 0 means one for each "
                        "core that the task may use.",
                        "version_added": "0.1.0",
                        "type": "integer",
                        "example": "4",
                        "default": "0",
                    },
                    "memory_limit": {
                        "description": "How much memory a task may take, all processes of the local engine together. A window "
                        "that needs more is joined on disk, or refused; no run takes more. Empty means 80 % of "
                        "what the task's control group or the machine has.",
                        "version_added": "0.1.0",
                        "type": "string",
                        "example": "4GiB",
                        "default": "",
                    },
                    "cloudwatch_namespace": {
                        "description": "The CloudWatch namespace of monitors that publish their metrics, in place of "
                        "SageMaker's, where dashboards and alarms that were made for Model Monitor look.",
                        "version_added": "0.1.0",
                        "type": "string",
                        "example": "ModelQuality",
                        "default": "",
                    },
                    "allow_scripts": {
                        "description": "Whether tasks may run the record preprocessors and post-analytics processors "
                        "that monitors name. They are code of whoever can write there, and run in a child process "
                        "without Airflow's environment.",
                        "version_added": "0.1.0",
                        "type": "boolean",
                        "example": "True",
                        "default": "False",
                    },
                },
            }
        },
    }


def _modules(room: str, *more: str, own: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    """Return the modules of a room, those of SageMaker's side with `more` of them, ours with `own`."""
    found = {_INTEGRATION: ("model_quality", *own), _SAGEMAKER: ("sagemaker", *more)}
    return [
        {"integration-name": name, "python-modules": [f"airflow_mq_provider.{room}.{module}" for module in modules]}
        for name, modules in found.items()
    ]
