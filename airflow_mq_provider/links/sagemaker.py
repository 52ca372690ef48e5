"""Links from tasks to what they made or followed in the AWS console."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from airflow.sdk import BaseOperatorLink

from airflow_mq_provider.links.model_quality import console

if TYPE_CHECKING:
    from airflow.sdk.types import TaskInstanceKey


class _PageLink(BaseOperatorLink):
    """One of the pages that a task notes in its ``pages`` while it runs, by the link's ``key``.

    Airflow asks for the link in the worker, once the task is done, and keeps it. A task that noted none has no link.
    """

    key = ""

    def get_link(self, operator: Any, *, ti_key: TaskInstanceKey) -> str:  # noqa: ARG002 - the operator knows
        """Return the page, or the empty text."""
        pages: dict[str, str] = getattr(operator, "pages", {})
        return pages.get(self.key, "")


class JobDefinitionLink(_PageLink):
    """The job definition, by its ARN: the console leads to its page where it has one."""

    name = "Job definition"
    key = "job_definition"


class MonitoringScheduleLink(_PageLink):
    """The monitoring schedule in the SageMaker console."""

    name = "Monitoring schedule"
    key = "schedule"


class ProcessingJobLink(_PageLink):
    """The Processing job of an execution or a baseline."""

    name = "Processing job"
    key = "job"


class ProcessingJobLogsLink(_PageLink):
    """The log streams of the Processing job in CloudWatch."""

    name = "Logs of the job"
    key = "logs"


class SageMakerReportLink(_PageLink):
    """The folder on S3 in which SageMaker wrote its documents."""

    name = "SageMaker report"
    key = "report"


def definition_page(arn: str, region: str) -> str:
    """Return what leads to a job definition."""
    return f"{console(region)}/go/view?arn={quote(arn, safe='')}"


def schedule_page(name: str, region: str) -> str:
    """Return the page of a schedule."""
    return f"{console(region)}/sagemaker/home?region={quote(region)}#/monitoring-schedules/{quote(name)}"


def job_pages(name: str, region: str) -> dict[str, str]:
    """Return the pages of a Processing job and of its logs, by the keys of their links."""
    # CloudWatch's console escapes twice, with $ for %
    streams = "$252Faws$252Fsagemaker$252FProcessingJobs$3FlogStreamNameFilter$3D" + quote(name)
    return {
        "job": f"{console(region)}/sagemaker/home?region={quote(region)}#/processing-jobs/{quote(name)}",
        "logs": f"{console(region)}/cloudwatch/home?region={quote(region)}#logsV2:log-groups/log-group/{streams}",
    }


def folder_page(uri: str, region: str) -> str:
    """Return the page of a folder on S3."""
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return f"{console(region)}/s3/buckets/{quote(bucket)}?region={quote(region)}&prefix={quote(key)}/"
