"""Triggers as the triggerer runs them: serialized, rebuilt, run against S3 on the loopback interface."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.triggers.base import BaseTrigger

from airflow_mq_provider import triggers
from airflow_mq_provider.storage import Storage
from airflow_mq_provider.triggers.model_quality import CaptureTrigger, GroundTruthTrigger, labels_listed
from airflow_mq_provider.triggers.sagemaker import MonitoringExecutionTrigger, SageMakerWaiterTrigger
from airflow_mq_provider.window import format_time
from tests.airflow_versions import deserialize, import_string, serialize
from tests.airflow_world import Churn
from tests.sagemaker_world import SageMaker, make_schedule

FAR = "2099-01-01T00:00:00Z"
PAST = "2020-01-01T00:00:00Z"
NOW = datetime.now(UTC)


def discovered() -> set[type[BaseTrigger]]:
    """Every trigger of the room, so that none is forgotten here."""
    modules = [
        importlib.import_module(f"airflow_mq_provider.triggers.{path.stem}")
        for path in Path(inspect.getfile(triggers)).parent.glob("[!_]*.py")
    ]
    return {
        value
        for module in modules
        for value in vars(module).values()
        if inspect.isclass(value)
        and issubclass(value, BaseTrigger)
        and value.__module__ == module.__name__
        and not inspect.isabstract(value)
    }


MAKE: dict[type[BaseTrigger], Callable[..., BaseTrigger]] = {
    CaptureTrigger: lambda **arguments: CaptureTrigger(last_hour="2026/11/10/08", **arguments),
    GroundTruthTrigger: lambda **arguments: GroundTruthTrigger(first_hour="2026/11/10/08", counted=EMPTY, **arguments),
}
EMPTY = labels_listed(Storage(), "/nowhere", "2026/11/10/08", NOW)


SAGEMAKER: dict[type[BaseTrigger], Callable[..., BaseTrigger]] = {
    SageMakerWaiterTrigger: lambda **connection: SageMakerWaiterTrigger(
        waiter_name="MonitoringScheduleScheduled",
        waiter_args={"MonitoringScheduleName": "churn-quality"},
        waiter_delay=0,
        waiter_max_attempts=9,
        done=["created schedule churn-quality"],
        **connection,
    ),
    MonitoringExecutionTrigger: lambda deadline=FAR, **connection: MonitoringExecutionTrigger(
        schedule_name="churn-quality",
        scheduled_time="2026-11-10T09:00:00Z",
        deadline=deadline,
        poll_interval=0.05,
        **connection,
    ),
}


def rebuilt(trigger: BaseTrigger) -> BaseTrigger:
    """The trigger after its way through Airflow's database."""
    path, arguments = trigger.serialize()
    stored = json.loads(json.dumps(serialize(arguments)))
    made: BaseTrigger = import_string(path)(**deserialize(stored))
    return made


def event(trigger: BaseTrigger) -> dict[str, Any]:
    """The one event of a trigger that went through Airflow's database."""

    async def collect() -> list[Any]:
        return [found.payload async for found in rebuilt(trigger).run()]

    [payload] = asyncio.run(asyncio.wait_for(collect(), timeout=60))
    return dict(payload)


@pytest.fixture
def on_s3(s3_bucket: str, aws_connection: str) -> dict[str, Any]:
    """Arguments of a trigger that lists the bucket over the connection."""
    return {"root": f"s3://{s3_bucket}/churn", "poll_interval": 0.05, "aws_conn_id": aws_connection}


def test_every_trigger_of_the_room_is_tested_here() -> None:
    assert discovered() == set(MAKE) | set(SAGEMAKER)


@pytest.mark.parametrize("kind", MAKE, ids=lambda kind: kind.__name__)
def test_a_trigger_comes_back_from_the_database_as_it_was(kind: type[BaseTrigger]) -> None:
    trigger = MAKE[kind](
        root="s3://bucket/churn",
        deadline=FAR,
        poll_interval=30.0,
        aws_conn_id="mine",
        region_name="eu-central-1",
        verify=False,
        botocore_config={"read_timeout": 5},
    )
    assert type(rebuilt(trigger)) is kind
    assert rebuilt(trigger).serialize() == trigger.serialize()


