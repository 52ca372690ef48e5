"""What is particular to S3: against the loopback S3, and against one that follows a script of faults."""

from __future__ import annotations

import os
import pickle
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_mq_provider.exceptions import InputError, OutputError
from airflow_mq_provider.storage import ATTEMPTS, Storage
from tests.children import in_child


def put(client: Any, bucket: str, *keys: str) -> None:
    for key in keys:
        client.put_object(Bucket=bucket, Key=key, Body=b"x")


# --- the loopback S3


def test_more_keys_than_a_page_holds_are_all_listed_in_order(
    make_s3_client: Callable[[], Any], s3_client: Any, s3_bucket: str
) -> None:
    """A page has at most 1,000 keys; here 10, so that 25 make three of them."""

    pages: list[int] = []

    def small_pages() -> Any:
        client = make_s3_client()
        client.meta.events.register(
            "provide-client-params.s3.ListObjectsV2", lambda params, **_: {**params, "MaxKeys": 10}
        )
        client.meta.events.register("after-call.s3.ListObjectsV2", lambda parsed, **_: pages.append(parsed["KeyCount"]))
        return client

    keys = [f"2020/01/09/{number % 24:02}/part-{number:04}" for number in range(25)]
    put(s3_client, s3_bucket, *(f"capture/{key}" for key in keys))
    storage = Storage(small_pages)
    assert [stored.key for stored in storage.list(f"s3://{s3_bucket}/capture")] == sorted(keys)
    assert pages == [10, 10, 5]
    assert [stored.key for stored in storage.list(f"s3://{s3_bucket}/capture", start_after=min(keys))] == sorted(keys)[
        1:
    ]


def test_a_whole_bucket_can_be_listed(s3_storage: Storage, s3_client: Any, s3_bucket: str) -> None:
    put(s3_client, s3_bucket, "a", "b/c")
    for root in (f"s3://{s3_bucket}", f"s3://{s3_bucket}/"):
        assert [stored.uri for stored in s3_storage.list(root)] == [f"s3://{s3_bucket}/a", f"s3://{s3_bucket}/b/c"]


def test_folders_made_in_the_console_are_no_objects(s3_storage: Storage, s3_client: Any, s3_bucket: str) -> None:
    put(s3_client, s3_bucket, "root/", "root/2020/", "root/2020/x")
    assert [stored.key for stored in s3_storage.list(f"s3://{s3_bucket}/root")] == ["2020/x"]


def test_doubled_slashes_belong_to_the_key(s3_storage: Storage, s3_client: Any, s3_bucket: str) -> None:
    put(s3_client, s3_bucket, "root//a")
    [stored] = s3_storage.list(f"s3://{s3_bucket}/root")
    assert (stored.key, s3_storage.read(stored.uri)) == ("/a", b"x")


@pytest.mark.parametrize("use", ["list", "read", "chunks"])
def test_a_missing_bucket_is_an_input_error(use: str, s3_storage: Storage) -> None:
    uri = "s3://no-such-bucket-here/key"
    with pytest.raises(InputError) as caught:
        list(getattr(s3_storage, use)(uri))
    assert caught.value.expected == "a bucket that exists"
    assert caught.value.where == uri


@pytest.mark.parametrize("use", ["write", "write_file", "delete"])
def test_a_missing_bucket_is_an_output_error(use: str, s3_storage: Storage) -> None:
    uri = "s3://no-such-bucket-here/key"
    uses: dict[str, Callable[[], None]] = {
        "write": lambda: s3_storage.write(uri, b""),
        "write_file": lambda: s3_storage.write_file(uri, __file__),
        "delete": lambda: s3_storage.delete([uri]),
    }
    with pytest.raises(OutputError) as caught:
        uses[use]()
    assert caught.value.expected == "a bucket that exists"
    assert caught.value.where == uri


def test_a_bucket_that_cannot_exist_is_refused(s3_storage: Storage) -> None:
    with pytest.raises(InputError, match="Invalid bucket name"):
        s3_storage.read("s3://not a bucket/key")


@pytest.mark.parametrize("uri", ["s3://", "s3://bucket", "s3://bucket/", "s3:///key"])
def test_an_incomplete_uri_is_refused_before_s3_is_asked(uri: str) -> None:
    def never() -> None:
        raise AssertionError("a client was made")

    for use in (Storage(never).read, Storage(never).exists):
        with pytest.raises(InputError, match="s3://bucket/key"):
            use(uri)
    with pytest.raises(OutputError, match="s3://bucket/key"):
        Storage(never).write(uri, b"")


