"""At which times a schedule of SageMaker's runs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from airflow_mq_provider.exceptions import RequestError
from airflow_mq_provider.sagemaker.schedule import has_slot

MIDNIGHT = datetime(2026, 11, 10, tzinfo=UTC)


@pytest.mark.parametrize(
    ("expression", "hours"),
    [
        ("cron(0 * ? * * *)", list(range(24))),
        ("cron(0 5 ? * * *)", [5]),
        ("cron(0 2/12 ? * * *)", [2, 14]),
        ("cron(0 17/12 ? * * *)", [5, 17]),
        ("NOW", list(range(24))),
    ],
)
def test_slots_are_whole_hours_of_the_expression(expression: str, hours: list[int]) -> None:
    assert [hour for hour in range(24) if has_slot(expression, MIDNIGHT + timedelta(hours=hour))] == hours


def test_no_slot_lies_within_an_hour() -> None:
    assert not has_slot("cron(0 * ? * * *)", MIDNIGHT + timedelta(minutes=30))


def test_slots_are_of_utc() -> None:
    five = datetime(2026, 11, 10, 6, tzinfo=timezone(timedelta(hours=1)))
    assert has_slot("cron(0 5 ? * * *)", five)


def test_what_is_no_expression_of_sagemaker_s_is_refused() -> None:
    with pytest.raises(RequestError):
        has_slot("0 5 * * *", MIDNIGHT)