@pytest.mark.parametrize("kind", SAGEMAKER, ids=lambda kind: kind.__name__)
def test_a_trigger_of_sagemaker_comes_back_from_the_database_as_it_was(kind: type[BaseTrigger]) -> None:
    connection = {
        "aws_conn_id": "mine",
        "region_name": "eu-west-1",
        "verify": False,
        "botocore_config": {"read_timeout": 5},
    }
    trigger = SAGEMAKER[kind](**connection)
    assert rebuilt(trigger).serialize() == trigger.serialize()
    assert connection.items() <= trigger.serialize()[1].items()


@pytest.mark.parametrize("kind", MAKE, ids=lambda kind: kind.__name__)
def test_a_trigger_gives_up_at_its_deadline(kind: type[BaseTrigger], on_s3: dict[str, Any]) -> None:
    assert event(MAKE[kind](deadline=PAST, **on_s3)) == {"event": "deadline"}
    soon = format_time(datetime.now(UTC) + timedelta(seconds=1))
    assert event(MAKE[kind](deadline=soon, **on_s3)) == {"event": "deadline"}


@pytest.mark.parametrize("kind", MAKE, ids=lambda kind: kind.__name__)
def test_a_trigger_that_cannot_list_tells_why(kind: type[BaseTrigger], on_s3: dict[str, Any]) -> None:
    told = event(MAKE[kind](deadline=FAR, **on_s3 | {"root": "s3://no-such-bucket-anywhere/churn"}))
    assert told["event"] == "error"
    assert "no-such-bucket-anywhere" in told["message"]


@pytest.mark.parametrize("kind", MAKE, ids=lambda kind: kind.__name__)
def test_a_trigger_without_its_connection_tells_why(kind: type[BaseTrigger], on_s3: dict[str, Any]) -> None:
    told = event(MAKE[kind](deadline=FAR, **on_s3 | {"aws_conn_id": "nobodys"}))
    assert told["event"] == "error"
    assert "nobodys" in told["message"]


def test_captures_of_the_last_hour_or_later_are_found(on_s3: dict[str, Any], s3_storage: Storage) -> None:
    trigger = CaptureTrigger(last_hour="2026/11/10/08", deadline=FAR, **on_s3)
    s3_storage.write(f"{on_s3['root']}/2026/11/10/07/a.jsonl", b"too early")
    s3_storage.write(f"{on_s3['root']}/2026/11/10/11/a.jsonl", b"late enough")
    assert event(trigger) == {"event": "found", "key": "2026/11/10/11/a.jsonl"}
    s3_storage.write(f"{on_s3['root']}/2026/11/10/08/b.jsonl", b"on time")
    assert event(trigger) == {"event": "found", "key": "2026/11/10/08/b.jsonl"}


def test_what_comes_while_a_trigger_waits_is_found(on_s3: dict[str, Any], s3_storage: Storage) -> None:
    async def wait_and_put() -> dict[str, Any]:
        trigger = rebuilt(CaptureTrigger(last_hour="2026/11/10/08", deadline=FAR, **on_s3))
        waiting = asyncio.ensure_future(anext(aiter(trigger.run())))
        await asyncio.sleep(0.3)
        assert not waiting.done()
        await asyncio.to_thread(s3_storage.write, f"{on_s3['root']}/2026/11/10/08/a.jsonl", b"x")
        return dict((await asyncio.wait_for(waiting, timeout=60)).payload)

    assert asyncio.run(wait_and_put()) == {"event": "found", "key": "2026/11/10/08/a.jsonl"}


def test_labels_other_than_those_counted_are_found(on_s3: dict[str, Any], s3_storage: Storage) -> None:
    s3_storage.write(f"{on_s3['root']}/2026/11/10/09/a.jsonl", b"a label")
    assert event(GroundTruthTrigger(first_hour="2026/11/10/08", counted=EMPTY, deadline=FAR, **on_s3)) == {
        "event": "found"
    }


def test_labels_that_were_counted_already_are_not_found_again(on_s3: dict[str, Any], s3_storage: Storage) -> None:
    s3_storage.write(f"{on_s3['root']}/2026/11/10/09/a.jsonl", b"a label")
    counted = labels_listed(s3_storage, on_s3["root"], "2026/11/10/08", datetime.now(UTC))
    assert counted != EMPTY
    trigger = GroundTruthTrigger(first_hour="2026/11/10/08", counted=counted, deadline=PAST, **on_s3)
    assert event(trigger) == {"event": "deadline"}