def test_a_directory_bucket_is_refused_since_its_listing_has_no_order(s3_storage: Storage) -> None:
    with pytest.raises(InputError, match="general purpose bucket"):
        list(s3_storage.list("s3://captures--euc1-az1--x-s3/capture"))


def test_deletion_takes_more_keys_than_a_request_may_name(s3_bucket: str, make_s3_client: Callable[[], Any]) -> None:
    requests: list[int] = []

    def counting() -> Any:
        client = make_s3_client()
        client.meta.events.register(
            "provide-client-params.s3.DeleteObjects",
            lambda params, **_: requests.append(len(params["Delete"]["Objects"])),
        )
        return client

    Storage(counting).delete(f"s3://{s3_bucket}/{number}" for number in range(2001))
    assert requests == [1000, 1000, 1]


def test_browsers_are_told_what_a_report_is(s3_storage: Storage, s3_client: Any, s3_bucket: str) -> None:
    for name in ("report.json", "report.html", "part"):
        s3_storage.write(f"s3://{s3_bucket}/{name}", b"")
    types = {
        name: s3_client.head_object(Bucket=s3_bucket, Key=name)["ContentType"]
        for name in ("report.json", "report.html")
    }
    assert types == {"report.json": "application/json", "report.html": "text/html; charset=utf-8"}


@dataclass
class Noted:
    """Makes clients of the loopback S3 that note their requests' parameters by operation."""

    make: Callable[[], Any]
    calls: dict[str, dict[str, Any]] = field(default_factory=dict)

    def __call__(self) -> Any:
        client = self.make()
        client.meta.events.register("provide-client-params.s3.*", self._note)
        return client

    def _note(self, params: dict[str, Any], model: Any, **_: object) -> None:
        self.calls[model.name] = params


def _everything(storage: Storage, root: str, source: Path) -> None:
    source.write_bytes(b"x")
    storage.write(f"{root}/a", b"x")
    storage.write_file(f"{root}/b", source)
    assert [stored.key for stored in storage.list(root)] == ["a", "b"]
    assert storage.exists(f"{root}/a")
    assert storage.read(f"{root}/a") == b"".join(storage.chunks(f"{root}/b"))
    storage.delete([f"{root}/a"])


def test_written_objects_are_encrypted_with_the_key(
    make_s3_client: Callable[[], Any], s3_client: Any, s3_bucket: str, tmp_path: Path
) -> None:
    key = "arn:aws:kms:eu-central-1:123456789012:key/11111111-2222-3333-4444-555555555555"
    storage = Storage(make_s3_client, kms_key_id=key)
    storage.write(f"s3://{s3_bucket}/a", b"x")
    (tmp_path / "b").write_bytes(b"x")
    storage.write_file(f"s3://{s3_bucket}/b", tmp_path / "b")
    for name in ("a", "b"):
        head = s3_client.head_object(Bucket=s3_bucket, Key=name)
        assert (head["ServerSideEncryption"], head["SSEKMSKeyId"]) == ("aws:kms", key)


def test_every_request_names_the_owner_that_is_expected(
    make_s3_client: Callable[[], Any], s3_bucket: str, tmp_path: Path
) -> None:
    noted = Noted(make_s3_client)
    _everything(Storage(noted, expected_bucket_owner="123456789012"), f"s3://{s3_bucket}/root", tmp_path / "source")
    assert set(noted.calls) == {"PutObject", "ListObjectsV2", "HeadObject", "GetObject", "DeleteObjects"}
    assert {name: params.get("ExpectedBucketOwner") for name, params in noted.calls.items()} == dict.fromkeys(
        noted.calls, "123456789012"
    )


def test_without_settings_no_request_names_a_key_or_an_owner(
    make_s3_client: Callable[[], Any], s3_bucket: str, tmp_path: Path
) -> None:
    noted = Noted(make_s3_client)
    _everything(Storage(noted), f"s3://{s3_bucket}/root", tmp_path / "source")
    named = {parameter for params in noted.calls.values() for parameter in params}
    assert named.isdisjoint({"ExpectedBucketOwner", "ServerSideEncryption", "SSEKMSKeyId"})


def test_listing_starts_where_it_is_told_instead_of_reading_what_comes_before(
    make_s3_client: Callable[[], Any], s3_bucket: str
) -> None:
    noted = Noted(make_s3_client)
    list(Storage(noted).list(f"s3://{s3_bucket}/capture", start_after="2020/01/09/12"))
    assert noted.calls["ListObjectsV2"]["Prefix"] == "capture/"
    assert noted.calls["ListObjectsV2"]["StartAfter"] == "capture/2020/01/09/12"


