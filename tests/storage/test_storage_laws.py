"""Laws of listings, for any keys: order and bounds are the same on S3 and on local disks."""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_mq_provider.storage import Storage, join

# letters on both sides of "/" in byte order, one of two bytes, one of three, one of four (that UTF-16 sorts elsewhere)
NAMES = st.text("!-.0aB~ %äﬀ😀", min_size=1, max_size=4).filter(lambda name: name not in (".", ".."))
KEYS = st.lists(NAMES, min_size=1, max_size=4).map("/".join)


def _without_files_for_folders(keys: set[str]) -> list[str]:
    """What a disk can hold: no key is a folder of another one."""
    folders = {key[:at] for key in keys for at, letter in enumerate(key) if letter == "/"}
    return sorted(keys - folders, key=str.encode)


TREES = st.sets(KEYS, max_size=12).map(_without_files_for_folders)
BOUNDS = st.one_of(KEYS, KEYS.map(lambda key: key + "/"), st.just(""))


def expected(keys: list[str], start_after: str, until: str | None) -> list[str]:
    return [
        key for key in keys if key.encode() > start_after.encode() and (until is None or key.encode() < until.encode())
    ]


def listed(storage: Storage, root: str, start_after: str, until: str | None) -> list[str]:
    return [stored.key for stored in storage.list(root, start_after=start_after, until=until)]


@given(TREES, BOUNDS, st.one_of(st.none(), BOUNDS))
def test_local_keys_come_in_the_order_of_their_bytes_within_the_bounds(
    keys: list[str], start_after: str, until: str | None
) -> None:
    with tempfile.TemporaryDirectory() as root:
        storage = Storage()
        for key in keys:
            storage.write(join(root, key), b"")
        assert listed(storage, root, start_after, until) == expected(keys, start_after, until)


@settings(max_examples=15)
@given(TREES, BOUNDS, st.one_of(st.none(), BOUNDS))
def test_s3_lists_the_same_keys_in_the_same_order(
    make_s3_client: Callable[[], Any], keys: list[str], start_after: str, until: str | None
) -> None:
    storage = Storage(make_s3_client)
    bucket = uuid.uuid4().hex
    make_s3_client().create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
    with tempfile.TemporaryDirectory() as root:
        for key in keys:
            storage.write(join(root, key), b"")
            storage.write(join(f"s3://{bucket}/root", key), b"")
        on_s3 = listed(storage, f"s3://{bucket}/root", start_after, until)
        assert on_s3 == listed(storage, root, start_after, until) == expected(keys, start_after, until)


@given(st.lists(KEYS, max_size=3), st.sampled_from(["/data", "file:///data", "s3://bucket/prefix", "."]))
def test_parts_joined_at_once_or_one_by_one_are_the_same(parts: list[str], root: str) -> None:
    one_by_one = root
    for part in parts:
        one_by_one = join(one_by_one, part)
    assert join(root, *parts) == one_by_one
