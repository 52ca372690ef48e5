"""Reads of workers by obstore: against an S3 that misbehaves on demand."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import certifi
import pytest
from botocore.session import Session

from airflow_mq_provider import s3_reads
from airflow_mq_provider.exceptions import InputError
from airflow_mq_provider.s3_reads import FAILURES, reader, will_not_fork
from airflow_mq_provider.storage import Storage
from benchmarks.s3_server import S3, serving
from tests.children import in_child

# The parent serves from a thread. Only children import obstore: what a parent has imported, its children cannot use.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")

KEY = "capture/2026/11/01/00/part.jsonl"
URI = f"s3://bucket/{KEY}"
DATA = bytes(range(256)) * 400


@pytest.fixture
def s3() -> S3:
    return S3(written={}, root=None)


@pytest.fixture
def endpoint(s3: S3) -> Iterator[str]:
    s3.put(f"bucket/{KEY}", DATA)
    with serving(s3) as address:
        yield address


def client(endpoint: str, *, token: str | None = None, boto3_may_read: bool = True, **settings: Any) -> Any:
    """A client of boto3's, which where it may not read refuses to send what it would read with."""
    import boto3
    from botocore.config import Config

    def refuse(**_: object) -> None:
        raise OSError("boto3 was to read")

    made = boto3.session.Session().client(
        "s3",
        endpoint_url=endpoint,
        aws_access_key_id="AKIATEST",
        aws_secret_access_key="secret",
        aws_session_token=token,
        config=Config(retries={"total_max_attempts": 1}, **settings),
    )
    if not boto3_may_read:
        made.meta.events.register("before-send.s3.GetObject", refuse)
    return made


def by_worker(storage: Storage, uri: str = URI, times: int = 1) -> bytes:
    """What a worker reads."""

    def work() -> bytes:
        will_not_fork()
        return b"".join(storage.read(uri) for _ in range(times))

    return in_child(work)


def test_a_worker_reads_by_obstore(endpoint: str) -> None:
    storage = Storage(lambda: client(endpoint, boto3_may_read=False))
    assert by_worker(storage) == DATA


def test_a_worker_reads_by_obstore_what_was_listed(endpoint: str) -> None:
    storage = Storage(lambda: client(endpoint, boto3_may_read=False))
    (listed,) = storage.list("s3://bucket/capture")

    def work() -> bytes:
        will_not_fork()
        return storage.read(URI, etag=listed.etag)

    assert in_child(work) == DATA


def test_what_was_written_anew_since_it_was_listed_is_refused(s3: S3, endpoint: str) -> None:
    storage = Storage(lambda: client(endpoint))
    (listed,) = storage.list("s3://bucket/capture")
    s3.put(f"bucket/{KEY}", DATA[1:])

    def work() -> bytes:
        will_not_fork()
        return storage.read(URI, etag=listed.etag)

    assert b"to stay as it is" in in_child(work)


def test_a_process_that_may_fork_reads_by_boto3(endpoint: str) -> None:
    """Threads of obstore in a parent would let its children wait for ever."""
    assert Storage(lambda: client(endpoint)).read(URI) == DATA
    assert "obstore" not in sys.modules


def test_a_worker_whose_parent_has_imported_obstore_reads_by_boto3(endpoint: str) -> None:
    def parent() -> bytes:
        import obstore  # noqa: F401 - as a user's own task might in the same process

        return by_worker(Storage(lambda: client(endpoint, boto3_may_read=False)))

    assert b"boto3 was to read" in in_child(parent)


@pytest.mark.parametrize(
    "make",
    [
        lambda made: Storage(made, expected_bucket_owner="123456789012"),
        lambda made: Storage(made, only_boto3=True),
    ],
    ids=["expected owner", "only boto3"],
)
def test_what_obstore_cannot_do_is_left_to_boto3(make: Callable[[Callable[[], Any]], Storage], endpoint: str) -> None:
    assert b"boto3 was to read" in by_worker(make(lambda: client(endpoint, boto3_may_read=False)))


def test_proxies_of_the_client_are_left_to_boto3(endpoint: str) -> None:
    storage = Storage(lambda: client(endpoint, boto3_may_read=False, proxies={"https": "http://127.0.0.1:9"}))
    assert b"boto3 was to read" in by_worker(storage)


