"""Whole objects of S3 read by obstore, at a fifth of what boto3 takes of the processor; where it is installed.

Nothing is configured twice: a client of boto3's is asked what it would send, and obstore sends that to the same
endpoint, signed for the same region with the same credentials, which are asked for again every few minutes so that
temporary ones stay fresh. What obstore cannot do as boto3 does is left to boto3 (`reader` gives None), and so is what it
failed to read: `Storage` then reads again, and boto3 says what is wrong, or reads it after all.

obstore's threads do not survive a fork: a child that reads would wait for ever. So it is used only in a process that has
said that it will not fork (`will_not_fork`), and into which it was not imported by somebody else before.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

Read = Callable[[str, str], bytes]
"""From the key of an object, and the ETag that it must have if it is not empty, to its content. Raises whatever obstore raises."""

FAILURES = 3
"""After so many reads that only boto3 could do, a process uses obstore no more."""

_FRESH = timedelta(minutes=5)
_TIMEOUT = timedelta(minutes=5)
"""Of one read, from connecting to the last byte: larger objects are not read whole."""
_RETRIES = {
    "max_retries": 3,
    "retry_timeout": timedelta(seconds=30),
    "backoff": {"init_backoff": timedelta(seconds=0.2), "max_backoff": timedelta(seconds=5), "base": 2},
}
_CA_BUNDLES = ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE")
_leaf: int | None = None
_asking = threading.local()


def will_not_fork() -> None:
    """Say, in a forked worker, that it will have no forked children of its own: obstore may be used in it.

    It is not where obstore is imported already: then its threads may run in the parent, and cannot run here.
    """
    global _leaf
    _leaf = None if "obstore" in sys.modules else os.getpid()


def reader(client: Any, bucket: str) -> Read | None:
    """What reads the objects of a bucket as this boto3 client would; None where only boto3 itself can, or may.

    That is where obstore is not installed, in a process that may fork, for anonymous requests, for signatures other
    than version 4 (those of multi-region access points), over proxies and client certificates of the client's own, and
    where the environment names a CA bundle.
    """
    config = client.meta.config
    if _leaf != os.getpid() or config.proxies or config.client_cert:
        return None
    asked = _ask(client, bucket)
    if asked["signature"] not in ("v4", "s3v4") or asked["credentials"] is None:
        return None
    plain = asked["endpoint"].startswith("http://")
    if not plain and any(map(os.environ.get, _CA_BUNDLES)):
        return None
    try:
        import obstore.store
    except ImportError:
        return None

    def credentials() -> dict[str, Any]:
        found = _ask(client, bucket)["credentials"]
        return {
            "access_key_id": found.access_key,
            "secret_access_key": found.secret_key,
            "token": found.token,
            "expires_at": datetime.now(UTC) + _FRESH if found.token else None,
        }

    make: Any = obstore.store.S3Store
    store = make(
        bucket,
        # boto3's endpoint, with the bucket in its host or in its path: "virtual hosted" has obstore add nothing
        endpoint=asked["endpoint"],
        virtual_hosted_style_request=True,
        region=asked["region"],
        credential_provider=credentials,
        client_options={
            "allow_http": plain,
            "connect_timeout": timedelta(seconds=config.connect_timeout),
            "timeout": _TIMEOUT,
        },
        retry_config=_RETRIES,
    )

    def read(key: str, etag: str) -> bytes:
        if key.startswith("/") or key.endswith("/"):
            raise ValueError("obstore would read the key without its slash")
        return bytes(store.get(key, options={"if_match": f'"{etag}"'} if etag else None).bytes())

    return read


def _ask(client: Any, bucket: str) -> dict[str, Any]:
    """How the client would get an object of the bucket: endpoint, region, signature and credentials. Sends nothing."""
    client.meta.events.register("before-call.s3.GetObject", _answer, unique_id="model-quality-asks")
    _asking.answer = {}
    try:
        client.get_object(Bucket=bucket, Key="-")
        answer: dict[str, Any] = _asking.answer
        return answer
    finally:
        _asking.answer = None


class _Unsent:
    status_code = 200


def _answer(params: dict[str, Any], request_signer: Any, context: dict[str, Any], **_: object) -> Any:
    """Note how a request would be sent, and answer it, where `_ask` in this thread makes it; others go their way."""
    answer = getattr(_asking, "answer", None)
    if answer is None:
        return None
    signing = context.get("signing", {})
    region = signing.get("region", request_signer.region_name)
    name = signing.get("signing_name", request_signer.signing_name)
    signature = context.get("auth_type") or request_signer.signature_version
    answer.update(endpoint=params["url"].removesuffix("/-"), region=region, signature=signature, credentials=None)
    if signature in ("v4", "s3v4"):
        auth = request_signer.get_auth_instance(name, region, "s3v4")
        answer["credentials"] = auth.credentials
    return _Unsent(), {}