def test_the_default_client_honours_the_endpoint_of_the_environment(
    s3_endpoint: str, s3_client: Any, s3_bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_endpoint)
    put(s3_client, s3_bucket, "a")
    assert Storage().read(f"s3://{s3_bucket}/a") == b"x"


# --- one client a process


def test_threads_share_one_client(make_s3_client: Callable[[], Any], s3_client: Any, s3_bucket: str) -> None:
    made: list[int] = []

    def counting() -> Any:
        made.append(os.getpid())
        return make_s3_client()

    put(s3_client, s3_bucket, "a")
    storage = Storage(counting)
    barrier = threading.Barrier(8)

    def read(_: int) -> bytes:
        barrier.wait()
        return storage.read(f"s3://{s3_bucket}/a")

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(read, range(8))) == [b"x"] * 8
    assert made == [os.getpid()]


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_forked_child_makes_its_own_client(make_s3_client: Callable[[], Any], s3_client: Any, s3_bucket: str) -> None:
    """Two processes on one connection would read each other's answers."""
    makers: list[int] = []

    def counting() -> Any:
        makers.append(os.getpid())
        return make_s3_client()

    put(s3_client, s3_bucket, "a")
    uri = f"s3://{s3_bucket}/a"
    storage = Storage(counting)
    assert storage.read(uri) == b"x"

    def work() -> bytes:
        return storage.read(uri) + b" by " + (b"a new client" if makers[-1] == os.getpid() else b"the parent's client")

    assert in_child(work) == b"x by a new client"
    assert storage.read(uri) == b"x"
    assert makers == [os.getpid()]


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_fork_while_another_thread_makes_the_client_does_not_lock_the_child(
    make_s3_client: Callable[[], Any], s3_client: Any, s3_bucket: str
) -> None:
    put(s3_client, s3_bucket, "a")
    making, forked = threading.Event(), threading.Event()

    def slow_in_the_parent() -> Any:
        if threading.current_thread() is thread:
            making.set()
            forked.wait()
        return make_s3_client()

    storage = Storage(slow_in_the_parent)
    thread = threading.Thread(target=storage.exists, args=(f"s3://{s3_bucket}/a",))
    thread.start()
    making.wait()
    assert in_child(lambda: storage.read(f"s3://{s3_bucket}/a")) == b"x"
    forked.set()
    thread.join()


def test_a_storage_can_be_sent_to_another_process_after_use(
    s3_endpoint: str, s3_client: Any, s3_bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_endpoint)
    put(s3_client, s3_bucket, "a")
    storage = Storage(expected_bucket_owner="123456789012")
    assert storage.exists(f"s3://{s3_bucket}/a")
    assert pickle.loads(pickle.dumps(storage)).read(f"s3://{s3_bucket}/a") == b"x"


# --- an S3 that follows a script

DATA = bytes(range(256)) * 40


@dataclass
class Answer:
    """One answer of the scripted S3: an error, or the object, whole or broken off after some bytes."""

    status: int = 200
    code: str = ""
    breaks_after: int | None = None
    etag: str = '"v1"'
    checksum: str = ""


class ScriptedS3(ThreadingHTTPServer):
    """Answers each GET with the next of `script`, the last one again and again; notes the `Range` of each."""

    script: list[Answer]
    ranges: list[str | None]

    def client(self) -> Any:
        import boto3
        from botocore.config import Config

        return boto3.client(
            "s3",
            endpoint_url=f"http://127.0.0.1:{self.server_port}",
            # without retries of its own: what is seen here are those of `Storage`
            config=Config(retries={"total_max_attempts": 1}),
        )


class _Handler(BaseHTTPRequestHandler):
    server: ScriptedS3
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        script = self.server.script
        answer = script.pop(0) if len(script) > 1 else script[0]
        asked = self.headers.get("Range")
        self.server.ranges.append(asked)
        if answer.status == 200 and asked and self.headers.get("If-Match") != answer.etag:
            answer = Answer(412, "PreconditionFailed")
        if answer.status != 200:
            body = f"<Error><Code>{answer.code}</Code><Message>as the script says</Message></Error>".encode()
            self.send_response(answer.status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)
            return
        first, _, last = (asked or "bytes=0-").removeprefix("bytes=").partition("-")
        data = DATA[int(first) : int(last) + 1 if last else None]
        self.send_response(206 if asked else 200)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("ETag", answer.etag)
        if answer.checksum:
            self.send_header("x-amz-checksum-crc32", answer.checksum)
        self.end_headers()
        self.wfile.write(data[: answer.breaks_after])
        if answer.breaks_after is not None:
            self.close_connection = True

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_PUT(self) -> None:
        self.do_GET()

    def do_POST(self) -> None:
        self.do_GET()

    def log_message(self, *_: object) -> None:
        """Nothing is logged."""


