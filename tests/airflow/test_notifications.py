"""Who is told of a verdict, and when: DAG runs that turn good and bad, a mail server and an SNS on 127.0.0.1."""

from __future__ import annotations

import asyncio
import email
import email.policy
import json
import threading
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs

import boto3
import pytest

from airflow_mq_provider.exceptions import ModelQualityError
from airflow_mq_provider.window import hour_folder
from tests.airflow_world import Churn, MakeDag, Runs
from tests.world import label_line

DAY = datetime(2026, 11, 10, tzinfo=UTC)


class MailServer:
    """A mail server that keeps what it takes."""

    def __init__(self) -> None:
        self.mails: list[tuple[list[str], Any]] = []
        self.refuse = False
        self.port = 0

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        if self.refuse:
            return "554 not today"
        self.mails.append((envelope.rcpt_tos, email.message_from_bytes(envelope.content, policy=email.policy.default)))
        return "250 kept"

    def subjects(self) -> list[str]:
        return [mail["subject"] for _, mail in self.mails]


@pytest.fixture
def mail_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[MailServer]:
    """The server behind the connection ``smtp_of_tests``."""
    from aiosmtpd.smtp import SMTP

    kept = MailServer()
    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(loop.create_server(lambda: SMTP(kept, loop=loop), "127.0.0.1", 0))
    kept.port = server.sockets[0].getsockname()[1]
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    extra = {"disable_ssl": True, "disable_tls": True, "from_email": "airflow@example.com", "retry_limit": 1}
    connection = {"conn_type": "smtp", "host": "127.0.0.1", "port": kept.port, "extra": extra}
    monkeypatch.setenv("AIRFLOW_CONN_SMTP_OF_TESTS", json.dumps(connection))
    yield kept

    async def close() -> None:
        server.close()
        await asyncio.sleep(0)

    asyncio.run_coroutine_threadsafe(close(), loop).result()
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


NOTIFIERS = """
from airflow.providers.amazon.aws.notifications.sns import SnsNotifier
from airflow.providers.smtp.notifications.smtp import SmtpNotifier

from airflow_mq_provider import ModelQualityNotifier

def mail(alert):
    return SmtpNotifier(
        to="oncall@example.com", subject=alert.subject, html_content=alert.html, smtp_conn_id="smtp_of_tests"
    )

templated = SmtpNotifier(
    to="oncall@example.com", subject="{{ alert.subject }}", html_content="{{ alert.html }}", smtp_conn_id="smtp_of_tests"
)
"""


def hour(churn: Churn, number: int, kind: str) -> None:
    """An hour of predictions: all right (g), all wrong (v), or not labelled (n)."""
    time = DAY + timedelta(hours=number)
    churn.hours(time, 1, labelled=0 if kind == "n" else 8)
    if kind == "v":
        wrong = [label_line(f"{time:%d%H}-{row}", "0" if row > 4 else "1") for row in range(8)]
        churn.put(f"labels/{hour_folder(time)}/a.jsonl", wrong)


def judge(runs: Runs, dag: Any, number: int, **body: Any) -> dict[str, str]:
    """Run the hour that ends with this one, and return the states of its tasks."""
    before = {run.run_id for run in runs.of(dag)}
    runs.trigger(dag, logical_date=(DAY + timedelta(hours=number + 1)).isoformat(), **body)
    [made] = [run.run_id for run in runs.of(dag) if run.run_id not in before]
    return runs.finish(dag, made)


@pytest.fixture
def churn(churn: Churn) -> Churn:
    churn.constrained(recall=0.5)
    return churn


