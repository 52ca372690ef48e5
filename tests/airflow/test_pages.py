"""The pages in Airflow, served by a real API server to a real Chromium, and the history that they draw."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from airflow_mq_provider.operators.model_quality import report_asset
from airflow_mq_provider.plugin import history
from airflow_mq_provider.window import format_time
from tests.airflow_versions import AIRFLOW
from tests.airflow_world import Churn, MakeDag, Runs
from tests.chromium import started

pytestmark = pytest.mark.skipif(AIRFLOW < (3, 1), reason="Airflow has views of plugins from 3.1 on")

ROOT = Path(__file__).parents[2]
T = datetime(2026, 11, 10, 9, tzinfo=UTC)
NOW = T + timedelta(minutes=30)
HOSTILE = "\"'><script>window.hit=1</script><img src=x onerror=window.hit=1>"
PREFIX = "/behind/a/proxy"


def extra(hour: int = 0, **changed: Any) -> dict[str, Any]:
    """What the event of an hourly run carries; a quarter of the labels of each hour is still to come."""
    at = T + timedelta(hours=hour)
    window = {"start": format_time(at - timedelta(hours=1)), "end": format_time(at)}
    return {
        "monitor": "m",
        "problem_type": "BinaryClassification",
        "window": {**window, "scheduled_time": format_time(at), "source": "data_interval"},
        "ground_truth_as_of": format_time(at),
        "status": "Completed",
        "reason": None,
        "reason_code": "within_constraints",
        "metrics": {"recall": 0.8 + hour / 1000, "precision": 0.7, "auc": "NaN"},
        "standard_deviations": {"recall": 0.01, "precision": "NaN", "auc": "NaN"},
        "constraints": {"recall": {"threshold": 0.5, "comparison_operator": "LessThanThreshold"}},
        "violations": [],
        "not_judged": [],
        "records": 75,
        "captures": 100,
        "label_coverage": 0.75,
        "cadence_seconds": 3600,
        "definition_hash": "0",
        "run_type": "scheduled",
        "newest_window": True,
        "report_uri": "/nowhere/report.json",
        "connection": None,
        **changed,
    }


def put(name: str, dag_id: str | None, *extras: dict[str, Any], run_type: str = "scheduled") -> list[int]:
    """Put events of a monitor into Airflow's database, each with a DAG run of its own; their ids."""
    from airflow.models.asset import AssetEvent, AssetModel
    from airflow.models.dagrun import DagRun
    from airflow.utils.session import create_session
    from sqlalchemy import select

    asset_name = report_asset(name).name
    with create_session() as session:
        asset = session.scalars(select(AssetModel).where(AssetModel.name == asset_name)).one_or_none()
        if asset is None:
            asset = AssetModel(name=asset_name, uri=asset_name)
            session.add(asset)
            session.flush()
        events = []
        for one in extras:
            run_id = uuid.uuid4().hex
            if dag_id is not None:
                made = DagRun(dag_id=dag_id, run_id=run_id, run_type=run_type, run_after=T, state="success")
                session.add(made)
            events.append(
                AssetEvent(asset_id=asset.id, extra=one, source_dag_id=dag_id, source_run_id=run_id if dag_id else None)
            )
            session.add(events[-1])
            session.flush()
        return [event.id for event in events]


def of(name: str, readable: set[str], runs: int = 30) -> history.Monitor | None:
    from airflow.utils.session import create_session

    with create_session() as session:
        return history.monitor(session, name, readable, NOW, runs)


def fresh() -> tuple[str, str]:
    """A monitor's name and a DAG's id that no other test has."""
    unique = uuid.uuid4().hex[:12]
    return f"monitor-{unique}", f"dag-{unique}"


# --- history


def test_windows_stand_in_the_order_of_their_time_whenever_they_were_judged(airflow_db: None) -> None:
    name, dag_id = fresh()
    put(name, dag_id, extra(2), extra(0), extra(1))
    found = of(name, {dag_id})
    assert found is not None
    assert [one.now.scheduled.hour for one in found.windows] == [9, 10, 11]