@pytest.fixture
def scripted() -> Iterator[ScriptedS3]:
    server = ScriptedS3(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    server.script, server.ranges = [Answer()], []
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that were waited, without waiting for them."""
    waited: list[float] = []
    # only of the storage: other threads of the process sleep too
    monkeypatch.setattr("airflow_mq_provider.storage.time", SimpleNamespace(sleep=waited.append))
    return waited


PASSING = {
    "slow down": Answer(503, "SlowDown"),
    "internal error": Answer(500, "InternalError"),
    "throttling": Answer(400, "ThrottlingException"),
    "gateway": Answer(502, "BadGateway"),
    "broken body": Answer(breaks_after=1000),
    "no body": Answer(breaks_after=0),
}
URI = "s3://bucket/key"


@pytest.mark.parametrize("fault", PASSING.values(), ids=PASSING)
def test_a_read_is_tried_again_after_what_passes(fault: Answer, scripted: ScriptedS3, pauses: list[float]) -> None:
    scripted.script = [fault, fault, Answer()]
    assert Storage(scripted.client).read(URI) == DATA
    assert len(scripted.ranges) == 3
    assert pauses == [0.2, 0.4]


@pytest.mark.parametrize("fault", PASSING.values(), ids=PASSING)
def test_a_read_gives_up_after_a_bounded_number_of_attempts(
    fault: Answer, scripted: ScriptedS3, pauses: list[float]
) -> None:
    scripted.script = [fault]
    with pytest.raises(InputError) as caught:
        Storage(scripted.client).read(URI)
    assert caught.value.where == URI
    assert f"{ATTEMPTS} attempts" in caught.value.expected
    assert len(scripted.ranges) == ATTEMPTS
    assert len(pauses) == ATTEMPTS - 1


@pytest.mark.parametrize("fault", PASSING.values(), ids=PASSING)
def test_chunks_go_on_at_the_byte_where_they_stopped(fault: Answer, scripted: ScriptedS3, pauses: list[float]) -> None:
    scripted.script = [fault, fault, Answer()]
    assert b"".join(Storage(scripted.client).chunks(URI, size=100)) == DATA
    if fault.breaks_after:
        assert scripted.ranges == [None, "bytes=1000-", "bytes=2000-"]


def test_chunks_of_a_range_go_on_and_end_within_it(scripted: ScriptedS3, pauses: list[float]) -> None:
    scripted.script = [Answer(breaks_after=1000), Answer()]
    assert b"".join(Storage(scripted.client).chunks(URI, 100, etag="v1", start=500, stop=3000)) == DATA[500:3000]
    assert scripted.ranges == ["bytes=500-2999", "bytes=1500-2999"]


def test_chunks_bear_any_number_of_faults_as_long_as_bytes_arrive(scripted: ScriptedS3, pauses: list[float]) -> None:
    scripted.script = [Answer(breaks_after=1000)]
    assert b"".join(Storage(scripted.client).chunks(URI, size=100)) == DATA
    assert len(scripted.ranges) == 11 > ATTEMPTS


def test_chunks_give_up_where_no_byte_arrives_any_more(scripted: ScriptedS3, pauses: list[float]) -> None:
    scripted.script = [Answer(breaks_after=1000), Answer(503, "SlowDown")]
    chunks = Storage(scripted.client).chunks(URI, size=1000)
    assert next(chunks) == DATA[:1000]
    with pytest.raises(InputError, match="SlowDown"):
        next(chunks)
    assert len(scripted.ranges) == ATTEMPTS


def test_chunks_of_two_versions_are_never_put_together(scripted: ScriptedS3, pauses: list[float]) -> None:
    scripted.script = [Answer(breaks_after=1000), Answer(etag='"v2"')]
    with pytest.raises(InputError) as caught:
        list(Storage(scripted.client).chunks(URI, size=100))
    assert "stay as it is until it is read" in caught.value.expected


def test_a_read_whose_checksum_belies_it_is_tried_again(scripted: ScriptedS3, pauses: list[float]) -> None:
    scripted.script = [Answer(checksum="AAAAAA=="), Answer()]
    assert Storage(scripted.client).read(URI) == DATA
    assert len(scripted.ranges) == 2


def test_chunks_whose_checksum_belies_them_are_refused(scripted: ScriptedS3, pauses: list[float]) -> None:
    """They have been given already, so that nothing can be mended by another attempt."""
    scripted.script = [Answer(checksum="AAAAAA=="), Answer()]
    with pytest.raises(InputError, match="checksum"):
        list(Storage(scripted.client).chunks(URI, size=100))


LASTING = {
    "no permission": (Answer(403, "AccessDenied"), "permission to read"),
    "expired token": (Answer(400, "ExpiredToken"), "valid AWS credentials"),
    "wrong key": (Answer(403, "SignatureDoesNotMatch"), "valid AWS credentials"),
    "other region": (Answer(400, "IllegalLocationConstraintException"), "a bucket of the client's region"),
    "archived": (Answer(403, "InvalidObjectState"), "an object that can be read now"),
    "disabled key": (Answer(400, "KMS.DisabledException"), "a usable KMS key"),
    "missing object": (Answer(404, "NoSuchKey"), "an object that exists"),
    "something new": (Answer(400, "NeverHeardOf"), "S3's answer"),
}


@pytest.mark.parametrize(("fault", "expected"), LASTING.values(), ids=LASTING)
def test_what_lasts_is_refused_at_once_in_four_parts(
    fault: Answer, expected: str, scripted: ScriptedS3, pauses: list[float]
) -> None:
    scripted.script = [fault]
    for use in (lambda storage: storage.read(URI), lambda storage: list(storage.chunks(URI))):
        with pytest.raises(InputError) as caught:
            use(Storage(scripted.client))
        assert caught.value.expected == expected
        assert fault.code in caught.value.came
        assert caught.value.where == URI
        assert caught.value.next_step
        assert caught.value.__cause__ is not None
    assert pauses == []


def test_a_listing_that_is_not_permitted_is_an_input_error(scripted: ScriptedS3) -> None:
    scripted.script = [Answer(403, "AccessDenied")]
    with pytest.raises(InputError) as caught:
        list(Storage(scripted.client).list("s3://bucket/capture"))
    assert caught.value.expected == "permission to read"
    assert "s3:ListBucket" in caught.value.next_step


def test_existence_that_may_not_be_asked_for_is_an_error_and_not_a_no(scripted: ScriptedS3) -> None:
    scripted.script = [Answer(403, "AccessDenied")]
    with pytest.raises(InputError) as caught:
        Storage(scripted.client).exists(URI)
    assert caught.value.expected == "permission to read"


@pytest.mark.parametrize("use", ["write", "write_file", "delete"])
def test_a_write_that_is_not_permitted_is_an_output_error(use: str, scripted: ScriptedS3) -> None:
    scripted.script = [Answer(403, "AccessDenied")]
    storage = Storage(scripted.client)
    uses: dict[str, Callable[[], None]] = {
        "write": lambda: storage.write(URI, b""),
        "write_file": lambda: storage.write_file(URI, __file__),
        "delete": lambda: storage.delete([URI]),
    }
    with pytest.raises(OutputError) as caught:
        uses[use]()
    assert caught.value.expected == "permission to write"
    assert caught.value.where == URI
    assert "kms:GenerateDataKey" in caught.value.next_step


def test_one_object_that_cannot_be_deleted_is_an_output_error_that_names_it(
    s3_bucket: str, make_s3_client: Callable[[], Any]
) -> None:
    def refusing() -> Any:
        client = make_s3_client()
        answer = {"Errors": [{"Key": "locked", "Code": "AccessDenied", "Message": "object lock"}]}
        client.meta.events.register("before-call.s3.DeleteObjects", lambda **_: (_Response(), answer))
        return client

    with pytest.raises(OutputError, match="object lock") as caught:
        Storage(refusing).delete([f"s3://{s3_bucket}/a", f"s3://{s3_bucket}/locked"])
    assert caught.value.where == f"s3://{s3_bucket}/locked"


class _Response:
    status_code = 200


def test_missing_credentials_are_an_input_error(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_endpoint)
    with pytest.raises(InputError) as caught:
        Storage().read(URI)
    assert caught.value.expected == "valid AWS credentials"


def test_an_endpoint_where_nobody_answers_is_an_input_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def client() -> Any:
        import boto3
        from botocore.config import Config

        return boto3.client("s3", endpoint_url="http://127.0.0.1:9", config=Config(retries={"total_max_attempts": 1}))

    with pytest.raises(InputError, match=r"127\.0\.0\.1:9"):
        Storage(client).read(URI)
