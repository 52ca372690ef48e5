"""The link from an analysis task to its report."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from airflow.sdk import BaseOperatorLink

if TYPE_CHECKING:
    from airflow.sdk.types import TaskInstanceKey

_DOMAINS = {"cn-": "amazonaws.cn", "us-gov-": "amazonaws-us-gov.com"}


class ModelQualityReportLink(BaseOperatorLink):
    """The report of this run: in the S3 console, or the path of the local file.

    Airflow asks for the link in the worker, once the task is done, and keeps it. A task that made no report has none.
    """

    name = "Model quality report"

    def get_link(self, operator: Any, *, ti_key: TaskInstanceKey) -> str:  # noqa: ARG002 - the operator knows
        """Return where the report of the execution that just ended lies, or the empty text."""
        report = getattr(operator, "written_report", None)
        return link_to(*report) if report else ""


def link_to(uri: str, region: str | None) -> str:
    """Return what opens an object in a browser: its page in the S3 console, or the ``file://`` URI of a local file."""
    if uri.startswith("s3://"):
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        of_region = f"region={quote(region)}&" if region else ""
        return f"{console(region)}/s3/object/{quote(bucket)}?{of_region}prefix={quote(key)}"
    return uri if "://" in uri else f"file://{quote(uri)}"


def console(region: str | None) -> str:
    """Return the address of the AWS console of a region's partition."""
    domain = next((domain for start, domain in _DOMAINS.items() if (region or "").startswith(start)), "aws.amazon.com")
    return f"https://console.{domain}"