@pytest.mark.parametrize(
    ("change", "noticed"),
    [
        (("2026/11/10/09/b.jsonl", b"one more"), True),
        (("2026/11/10/09/a.jsonl", b"replaced"), True),
        (("2026/11/10/07/a.jsonl", b"before the window"), False),
        (("2026/11/10/12/a.jsonl", b"its hour has not ended"), False),
    ],
    ids=["added", "replaced", "before", "too new"],
)
def test_labels_listed_are_those_that_a_run_as_of_now_would_read(
    s3_storage: Storage, s3_bucket: str, change: tuple[str, bytes], noticed: bool
) -> None:
    root = f"s3://{s3_bucket}/labels"
    now = datetime(2026, 11, 10, 12, 59, tzinfo=UTC)
    s3_storage.write(f"{root}/2026/11/10/09/a.jsonl", b"a label")
    before = labels_listed(s3_storage, root, "2026/11/10/08", now)
    key, data = change
    s3_storage.write(f"{root}/{key}", data)
    assert (labels_listed(s3_storage, root, "2026/11/10/08", now) != before) is noticed
    assert labels_listed(s3_storage, root, "2026/11/10/08", now + timedelta(hours=2)) != EMPTY


# --- many triggers in one triggerer


def looks_of(triggers: list[BaseTrigger]) -> list[dict[str, Any]]:
    """The events of triggers that run in one event loop, as in a triggerer."""

    async def first(trigger: BaseTrigger) -> dict[str, Any]:
        return dict((await anext(aiter(trigger.run()))).payload)

    async def all_of_them() -> list[dict[str, Any]]:
        return await asyncio.wait_for(asyncio.gather(*map(first, map(rebuilt, triggers))), timeout=60)

    return asyncio.run(all_of_them())


