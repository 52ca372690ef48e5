"""Which window is the newest, where a link leads, and when a run is told to take too long."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from airflow_mq_provider import ModelQualityMonitor
from airflow_mq_provider.links.model_quality import link_to
from airflow_mq_provider.operators.model_quality import is_newest
from airflow_mq_provider.storage import Storage, join
from airflow_mq_provider.window import Window
from tests.airflow_world import Churn

NOON = datetime(2026, 11, 10, 12, tzinfo=UTC)


def window(scheduled: datetime, source: str = "data_interval") -> Window:
    return Window(start=scheduled - timedelta(hours=1), end=scheduled, scheduled_time=scheduled, source=source)


@pytest.mark.parametrize(
    ("others", "newest"),
    [
        ([], True),
        ([NOON], True),
        ([NOON - timedelta(hours=1), NOON - timedelta(days=400)], True),
        ([NOON - timedelta(minutes=30)], True),
        ([NOON + timedelta(minutes=30)], False),
        ([NOON + timedelta(seconds=1)], False),
        ([NOON + timedelta(hours=1)], False),
        ([NOON + timedelta(days=30)], False),
    ],
)
def test_the_newest_window_is_the_one_no_report_is_later_than(
    churn: Churn, others: list[datetime], newest: bool
) -> None:
    monitor = ModelQualityMonitor.model_validate(churn.declared())
    for other in others:
        churn.storage.write(join(monitor.report_prefix(window(other)), "report.json"), b"{}")
    assert is_newest(churn.storage, monitor, window(NOON)) is newest


def test_a_report_that_is_not_whole_and_one_of_an_explicit_window_are_not_later(churn: Churn) -> None:
    monitor = ModelQualityMonitor.model_validate(churn.declared())
    later = NOON + timedelta(days=1)
    churn.storage.write(join(monitor.report_prefix(window(later)), "statistics.json"), b"{}")
    churn.storage.write(join(monitor.report_prefix(window(later)), "merged/2026/11/10/11/report.json"), b"{}")
    churn.storage.write(join(monitor.report_prefix(window(later, "params")), "report.json"), b"{}")
    assert is_newest(churn.storage, monitor, window(NOON))


@pytest.mark.parametrize(
    ("uri", "region", "link"),
    [
        (
            "s3://bucket/a b/report.json",
            "eu-central-1",
            "https://console.aws.amazon.com/s3/object/bucket?region=eu-central-1&prefix=a%20b/report.json",
        ),
        ("s3://bucket/r.json", None, "https://console.aws.amazon.com/s3/object/bucket?prefix=r.json"),
        (
            "s3://bucket/r.json",
            "cn-north-1",
            "https://console.amazonaws.cn/s3/object/bucket?region=cn-north-1&prefix=r.json",
        ),
        (
            "s3://bucket/r.json",
            "us-gov-west-1",
            "https://console.amazonaws-us-gov.com/s3/object/bucket?region=us-gov-west-1&prefix=r.json",
        ),
        ("/data/a b/report.json", None, "file:///data/a%20b/report.json"),
        ("file:///data/report.json", None, "file:///data/report.json"),
    ],
)
def test_a_link_opens_the_report_where_it_lies(uri: str, region: str | None, link: str) -> None:
    assert link_to(uri, region) == link


def test_storage_that_holds_years_is_listed_from_the_window_on(churn: Churn) -> None:
    """Asked at the newest window, which every scheduled run is, nothing before it is looked at."""
    monitor = ModelQualityMonitor.model_validate(churn.declared())
    asked = []

    class Watched(Storage):
        def list(self, root, *, start_after="", until=None):  # type: ignore[no-untyped-def]
            asked.append((root, start_after, until))
            return super().list(root, start_after=start_after, until=until)

    assert is_newest(Watched(), monitor, window(NOON))
    assert asked == [(monitor.report_root, "2026/11/10/12/", "windows")]
