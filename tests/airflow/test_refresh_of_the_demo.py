"""A week of the demo's labels arriving late, refreshed every morning: exactly the windows it should, and the page shows it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from airflow_mq_provider import refresh
from airflow_mq_provider.monitor import ModelQualityMonitor
from airflow_mq_provider.operators.model_quality import event_of
from airflow_mq_provider.run import run
from airflow_mq_provider.storage import Storage
from airflow_mq_provider.window import Window, format_time
from tests.airflow.test_pages import fresh, of, put
from tests.airflow_versions import AIRFLOW

DAY, HOUR = timedelta(days=1), timedelta(hours=1)
NAME = "tumours-model-quality"


@pytest.fixture(scope="module")
def demo_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("sklearn")
    from airflow_mq_provider import demo

    folder = tmp_path_factory.mktemp("demo") / "demo"
    demo.make(folder)
    return folder


def lines(root: Path) -> Iterator[tuple[datetime, dict[str, Any]]]:
    """Every whole line below a root, with the hour of its folder."""
    for path in sorted(root.rglob("*.jsonl")):
        hour = datetime.strptime("/".join(path.relative_to(root).parts[:4]) + "+0000", "%Y/%m/%d/%H%z")
        for line in path.read_text().splitlines():
            try:
                yield hour, json.loads(line)
            except ValueError:
                continue  # a disk was full


class Read:
    """The demo's files, read by plain loops: which captures each day has, and when each label came."""

    def __init__(self, demo: Path) -> None:
        self.captures: dict[datetime, set[str]] = {}
        for _, record in lines(demo / "capture/tumours/AllTraffic"):
            about = record["eventMetadata"]
            made = datetime.fromisoformat(about["inferenceTime"])
            day = made.replace(hour=0, minute=0, second=0)
            self.captures.setdefault(day, set()).add(about.get("inferenceId") or about["eventId"])
        self.labels = [
            (hour, record["eventMetadata"]["eventId"])
            for hour, record in lines(demo / f"labels/{NAME}")
            if record["groundTruthData"]["data"] in ("0", "1")
        ]

    def labelled(self, day: datetime, since: datetime, until: datetime) -> set[str]:
        """Of a day's captures those with a label in the hours of a span."""
        return {id for hour, id in self.labels if since <= hour < until and id in self.captures[day]}


@pytest.mark.skipif(AIRFLOW < (3, 1), reason="Airflow has views of plugins from 3.1 on")
def test_a_week_of_labels_arriving_late(demo_folder: Path, tmp_path: Path, airflow_db: None) -> None:
    from airflow_mq_provider import demo
    from airflow_mq_provider.plugin import pages

    declared = ModelQualityMonitor.from_file(str(demo_folder / f"monitors/{NAME}/monitor.yaml")).model_dump()
    # judged the moment a day ends, when most of its labels are still to come
    declared["endpoint_input"] |= {"start_time_offset": "-P1D", "end_time_offset": "-PT0H"}
    monitor = ModelQualityMonitor.model_validate(declared | {"output_uri": str(tmp_path), "min_label_coverage": 0.9})
    storage, read = Storage(), Read(demo_folder)
    name, dag_id = fresh()
    as_of: dict[datetime, datetime] = {}
    again: dict[datetime, int] = {}
    expected: list[str] = []

    def tell(report: dict[str, Any]) -> None:
        put(name, dag_id, event_of(report, uri="/nowhere/report.json", run_type="scheduled", newest=True))

    for morning in range(1, demo.DAYS + 4):
        now = demo.START + morning * DAY + 6 * HOUR
        if morning <= demo.DAYS:
            day = demo.START + (morning - 1) * DAY
            tell(run(monitor, Window(day, day + DAY, day + DAY, "command_line"), storage=storage))
            as_of[day] = day + DAY
        expected = [
            format_time(day)
            for day, seen in as_of.items()
            if len(read.labelled(day, day, seen)) < len(read.captures[day]) and read.labelled(day, seen, now)
        ]
        due = [one for one in refresh.find(monitor, storage, now=now) if one.due]
        assert [format_time(one.window.start) for one in due] == expected
        for one in due:
            report = refresh.judge_again(monitor, one, storage=storage)
            day = one.window.start
            assert report["merge"]["captures_without_label"] == len(read.captures[day] - read.labelled(day, day, now))
            as_of[day], again[day] = now, again.get(day, 0) + 1
            assert report["revision"]["number"] == again[day]
            tell(report)

    # once all have come, nothing is run again, whatever the day
    assert expected == []
    # labels take less than two days, so a day is looked at again on its own morning and on the next two
    assert set(again.values()) == {3}
    found = of(name, {dag_id}, runs=200)
    assert found is not None
    assert [len(one.before) for one in found.windows] == [3] * demo.DAYS
    assert [one.before[0].status for one in found.windows] == ["NotJudged"] * demo.DAYS
    assert [one.now.status for one in found.windows] == ["Completed"] * demo.DAYS
    text = pages.monitor_page(found, "auc", 200)
    assert text.count("revision 3: labels came late") == demo.DAYS
    assert found.arrival is not None
    # no label takes longer than 47 hours, nor, rounded to its hour's end, than 48
    assert dict(found.arrival.curve)[48] == pytest.approx(found.arrival.coverage)
    assert found.arrival.coverage == pytest.approx(0.96, abs=0.02)
    ages = [found.arrival.age_of(share) for share in (0.95, 0.99)]
    assert 24 < ages[0] <= ages[1] <= 48
    for age in ages:
        assert re.search(rf"<code>-P1DT{age - 24}H</code>|<code>-P2D</code>", text)