@pytest.fixture
def clients(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The storages that triggers connect to."""
    made: list[Any] = []
    connect = CaptureTrigger.connect

    def counting(self: Any) -> Storage:
        storage: Storage = connect(self)
        made.append(storage)
        return storage

    monkeypatch.setattr("airflow_mq_provider.triggers.model_quality._ListingTrigger.connect", counting)
    return made


def test_triggers_of_one_connection_share_one_client(on_s3: dict[str, Any], clients: list[Any]) -> None:
    ways: list[BaseTrigger] = [
        CaptureTrigger(last_hour=f"2026/11/10/{hour:02}", deadline=PAST, **on_s3) for hour in range(12)
    ]
    ways += [
        MAKE[GroundTruthTrigger](deadline=PAST, **on_s3),
        MAKE[CaptureTrigger](deadline=PAST, **on_s3, verify=False),
    ]
    assert looks_of(ways) == [{"event": "deadline"}] * 14
    assert len(clients) == 2


def test_a_connection_is_read_anew_when_it_is_old(
    on_s3: dict[str, Any], clients: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that a key that was changed in Airflow reaches triggers that wait for weeks."""
    monkeypatch.setattr("airflow_mq_provider.triggers.looking.RENEWED", 0.0)
    soon = format_time(datetime.now(UTC) + timedelta(seconds=2))
    assert looks_of([MAKE[CaptureTrigger](deadline=soon, **on_s3)]) == [{"event": "deadline"}]
    assert len(clients) > 1


def test_a_connection_that_fails_is_told_to_all_and_tried_again_by_the_next(
    on_s3: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[int] = []

    def refuse(_: Any) -> Storage:
        tried.append(1)
        raise OSError("no route")

    monkeypatch.setattr("airflow_mq_provider.triggers.model_quality._ListingTrigger.connect", refuse)

    async def one_after_another() -> None:
        for _ in range(2):
            told = await anext(aiter(rebuilt(MAKE[CaptureTrigger](deadline=FAR, **on_s3)).run()))
            assert told.payload == {"event": "error", "message": "OSError: no route"}

    asyncio.run(one_after_another())
    assert len(tried) == 2


@pytest.fixture
def listed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Root and start of each listing of a storage."""
    asked: list[tuple[str, str]] = []
    list_ = Storage.list

    def noting(self: Storage, root: str, *, start_after: str = "", until: str | None = None) -> Any:
        asked.append((root, start_after))
        return list_(self, root, start_after=start_after, until=until)

    monkeypatch.setattr(Storage, "list", noting)
    return asked


def test_triggers_that_wait_for_labels_under_one_root_share_their_listings(
    on_s3: dict[str, Any], s3_storage: Storage, listed: list[tuple[str, str]]
) -> None:
    """Each still sees the hours of its own window alone."""
    root, now = on_s3["root"], datetime.now(UTC)
    s3_storage.write(f"{root}/2026/11/10/09/a.jsonl", b"a label")
    hours = [f"2026/11/10/{hour:02}" for hour in (7, 8, 9, 10)]
    counted = [labels_listed(s3_storage, root, hour, now) for hour in hours]
    assert counted[0] == counted[1] == counted[2] != counted[3] == EMPTY
    listed.clear()
    slow = on_s3 | {"poll_interval": 3600}
    waits = [GroundTruthTrigger(first_hour=hour, counted=EMPTY, deadline=PAST, **slow) for hour in hours]
    assert looks_of(waits) == [{"event": "found"}] * 3 + [{"event": "deadline"}]
    assert listed == [(root, "2026/11/10/")]


def test_a_trigger_never_takes_a_listing_from_before_it_began(
    on_s3: dict[str, Any], s3_storage: Storage, listed: list[tuple[str, str]]
) -> None:
    """What the sensor has counted may be newer, and it would be woken for what it knows."""
    slow = on_s3 | {"poll_interval": 3600}

    async def wait_count_and_wait_again() -> dict[str, Any]:
        await anext(aiter(rebuilt(MAKE[GroundTruthTrigger](deadline=PAST, **slow)).run()))
        await asyncio.to_thread(s3_storage.write, f"{on_s3['root']}/2026/11/10/09/a.jsonl", b"a label")
        now = datetime.now(UTC)
        counted = await asyncio.to_thread(labels_listed, s3_storage, on_s3["root"], "2026/11/10/08", now)
        again = GroundTruthTrigger(first_hour="2026/11/10/08", counted=counted, deadline=PAST, **slow)
        return dict((await anext(aiter(rebuilt(again).run()))).payload)

    assert asyncio.run(wait_count_and_wait_again()) == {"event": "deadline"}


# --- SageMaker


@pytest.fixture
def scheduled(sagemaker: SageMaker, churn_on_s3: Churn, aws_connection: str) -> dict[str, Any]:
    """An hourly schedule that was just created, and the arguments of a trigger that reaches it."""
    make_schedule(sagemaker, churn_on_s3.declared())
    return {"aws_conn_id": aws_connection}


def test_a_schedule_that_settles_is_found_by_the_asynchronous_client(
    scheduled: dict[str, Any], sagemaker: SageMaker
) -> None:
    told = event(SAGEMAKER[SageMakerWaiterTrigger](**scheduled))
    assert told == {"event": "found", "done": ["created schedule churn-quality"]}
    assert sagemaker.asked("DescribeMonitoringSchedule") == ["DescribeMonitoringSchedule"] * 3


def test_a_schedule_that_never_settles_is_told(scheduled: dict[str, Any], sagemaker: SageMaker) -> None:
    sagemaker.step = timedelta(0)
    told = event(SAGEMAKER[SageMakerWaiterTrigger](**scheduled))
    assert told["event"] == "error"
    assert "Max attempts exceeded" in told["message"]


def test_the_end_of_an_execution_is_found(scheduled: dict[str, Any], sagemaker: SageMaker) -> None:
    sagemaker.step = timedelta(minutes=5)
    assert event(SAGEMAKER[MonitoringExecutionTrigger](**scheduled)) == {"event": "found", "status": "Failed"}
    assert sagemaker.now - datetime(2026, 11, 10, 9, tzinfo=UTC) < timedelta(minutes=20)


def test_an_execution_that_runs_is_no_end(scheduled: dict[str, Any], sagemaker: SageMaker) -> None:
    sagemaker.pass_time(datetime(2026, 11, 10, 9, 3, tzinfo=UTC))
    assert event(SAGEMAKER[MonitoringExecutionTrigger](deadline=PAST, **scheduled)) == {"event": "deadline"}


@pytest.mark.parametrize("kind", SAGEMAKER, ids=lambda kind: kind.__name__)
def test_a_trigger_of_sagemaker_without_its_connection_tells_why(kind: type[BaseTrigger]) -> None:
    told = event(SAGEMAKER[kind](aws_conn_id="nobodys"))
    assert told["event"] == "error"
    assert "nobodys" in told["message"]