def test_a_window_that_was_run_again_with_more_labels_keeps_what_it_said_before(airflow_db: None) -> None:
    name, dag_id = fresh()
    put(name, dag_id, extra(), extra(records=99, ground_truth_as_of="2026-11-12T00:00:00Z"))
    found = of(name, {dag_id})
    assert found is not None
    [window] = found.windows
    assert (window.now.records, [one.records for one in window.before]) == (99, [75])


def test_a_run_that_was_merely_repeated_is_no_revision(airflow_db: None) -> None:
    name, dag_id = fresh()
    put(name, dag_id, extra(), extra())
    found = of(name, {dag_id})
    assert found is not None
    assert [list(one.before) for one in found.windows] == [[]]


def test_an_explicit_window_stands_apart_from_those_of_the_schedule(airflow_db: None) -> None:
    name, dag_id = fresh()
    asked = extra(5)
    asked["window"]["source"] = "params"
    put(name, dag_id, extra(), asked)
    found = of(name, {dag_id})
    assert found is not None
    assert (len(found.windows), len(found.explicit)) == (1, 1)
    assert found.last is found.windows[-1]


def test_a_long_backfill_does_not_hide_the_newest_window(airflow_db: None) -> None:
    name, dag_id = fresh()
    put(name, dag_id, extra(1))
    put(name, dag_id, *[extra(-hour) for hour in range(2, 10)], run_type="backfill")
    found = of(name, {dag_id}, runs=4)
    assert found is not None
    assert found.last is not None
    assert found.last.now.scheduled.hour == 10


def test_no_more_runs_are_read_than_were_asked_for(airflow_db: None) -> None:
    name, dag_id = fresh()
    put(name, dag_id, *[extra(hour) for hour in range(9)])
    found = of(name, {dag_id}, runs=4)
    assert found is not None
    assert [one.now.scheduled.hour for one in found.windows] == [14, 15, 16, 17]


def test_events_of_a_dag_that_may_not_be_read_are_not_there(airflow_db: None) -> None:
    name, dag_id = fresh()
    other = f"{dag_id}-other"
    put(name, dag_id, extra(0))
    put(name, other, extra(1))
    found = of(name, {other})
    assert found is not None
    assert [one.now.dag_id for one in found.windows] == [other]
    assert of(name, set()) is None


def test_an_event_that_no_task_emitted_is_not_believed(airflow_db: None) -> None:
    """Whoever may post to the API could otherwise name any file as a report."""
    name, dag_id = fresh()
    [event] = put(name, None, extra(report_uri="/etc/report.json"))
    from airflow.utils.session import create_session

    assert of(name, {dag_id}) is None
    with create_session() as session:
        assert history.verdict(session, event, {dag_id}) is None


@pytest.mark.parametrize("broken", [{}, {"window": 3}, {"metrics": None}, {"problem_type": "Ranking"}])
def test_an_event_that_says_something_else_is_left_out(airflow_db: None, broken: dict[str, Any]) -> None:
    name, dag_id = fresh()
    put(name, dag_id, extra(0), (extra(1) | broken) if broken else {})
    found = of(name, {dag_id})
    assert found is not None
    assert len(found.windows) == 1


def test_what_earlier_versions_of_airflow_keep_as_text_is_read_too(airflow_db: None) -> None:
    name, dag_id = fresh()
    put(name, dag_id, {key: json.dumps(one) if isinstance(one, dict | list) else one for key, one in extra().items()})
    found = of(name, {dag_id})
    assert found is not None
    assert found.windows[0].now.metrics["precision"] == 0.7


