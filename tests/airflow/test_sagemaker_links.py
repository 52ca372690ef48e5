"""The pages of the AWS console to which tasks lead, in every partition."""

from __future__ import annotations

import pytest

from airflow_mq_provider.links.sagemaker import definition_page, folder_page, job_pages, schedule_page

PARTITIONS = pytest.mark.parametrize(
    ("region", "console"),
    [
        ("eu-central-1", "https://console.aws.amazon.com"),
        ("cn-north-1", "https://console.amazonaws.cn"),
        ("us-gov-west-1", "https://console.amazonaws-us-gov.com"),
    ],
)


@PARTITIONS
def test_pages_lie_in_the_console_of_the_region_s_partition(region: str, console: str) -> None:
    pages = [
        definition_page("arn:aws:sagemaker:eu-central-1:123456789012:model-quality-job-definition/churn", region),
        schedule_page("churn", region),
        *job_pages("a-job", region).values(),
        folder_page("s3://bucket/a folder", region),
    ]
    assert all(page.startswith(f"{console}/") for page in pages)
    assert all(f"region={region}" in page for page in pages[1:])


def test_names_are_escaped() -> None:
    assert folder_page("s3://bucket/a folder", "eu-central-1").endswith("prefix=a%20folder/")
    assert definition_page("arn:aws:x/y", "eu-central-1").endswith("arn=arn%3Aaws%3Ax%2Fy")