def test_a_ca_bundle_of_the_environment_is_left_to_boto3(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may name one certificate alone, and obstore would trust those of the system beside it."""

    def answer() -> bytes:
        will_not_fork()
        return b"boto3" if reader(client("https://s3.example"), "bucket") is None else b"obstore"

    for name in ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    assert in_child(answer) == b"obstore"
    monkeypatch.setenv("AWS_CA_BUNDLE", certifi.where())
    assert in_child(answer) == b"boto3"


def test_requests_are_signed_as_boto3_signs_them(endpoint: str, s3: S3) -> None:
    by_worker(Storage(lambda: client(endpoint, token="session", boto3_may_read=False)))
    assert s3.headers["authorization"].startswith("AWS4-HMAC-SHA256 Credential=AKIATEST/")
    assert "/eu-central-1/s3/aws4_request" in s3.headers["authorization"]
    assert s3.headers["x-amz-security-token"] == "session"


def test_temporary_credentials_are_asked_for_again_when_they_age(endpoint: str, s3: S3) -> None:
    """Here they are asked for before each read, and are so old that boto3 then gets new ones."""
    numbers = iter(range(100))

    def refreshed() -> dict[str, str]:
        return {
            "access_key": f"AKIA{next(numbers)}",
            "secret_key": "secret",
            "token": "session",
            "expiry_time": f"{datetime.now(UTC) + timedelta(minutes=5):%Y-%m-%dT%H:%M:%SZ}",
        }

    def make() -> Any:
        from botocore.credentials import RefreshableCredentials

        session = Session()
        session._credentials = RefreshableCredentials.create_from_metadata(
            metadata=refreshed(), refresh_using=refreshed, method="test"
        )
        return session.create_client("s3", endpoint_url=endpoint, region_name="eu-central-1")

    def work() -> bytes:
        s3_reads._FRESH = -s3_reads._FRESH
        will_not_fork()
        storage = Storage(make)
        storage.read(URI)
        storage.read(URI)
        return b"obstore" if "obstore" in sys.modules else b"boto3"

    seen: list[str] = []
    s3.fault = lambda *_: seen.append(s3.headers["authorization"].partition("Credential=")[2].partition("/")[0])
    assert in_child(work) == b"obstore"
    assert len(seen) == len(set(seen)) == 2


@pytest.mark.parametrize("key", ["a//b", "/a", "a/", "a b/ü+%20.jsonl", "a%2Fb", "..x/~y'()*"])
def test_any_key_is_read_as_boto3_reads_it(key: str, endpoint: str, s3: S3) -> None:
    s3.put(f"bucket/{key}", b"of this key")
    s3.put(f"bucket/{key.strip('/')}", b"of this key" if key == key.strip("/") else b"of another key")
    assert by_worker(Storage(lambda: client(endpoint)), f"s3://bucket/{key}") == b"of this key"


@pytest.mark.parametrize("fault", ["slow_down", "reset", "short", "reset_midway", "stalled"])
def test_what_passes_is_tried_again(fault: str, endpoint: str, s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    if fault == "stalled":
        monkeypatch.setattr(s3_reads, "_TIMEOUT", timedelta(seconds=1))
    faults = iter([fault, fault])
    s3.fault = lambda *_: next(faults, None)
    assert by_worker(Storage(lambda: client(endpoint, boto3_may_read=False))) == DATA
    assert s3.requests["GetObject"] == 3


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("slow_down", "S3's whole answer within 5 attempts"),
        ("reset", "S3's whole answer within 5 attempts"),
        ("short", "S3's whole answer within 5 attempts"),
        ("reset_midway", "S3's whole answer within 5 attempts"),
        ("stalled", "S3's whole answer within 5 attempts"),
        ("missing", "an object that exists"),
    ],
)
def test_what_stays_is_told_by_boto3_in_four_parts(
    fault: str, said: str, endpoint: str, s3: S3, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("airflow_mq_provider.storage.PAUSE", 0)
    monkeypatch.setattr(s3_reads, "_TIMEOUT", timedelta(seconds=0.2))
    s3.fault = lambda *_: fault
    told = by_worker(Storage(lambda: client(endpoint, read_timeout=0.2))).decode()
    assert f"InputError: expected {said}" in told
    assert f"where: {URI}" in told


def test_after_some_failures_a_worker_leaves_reading_to_boto3(endpoint: str, s3: S3) -> None:
    """Where obstore cannot reach what boto3 reaches, a run is slower, and not twice as slow."""
    agents: list[str] = []

    def refuse_obstore(*_: str) -> str | None:
        agents.append(s3.headers["user-agent"].partition("/")[0])
        return None if agents[-1] == "Boto3" else "missing"

    s3.fault = refuse_obstore
    assert by_worker(Storage(lambda: client(endpoint)), times=5) == DATA * 5
    assert len(agents) == 5 + FAILURES


@pytest.mark.parametrize("by", ["read", "chunks"])
@pytest.mark.parametrize("fault", ["slow_down", "reset", "short", "reset_midway", "stalled"])
def test_boto3_tries_again_what_passes_too(
    by: str, fault: str, endpoint: str, s3: S3, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A body that stalls is given up after the client's own `read_timeout`."""
    monkeypatch.setattr("airflow_mq_provider.storage.PAUSE", 0)
    faults = iter([fault, fault])
    s3.fault = lambda *_: next(faults, None)
    storage = Storage(lambda: client(endpoint, read_timeout=1 if fault == "stalled" else 60))
    assert (storage.read(URI) if by == "read" else b"".join(storage.chunks(URI, size=1000))) == DATA
    assert s3.requests["GetObject"] == 3


def test_chunks_give_up_on_a_body_that_stalls_without_a_byte_in_between(
    endpoint: str, s3: S3, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("airflow_mq_provider.storage.PAUSE", 0)
    s3.put(f"bucket/{KEY}", b"x")  # the half of one byte is none
    s3.fault = lambda *_: "stalled"
    with pytest.raises(InputError, match="ReadTimeout") as caught:
        list(Storage(lambda: client(endpoint, read_timeout=0.1)).chunks(URI))
    assert caught.value.where == URI
    assert s3.requests["GetObject"] == 5