def test_what_sagemaker_s_merger_did_not_count_is_shown_as_not_known(airflow_db: None) -> None:
    from airflow_mq_provider.plugin import pages

    name, dag_id = fresh()
    put(name, dag_id, extra(records=None, captures=None, label_coverage=None))
    found = of(name, {dag_id})
    assert found is not None
    assert "records not counted" in pages.overview([found])
    assert "None" not in pages.monitor_page(found, "recall", 30)


REVISION = {
    "number": 1,
    "why": ["labels_came_late"],
    "before": {
        "ground_truth_as_of": "2026-11-10T09:00:00Z",
        "status": "Completed",
        "matched": 75,
        "label_coverage": 0.75,
        "metrics": {"recall": 0.8},
        "violations": [],
    },
}
AGES = {"labelled": {"1": 500, "24": 270, "30": 20, "48": 10}, "unlabelled": {"168": 200}}


def page_of(name: str, dag_id: str) -> str:
    from airflow_mq_provider.plugin import pages

    found = of(name, {dag_id})
    assert found is not None
    return re.sub(r"<style>.*?</style>", "", pages.monitor_page(found, "recall", 30), flags=re.DOTALL)


def test_a_revision_is_told_with_its_reason_and_once(airflow_db: None) -> None:
    name, dag_id = fresh()
    later = extra(records=99, ground_truth_as_of="2026-11-12T00:00:00Z", revision=REVISION)
    put(name, dag_id, extra(), later)
    text = page_of(name, dag_id)
    assert text.count("revision 1: labels came late") == 1
    assert text.count("75.0% labelled") == 1


def test_a_revision_is_told_where_the_event_of_what_it_revises_is_gone(airflow_db: None) -> None:
    name, dag_id = fresh()
    put(name, dag_id, extra(records=99, ground_truth_as_of="2026-11-12T00:00:00Z", revision=REVISION))
    text = page_of(name, dag_id)
    assert "0.8000, 75.0% labelled<small>labels as of" in text
    assert "revision 1: labels came late" in text


def test_how_late_labels_come_is_drawn_with_offsets_that_would_have_seen_them(airflow_db: None) -> None:
    name, dag_id = fresh()
    put(name, dag_id, extra(label_ages=AGES))
    text = page_of(name, dag_id)
    assert "80.0% of the captures have a label after 7 days" in text
    offsets = [
        re.findall(r"<code>(.*?)</code>", row) for row in re.findall(r"<tr><th.*?</tr>", text) if "<code>" in row
    ]
    assert offsets == [["-P1DT1H", "-P1D"], ["-P2DT1H", "-P2D"]]


def test_where_no_label_s_age_is_known_no_curve_is_drawn(airflow_db: None) -> None:
    name, dag_id = fresh()
    put(name, dag_id, extra(label_ages=None))
    assert "How late labels come" not in page_of(name, dag_id)


def test_noise_is_told_from_change(airflow_db: None) -> None:
    from airflow_mq_provider.plugin import pages

    violated: dict[str, Any] = {
        "status": "CompletedWithViolations",
        "constraints": {"recall": {"threshold": 0.808, "comparison_operator": "LessThanThreshold"}},
        "violations": ["recall"],
        "within_noise": ["recall"],
    }
    name, dag_id = fresh()
    put(name, dag_id, extra(**violated), extra(1, **violated, reason_code="within_noise") | {"status": "Completed"})
    found = of(name, {dag_id})
    assert found is not None
    assert pages._word(found.windows[0].now) == pages._WORDS["CompletedWithViolations"]
    page = pages.monitor_page(found, "recall", 30)
    assert "Within noise of its constraints" in page
    assert "<strong>recall</strong> 0.8010, limit at least 0.8080, 0.7 sd below: within noise" in page
    assert "limit 0.8080, beyond, 0.8 sd below: within noise" in page  # the window before
    assert "Worse than its constraints" not in page
    assert page.count('<tr class="violated">') == 1
    assert "within noise" in pages.overview([found])