@pytest.mark.parametrize("send", ["mail", "templated"])
def test_the_first_violation_and_the_recovery_are_told_and_nothing_in_between(
    make_dag: MakeDag, runs: Runs, churn: Churn, mail_server: MailServer, send: str
) -> None:
    name = f"m-{uuid.uuid4().hex}"
    source = f"""{NOTIFIERS}
model_quality_dag(monitor, schedule="0 * * * *", start_date=START, notify=ModelQualityNotifier({send}))
"""
    dag = make_dag(source, name=name)
    for number, kind in enumerate("gvvng"):
        hour(churn, number, kind)
        states = judge(runs, dag, number)
        assert states["notify_quality"] == "success"
    assert mail_server.subjects() == [
        f"{name}: the model is worse than its constraints",
        f"{name}: the model is within its constraints again",
    ]
    [to, first] = mail_server.mails[0]
    assert to == ["oncall@example.com"]
    assert "recall is 0.0000, and should be at least 0.5000" in first.get_body().get_content()


def test_sns_gets_what_its_subscribers_are_to_read(
    make_dag: MakeDag, runs: Runs, churn: Churn, aws_connection: str, s3_endpoint: str
) -> None:
    sns, sqs = (boto3.client(service, endpoint_url=s3_endpoint) for service in ("sns", "sqs"))
    topic = sns.create_topic(Name=f"t-{uuid.uuid4().hex}")["TopicArn"]
    queue = sqs.create_queue(QueueName=f"q-{uuid.uuid4().hex}")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)
    source = f"""{NOTIFIERS}
notify = ModelQualityNotifier(
    SnsNotifier(
        aws_conn_id="{aws_connection}", target_arn="{topic}", subject="{{{{ alert.subject }}}}", message="{{{{ alert.plain }}}}"
    )
)
model_quality_dag(monitor, schedule="0 * * * *", start_date=START, notify=notify)
"""
    dag = make_dag(source, name="of-sns")
    hour(churn, 0, "v")
    judge(runs, dag, 0)
    [message] = sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10)["Messages"]
    told = json.loads(message["Body"])
    assert told["Subject"] == "of-sns: the model is worse than its constraints"
    assert told["Message"].endswith("/of-sns/2026/11/10/01/report.json")


class Chat(BaseHTTPRequestHandler):
    """Takes what is posted to a channel, and keeps it in its server's ``posted``."""

    def do_POST(self) -> None:
        said = self.rfile.read(int(self.headers["Content-Length"])).decode()
        posted = json.loads(said) if said.startswith("{") else {name: one for name, [one] in parse_qs(said).items()}
        self.server.posted.append((self.path, posted))
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(b'{"ok": true}')

    def log_message(self, *said: Any) -> None:
        """Say nothing of requests."""


@pytest.fixture
def posted(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[str, dict[str, Any]]]]:
    """What the Slack behind the connection ``slack_of_tests`` was asked to post: the method's path, and its arguments."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Chat)
    server.posted = []
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    extra = {"base_url": f"http://127.0.0.1:{server.server_port}/api/"}
    connection = {"conn_type": "slack", "password": "xoxb-of-tests", "extra": extra}
    monkeypatch.setenv("AIRFLOW_CONN_SLACK_OF_TESTS", json.dumps(connection))
    yield server.posted
    server.shutdown()
    thread.join()
    server.server_close()


def test_slack_gets_blocks(
    make_dag: MakeDag, runs: Runs, churn: Churn, posted: list[tuple[str, dict[str, Any]]]
) -> None:
    pytest.importorskip("airflow.providers.slack", reason="Slack's provider is not installed")
    source = f"""{NOTIFIERS}
from airflow.providers.slack.notifications.slack import SlackNotifier

def chat(alert):
    return SlackNotifier(slack_conn_id="slack_of_tests", channel="#ml", text=alert.short, blocks=alert.blocks)