def test_an_event_of_an_earlier_version_says_nothing_of_noise(airflow_db: None) -> None:
    name, dag_id = fresh()
    put(name, dag_id, extra(status="CompletedWithViolations", violations=["recall"]))
    found = of(name, {dag_id})
    assert found is not None
    assert found.windows[0].now.noise == frozenset()


def test_more_monitors_and_more_windows_cost_no_more_queries(airflow_db: None) -> None:
    from airflow import settings
    from airflow.utils.session import create_session
    from sqlalchemy import event

    dags = {fresh() for _ in range(20)}

    def queries() -> int:
        said: list[str] = []

        def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
            said.append(statement)

        event.listen(settings.engine, "before_cursor_execute", note)
        try:
            with create_session() as session:
                history.monitors(session, {dag_id for _, dag_id in dags}, NOW)
        finally:
            event.remove(settings.engine, "before_cursor_execute", note)
        return len(said)

    first, *others = dags
    put(*first, extra())
    few = queries()
    for name, dag_id in others:
        put(name, dag_id, *[extra(hour) for hour in range(5)])
    assert queries() == few > 0


def test_events_are_found_by_an_index_that_airflow_has(airflow_db: None) -> None:
    from airflow import settings
    from airflow.utils.session import create_session
    from sqlalchemy import event

    name, dag_id = fresh()
    put(name, dag_id, extra())
    said: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, given: Any, *_: Any) -> None:
        said.append((statement, given))

    event.listen(settings.engine, "before_cursor_execute", note)
    with create_session() as session:
        history.monitors(session, {dag_id}, NOW)
        event.remove(settings.engine, "before_cursor_execute", note)
        plans = [
            " ".join(row[-1] for row in session.connection().exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", given))
            for statement, given in said
            if "asset_event" in statement
        ]
    assert len(plans) == 2
    for plan in plans:
        assert "SCAN asset_event" not in plan
        assert plan.count("idx_asset_id_timestamp (asset_id=?") >= 2


def test_failed_and_late_runs_are_owed_and_those_of_a_paused_dag_are_not(airflow_db: None) -> None:
    from airflow.models.dag import DagModel
    from airflow.models.dagbundle import DagBundleModel
    from airflow.models.dagrun import DagRun
    from airflow.utils.session import create_session

    name, dag_id = fresh()
    put(name, dag_id, extra(-5))
    with create_session() as session:
        bundle = session.get(DagBundleModel, "dags-folder") or DagBundleModel(name="dags-folder")
        session.add(bundle)
        session.flush()
        dag = DagModel(dag_id=dag_id, bundle_name="dags-folder", is_paused=False)
        dag.next_dagrun_create_after = NOW - timedelta(hours=3)
        session.add(dag)
        for state, hours in (("failed", 2), ("running", 3), ("failed", 9)):
            made = DagRun(dag_id=dag_id, run_id=f"{state}{hours}", run_type="scheduled", state=state)
            made.run_after = NOW - timedelta(hours=hours)
            session.add(made)
    found = of(name, {dag_id})
    assert found is not None
    assert found.missing == history.Missing(paused=False, not_started=3, unfinished=1, failed=1)


def test_the_plugin_loads_neither_a_web_framework_nor_the_pages() -> None:
    program = (
        "import sys, airflow.plugins_manager; before = set(sys.modules); import airflow_mq_provider.plugin; "
        "print(*sorted(set(sys.modules) - before))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.splitlines()[-1].split())
    assert {"airflow_mq_provider.plugin"} <= loaded <= {"airflow_mq_provider", "airflow_mq_provider.plugin"}


# --- served


class Site:
    """An API server under a path, and what it answers to whom."""

    def __init__(self, address: str, tokens: dict[str, str]) -> None:
        self.address = address
        self.tokens = tokens

    def get(self, path: str, user: str | None = "reader") -> tuple[int, str, dict[str, str]]:
        request = urllib.request.Request(f"{self.address}{path}")  # noqa: S310 - on 127.0.0.1
        if user:
            request.add_header("Authorization", f"Bearer {self.tokens[user]}")
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
                return answer.status, answer.read().decode(), dict(answer.headers)
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode(), dict(error.headers)


@pytest.fixture(scope="module")
def site(airflow_db: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A real API server with users, on the database of these tests, under a path with a prefix."""
    folder = tmp_path_factory.mktemp("site")
    passwords = folder / "passwords.json"
    passwords.write_text(json.dumps({"reader": "r", "stranger": "s"}))
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port = listening.getsockname()[1]
    base = f"http://127.0.0.1:{port}{PREFIX}"
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "AIRFLOW__API__BASE_URL": base,
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__API__WORKERS": "1",
        "AIRFLOW__CORE__AUTH_MANAGER": "tests.airflow_users.ByDag",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "False",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(passwords),
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": "reader:admin,stranger:viewer",
    }
    log = folder / "log"
    with log.open("wb") as said:
        server = subprocess.Popen(
            [str(Path(sys.executable).parent / "airflow"), "api-server", "--apps", "core"],
            env=environment, stdout=said, stderr=said, start_new_session=True,
        )  # fmt: skip
    try:
        yield Site(
            base, {user: token_of(base, user, password, log) for user, password in (("reader", "r"), ("stranger", "s"))}
        )
    finally:
        for sent in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(server.pid, sent)
                server.wait(timeout=20)
            except (ProcessLookupError, subprocess.TimeoutExpired):
                continue


def token_of(base: str, user: str, password: str, log: Path) -> str:
    """Log in, once the server answers."""
    body = json.dumps({"username": user, "password": password}).encode()
    request = urllib.request.Request(f"{base}/auth/token", body, {"Content-Type": "application/json"})  # noqa: S310
    for _ in range(600):
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
                return str(json.load(answer)["access_token"])
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.2)
    pytest.fail(log.read_text()[-3000:])


@pytest.fixture
def judged(make_dag: MakeDag, runs: Runs, churn: Churn) -> Callable[[str], Any]:
    """A DAG whose two runs have judged two windows of a monitor, one of them worse than its constraint."""

    def make(name: str) -> Any:
        churn.hours(T - timedelta(hours=2), 2)
        churn.constrained(recall=1.5)
        dag = make_dag('model_quality_dag(monitor, schedule="0 * * * *", start_date=START)', name=name)
        for hour in ("08", "09"):
            runs.trigger(dag, logical_date=f"2026-11-10T{hour}:00:00Z")
        for run in runs.of(dag):
            runs.finish(dag, run.run_id)
        return dag

    return make


ROUTES = ["/", "/monitor?name=m", "/run?dag_id=d&run_id=r", "/report?event=1"]


def test_every_route_is_known_to_these_tests() -> None:
    from airflow_mq_provider.plugin.app import make_app

    assert {route.path for route in make_app().routes} == {path.partition("?")[0] for path in ROUTES}


@pytest.mark.parametrize("path", ROUTES)
def test_without_a_token_every_route_says_401(site: Site, path: str) -> None:
    status, text, _ = site.get(f"/model-quality{path}", user=None)
    assert (status, "Not authenticated" in text) == (401, True)


def test_a_user_without_rights_on_a_dag_sees_nothing_of_it(
    site: Site, judged: Callable[[str], Any], runs: Runs
) -> None:
    name, _ = fresh()
    dag = judged(name)
    run_id = quote(runs.of(dag)[-1].run_id)
    text = site.get(f"/model-quality/monitor?name={name}")[1]
    [event] = set(re.findall(r'dd><a href="(report\?event=\d+)"', text))
    paths = ["/", f"/monitor?name={name}", f"/run?dag_id={dag.dag_id}&run_id={run_id}", f"/{event}"]
    for path in paths:
        seen, hidden = site.get(f"/model-quality{path}"), site.get(f"/model-quality{path}", "stranger")
        assert (seen[0], name in seen[1]) == (200, True), path
        assert hidden[0] == (200 if path == "/" else 404), path
        assert dag.dag_id not in hidden[1]
        assert path == paths[1] or name not in hidden[1]
    assert name not in re.sub(r"<title>.*?</title>", "", site.get(f"/model-quality/monitor?name={name}", "stranger")[1])


def test_pages_and_reports_carry_a_policy_of_their_own(site: Site, judged: Callable[[str], Any]) -> None:
    name, _ = fresh()
    judged(name)
    _, text, headers = site.get(f"/model-quality/monitor?name={name}")
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "unsafe" not in headers["content-security-policy"]
    event = re.findall(r"report\?event=\d+", text)[0]
    _, report, headers = site.get(f"/model-quality/{event}")
    assert "Worse than its constraints" in report
    assert headers["content-security-policy"].startswith("sandbox; default-src 'none'")


def test_a_report_that_is_gone_is_told_and_not_an_error(site: Site, judged: Callable[[str], Any], churn: Churn) -> None:
    name, _ = fresh()
    judged(name)
    event = re.findall(r"report\?event=\d+", site.get(f"/model-quality/monitor?name={name}")[1])[0]
    shutil.rmtree(Path(churn.root) / "reports")
    status, text, _ = site.get(f"/model-quality/{event}")
    assert (status, "The report cannot be shown" in text) == (404, True)


@pytest.fixture(scope="module")
def chromium(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A Chromium in which `reader` has logged in."""
    with started(tmp_path_factory.mktemp("chromium"), "--window-size=1400,1000") as driver:
        driver.implicitly_wait(30)
        driver.get(f"{site.address}/api/v2/version")
        driver.add_cookie({"name": "_token", "value": site.tokens["reader"], "path": PREFIX})
        yield driver


def asked_for(driver: Any) -> set[str]:
    """The hosts that were asked for anything."""
    messages = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
    urls = [one["params"]["request"]["url"] for one in messages if one["method"] == "Network.requestWillBeSent"]
    return {url.split("/")[2].partition(":")[0] for url in urls if url.startswith("http")}


def ours(driver: Any) -> list[str]:
    """What the console says of our pages; that Airflow's frame is a weak sandbox is Airflow's choice."""
    said = [one["message"] for one in driver.get_log("browser")]
    return [one for one in said if "/model-quality/" in one and "can escape its sandboxing" not in one]


def test_the_navigation_leads_to_all_monitors_and_on_to_one(
    site: Site, chromium: Any, judged: Callable[[str], Any]
) -> None:
    name, _ = fresh()
    dag = judged(name)
    chromium.get(f"{site.address}/plugin/model-quality")
    chromium.switch_to.frame(chromium.find_element("css selector", "iframe"))
    chromium.find_element("link text", name).click()
    assert chromium.find_element("css selector", "h1").text == name
    assert len(chromium.find_elements("css selector", ".history [role=img] use.beyond")) == 2
    assert len(chromium.find_elements("css selector", ".history [role=img] .curve")) == 1
    assert len(chromium.find_elements("css selector", ".runs tbody tr")) == 2
    chromium.find_element("css selector", ".pairs a[data-airflow]").click()
    chromium.switch_to.default_content()
    chromium.find_element("partial link text", dag.dag_id)
    assert f"{PREFIX}/dags/{dag.dag_id}/runs/" in chromium.current_url
    assert ours(chromium) == []
    assert asked_for(chromium) == {"127.0.0.1"}


def test_the_tab_of_a_run_shows_its_report(site: Site, chromium: Any, judged: Callable[[str], Any], runs: Runs) -> None:
    name, _ = fresh()
    dag = judged(name)
    run_id = quote(runs.of(dag)[-1].run_id)
    chromium.get(f"{site.address}/dags/{dag.dag_id}/runs/{run_id}/plugin/model-quality-run")
    chromium.switch_to.frame(chromium.find_element("css selector", "iframe"))
    assert chromium.find_element("css selector", ".bar strong").text == name
    chromium.switch_to.frame(chromium.find_element("css selector", "iframe"))
    assert "Worse than its constraints" in chromium.find_element("css selector", ".verdict").text
    assert ours(chromium) == []
    chromium.switch_to.default_content()


def test_a_monitor_s_page_shows_revisions_and_how_late_labels_come(
    site: Site, chromium: Any, judged: Callable[[str], Any]
) -> None:
    name, _ = fresh()
    dag = judged(name)
    put(name, dag.dag_id, extra(records=99, revision=REVISION, label_ages=AGES))
    chromium.get(f"{site.address}/model-quality/monitor?name={name}")
    assert "revision 1: labels came late" in chromium.find_element("css selector", ".runs").text
    assert len(chromium.find_elements("css selector", "[aria-labelledby=label-age] [role=img] .curve")) == 1
    assert len(chromium.find_elements("css selector", "[aria-labelledby=label-age] [role=img] .inside")) == 2
    assert "-P2DT1H" in chromium.find_element("css selector", ".offsets").text
    whole = chromium.execute_script(
        "return document.documentElement.scrollWidth <= document.documentElement.clientWidth"
    )
    assert whole
    assert ours(chromium) == []


@pytest.mark.parametrize(("monitors", "folded"), [(3, False), (12, True)])
def test_the_tab_of_a_fleet_leads_to_all_its_monitors_and_names_the_worst_first(
    airflow_db: None, monitors: int, folded: bool
) -> None:
    from airflow_mq_provider.plugin import pages

    verdicts = {}
    worst, _ = fresh()
    for name in (fresh()[0], worst, *(fresh()[0] for _ in range(monitors - 2))):
        put(name, "a-fleet", extra(status="CompletedWithViolations" if name == worst else "Completed"))
        found = of(name, {"a-fleet"})
        assert found is not None
        verdicts[name] = found.windows[0].now
    first = pages.worst_first(verdicts)
    assert (first[0], first[1:]) == (worst, sorted(first[1:]))
    page = pages.run_page(verdicts, first[1])
    assert re.findall(r"&amp;monitor=([\w-]+)\"", page) == [first[0], *first[2:]]
    assert ("<details>" in page) is folded
    assert page.count('class="bad">') == 1


def test_hostile_names_run_no_script_and_make_no_element(
    site: Site, chromium: Any, judged: Callable[[str], Any]
) -> None:
    name, _ = fresh()
    dag = judged(name)
    hostile = f"{HOSTILE}{name}"
    put(hostile, dag.dag_id, extra(status="NotJudged", reason=HOSTILE, run_type=HOSTILE, ground_truth_as_of=HOSTILE))
    for path in ("/model-quality/", f"/model-quality/monitor?name={quote(hostile)}"):
        chromium.get(f"{site.address}{path}")
        assert "<script>window.hit=1</script>" in chromium.find_element("css selector", "body").text
        assert chromium.execute_script("return typeof window.hit") == "undefined"
        assert chromium.execute_script("return document.body.querySelectorAll('script, img').length") == 0


def test_pages_follow_airflow_s_dark_and_light(site: Site, chromium: Any, judged: Callable[[str], Any]) -> None:
    judged(fresh()[0])
    grounds = []
    for theme in ("light", "dark"):
        chromium.get(f"{site.address}/plugin/model-quality")
        frame = chromium.find_element("css selector", "iframe")
        chromium.execute_script(f"document.documentElement.className = '{theme}'")
        chromium.switch_to.frame(frame)
        chromium.find_element("css selector", ".monitors")
        grounds.append(chromium.execute_script("return getComputedStyle(document.body).backgroundColor"))
        chromium.switch_to.default_content()
    assert grounds == ["rgb(255, 255, 255)", "rgb(18, 22, 27)"]