model_quality_dag(monitor, schedule="0 * * * *", start_date=START, notify=ModelQualityNotifier(chat))
"""
    dag = make_dag(source, name="of-slack")
    hour(churn, 0, "v")
    assert judge(runs, dag, 0)["notify_quality"] == "success"
    [(path, message)] = posted
    assert (path, message["channel"]) == ("/api/chat.postMessage", "#ml")
    assert message["text"].startswith("of-slack: the model is worse than its constraints. recall is 0.0000")
    blocks = message["blocks"] if isinstance(message["blocks"], list) else json.loads(message["blocks"])
    assert [block["type"] for block in blocks] == ["header", "section", "context"]


def test_a_message_that_cannot_be_sent_fails_its_task_and_keeps_no_other_from_being_sent(
    make_dag: MakeDag, runs: Runs, churn: Churn, mail_server: MailServer
) -> None:
    source = f"""{NOTIFIERS}
def broken(alert):
    raise RuntimeError("no such channel")
notify = ModelQualityNotifier([broken, mail])
model_quality_dag(monitor, schedule="0 * * * *", start_date=START, notify=notify)
"""
    dag = make_dag(source, name="of-broken-notifiers")
    hour(churn, 0, "v")
    assert judge(runs, dag, 0) == {
        "merge_ground_truth": "success",
        "analyze_quality": "success",
        "notify_quality": "failed",
    }
    assert len(mail_server.mails) == 1


def test_a_message_that_was_refused_is_sent_when_its_task_is_tried_again(
    make_dag: MakeDag, runs: Runs, churn: Churn, mail_server: MailServer
) -> None:
    source = f"""{NOTIFIERS}
model_quality_dag(monitor, schedule="0 * * * *", start_date=START, notify=ModelQualityNotifier(mail))
"""
    dag = make_dag(source, name="of-refused-mail")
    hour(churn, 0, "v")
    mail_server.refuse = True
    assert judge(runs, dag, 0)["notify_quality"] == "failed"
    mail_server.refuse = False
    runs.clear(dag, "notify_quality")
    assert runs.finish(dag)["notify_quality"] == "success"
    assert len(mail_server.mails) == 1


def test_windows_of_the_past_are_not_told(make_dag: MakeDag, runs: Runs, churn: Churn, mail_server: MailServer) -> None:
    source = f"""{NOTIFIERS}
model_quality_dag(monitor, schedule="0 * * * *", start_date=START, notify=ModelQualityNotifier(mail))
"""
    dag = make_dag(source, name="of-the-past")
    for number, kind in ((5, "g"), (2, "v")):
        hour(churn, number, kind)
        judge(runs, dag, number)
    window = {"window_start": "2026-11-10T02:00:00Z", "window_end": "2026-11-10T03:00:00Z"}
    assert judge(runs, dag, 8, conf=window)["notify_quality"] == "success"
    assert mail_server.mails == []


def test_a_notifier_is_a_callback_too(make_dag: MakeDag, runs: Runs, churn: Churn, mail_server: MailServer) -> None:
    source = f"""{NOTIFIERS}
dag = model_quality_dag(monitor, schedule="0 * * * *", start_date=START)
dag.task_dict["analyze_quality"].on_success_callback = [ModelQualityNotifier(mail)]
"""
    dag = make_dag(source, name="of-callbacks")
    for number, kind in enumerate("vv"):
        hour(churn, number, kind)
        judge(runs, dag, number)
    assert mail_server.subjects() == ["of-callbacks: the model is worse than its constraints"]


@pytest.mark.parametrize("send", [[], [None], "oncall@example.com"], ids=["nobody", "nothing", "an address"])
def test_a_notifier_that_would_tell_nobody_is_refused(airflow_db: None, send: Any) -> None:
    from airflow_mq_provider import ModelQualityNotifier

    with pytest.raises(ModelQualityError, match="where: send"):
        ModelQualityNotifier(send)


def test_a_policy_that_is_none_is_refused_when_the_dag_is_parsed(airflow_db: None) -> None:
    from airflow_mq_provider import ModelQualityNotifier

    with pytest.raises(ModelQualityError, match="one of first, every; came 'hourly'"):
        ModelQualityNotifier(print, repeat="hourly")
