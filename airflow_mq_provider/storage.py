"""Where objects are listed, read and written: S3 (``s3://bucket/key``), ``file://`` URIs and plain paths.

Both sides keep the same promises, so that no reader has to ask on which it stands:

- Keys come in the order of their UTF-8 bytes over the whole key, ``/`` included: S3's order, not that of directories.
- A listing shows what stands there when it is made: nothing is taken from an earlier one that was not looked at again.
- A write is whole or absent: nobody ever reads half an object.
- Errors are `InputError` (listing, reading) and `OutputError` (writing, deleting), in four parts.
"""

from __future__ import annotations

import io
import os
import re
import shutil
import stat
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, NoReturn, TypeAlias, TypeVar
from urllib.parse import quote, unquote_to_bytes, urlsplit

from airflow_mq_provider.exceptions import InputError, OutputError
from airflow_mq_provider.s3_reads import FAILURES, Read, reader

ATTEMPTS = 5
"""How often a read is tried in all, where it ends in throttling or a broken body."""

PAUSE = 0.2
"""Seconds before the second attempt; the pause doubles with each one after it."""

_T = TypeVar("_T")

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_UNCHANGED = "the object to stay as it is until it is read"
_WRITTEN_ANEW = "run again when its writer has finished"
_UNFINISHED = re.compile(rb"\.[0-9a-f]{16}\.unfinished")
_CONTENT_TYPES = {".json": "application/json", ".html": "text/html; charset=utf-8"}
_DELETE_BATCH = 1000  # S3's limit

# What passes by itself, where the client's own retries have been used up or it has none.
_PASSING_CODES = frozenset(
    {
        "InternalError",
        "RequestLimitExceeded",
        "RequestTimeout",
        "ServiceUnavailable",
        "SlowDown",
        "Throttling",
        "ThrottlingException",
    }
)
_MISSING_CODES = frozenset({"NoSuchKey", "NotFound", "404"})
_MISSING_STEP = (
    "where it was listed a moment ago, it has been removed or replaced since: run again, when its writer has finished; "
    "else correct the place, or make what is missing first"
)

_client_lock = threading.RLock()


def _renew_client_lock() -> None:
    # a thread of the parent may have held it at the moment of the fork
    global _client_lock
    _client_lock = threading.RLock()


os.register_at_fork(after_in_child=_renew_client_lock)


class StoredObject(NamedTuple):
    """One object of a listing.

    ``key`` is its name below the listed root, ``/``-separated, ``size`` its bytes. ``etag`` changes when the object is
    written anew: on S3 the ETag, locally made of modification time and size.
    """

    uri: str
    key: str
    size: int
    etag: str


@dataclass(slots=True)
class _Held:
    """What one process reaches S3 with: connections are never shared between processes."""

    pid: int
    client: Any
    readers: dict[str, Read | None] = field(default_factory=dict)
    failures: int = 0
    """Reads that obstore could not do."""


_SEEN = 1 << 15
"""Files that are remembered at most, 800 bytes each: six times those of a week of a million records."""
_FOLDER = -1
_Look: TypeAlias = tuple[str, int, int]
"""Name, time of the last change, size: plain tuples, of which there are thousands in each run. Of a folder the size is `_FOLDER`."""
_Told: TypeAlias = tuple[bytes, StoredObject | None]


@dataclass(slots=True)
class _Seen:
    """By root and the prefix of keys below it, what the files of local folders looked like, and what was told of them."""

    folders: dict[tuple[str, str], tuple[list[_Look], list[_Told]]] = field(default_factory=dict)
    files: int = 0

    def keep(self, folder: tuple[str, str], held: tuple[list[_Look], list[_Told]]) -> None:
        if self.files + len(held[0]) > _SEEN:
            self.folders.clear()
            self.files = 0
        self.folders[folder] = held
        self.files += len(held[0])


class Storage:
    """Lists, reads, writes and deletes objects on S3 and on local disks.

    Args:
        s3: Makes a boto3 S3 client. It is called once in a process, at the first use of S3, and again in a forked
            child: connections are never shared between processes. Without it, boto3's own chain finds credentials,
            region and ``endpoint_url``, and the client retries adaptively.
        kms_key_id: Written objects are encrypted with this key (SSE-KMS). Without it, the bucket's default holds.
        expected_bucket_owner: Account id that must own each bucket. S3 refuses the request where another one does.
        only_boto3: Whether workers, too, read with boto3 where obstore is installed (`s3_reads`): for a client whose TLS
            is not the usual one. With an expected owner they do, since obstore cannot sign for one.

    One instance may be used by many threads, and sent to another process.
    """

    def __init__(
        self,
        s3: Callable[[], Any] | None = None,
        *,
        kms_key_id: str | None = None,
        expected_bucket_owner: str | None = None,
        only_boto3: bool = False,
    ) -> None:
        self._make_s3 = s3 or _default_client
        self._encryption = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": kms_key_id} if kms_key_id else {}
        self._owner = {"ExpectedBucketOwner": expected_bucket_owner} if expected_bucket_owner else {}
        self._only_boto3 = only_boto3 or bool(expected_bucket_owner)
        self._held: _Held | None = None
        self._seen = _Seen()

    @property
    def expected_bucket_owner(self) -> str | None:
        """The account id that must own each bucket, where one is asked for."""
        return self._owner.get("ExpectedBucketOwner")

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_held": None, "_seen": _Seen()}

    def list(self, root: str, *, start_after: str = "", until: str | None = None) -> Iterator[StoredObject]:
        """The objects below ``root`` whose keys lie after ``start_after`` and before ``until``, in order of keys.

        Keys are those below the root: in ``s3://b/capture``, ``2020/01/09/13/part.jsonl``. Both bounds are left out
        themselves. What lies outside them costs no listing: S3 starts there, and local directories are not entered.

        A root that holds nothing, or that does not exist, gives nothing, as on S3; a bucket that does not exist, or
        must not be listed, raises `InputError`. Objects whose name ends in ``/`` (folders made in the S3 console) and
        unfinished local writes are not objects; names that start with ``.`` or ``_`` are.
        """
        if is_s3(root):
            return self._list_s3(root, start_after, until)
        return _list_local(root, start_after, until, self._seen)

    def read(self, uri: str, *, etag: str = "") -> bytes:
        """The whole object. Throttling and broken bodies are tried again, at most `ATTEMPTS` times in all.

        Raises:
            InputError: There is no such object or bucket, it must not be read, it could not be read to its end, or it is
                no longer the one that was listed with that ``etag``, where one is given.
        """
        if not is_s3(uri):
            try:
                with _open_local(uri) as file:
                    data = file.read()
                    _refuse_other(file, uri, etag)
                    return data
            except OSError as error:
                _refuse_local(InputError, error, uri)

        def whole() -> bytes:
            body: bytes = self._get(uri, **_if_match(etag))["Body"].read()
            return body

        content = self._read_by_obstore(uri, etag)
        return _patiently(whole, uri) if content is None else content

    def chunks(
        self, uri: str, size: int = 4 * 2**20, *, etag: str = "", start: int = 0, stop: int | None = None
    ) -> Iterator[bytes]:
        """The object in pieces of at most ``size`` bytes, none of them empty, in order.

        With ``start`` or ``stop``, no more of it than the bytes from the one to the other, exclusive. On S3 an object that ends at
        or before ``start`` raises `InputError`. Where S3 throttles or breaks off, reading goes on at the byte where it stopped, at most `ATTEMPTS` times
        without a new byte in between. An object that is replaced meanwhile, or since it was listed with the ``etag`` given,
        raises `InputError`: at the latest behind the last piece.
        """
        return (self._chunks_s3 if is_s3(uri) else _chunks_local)(uri, size, etag, start, stop)

    def write(self, uri: str, data: bytes) -> None:
        """Write the whole object, replacing what stands there at once.

        Locally its folders are made, and a temporary file beside it becomes it; on S3 it is one request.

        Raises:
            OutputError: It cannot be written; what stood there stands there still.
        """
        if is_s3(uri):
            bucket, key = _bucket_and_key(uri, OutputError)
            with _refusing(OutputError, uri):
                self._client().put_object(Bucket=bucket, Key=key, Body=data, **self._put_arguments(key))
            return
        _write_local(uri, lambda unfinished: _write_new(unfinished, data))

    def write_file(self, uri: str, path: str | Path) -> None:
        """Like `write`, with the content of a local file, which stays where it is. Large files go to S3 in parts.

        Raises:
            OutputError: It cannot be written, or there is no such file.
        """
        if is_s3(uri):
            bucket, key = _bucket_and_key(uri, OutputError)
            with _refusing(OutputError, uri):
                self._client().upload_file(os.fspath(path), bucket, key, ExtraArgs=self._put_arguments(key))
            return
        _write_local(uri, lambda unfinished: _copy_new(unfinished, path))

    def delete(self, uris: Iterable[str]) -> None:
        """Delete the objects; those that are not there are no error. Local folders that this empties go too.

        Raises:
            OutputError: One of them cannot be deleted; those before it may be gone.
        """
        keys: dict[str, list[str]] = defaultdict(list)
        for uri in uris:
            if is_s3(uri):
                bucket, key = _bucket_and_key(uri, OutputError)
                keys[bucket].append(key)
            else:
                _delete_local(uri)
        for bucket, all_keys in keys.items():
            for start in range(0, len(all_keys), _DELETE_BATCH):
                self._delete_s3(bucket, all_keys[start : start + _DELETE_BATCH])

    def sweep(self, folder: str, *, deep: bool, older_than: float = 0.0) -> None:
        """Remove what local writes left half done in a folder, and with `deep` below it, when their process was killed.

        Such leftovers are in no listing. Only the one who owns the folder may call this: a write under way would fail. Where
        others write there, leave out what is not `older_than` so many seconds. S3 keeps nothing of a write that did not end.
        """
        if is_s3(folder):
            return
        for path, folders, names in os.walk(os.fsencode(local_path(folder))):
            for name in filter(_UNFINISHED.fullmatch, names):
                leftover = os.path.join(path, name)
                with suppress(FileNotFoundError):
                    if not older_than or time.time() - os.stat(leftover).st_mtime > older_than:
                        os.unlink(leftover)
            if not deep:
                folders.clear()

    def exists(self, uri: str) -> bool:
        """Whether the object stands there.

        S3 answers alike for a missing object and a missing bucket: both are False. A refusal raises `InputError`.
        """
        if not is_s3(uri):
            try:
                return local_path(uri).is_file()
            except OSError as error:
                _refuse_local(InputError, error, uri)
        return _patiently(lambda: self._head(uri), uri)

    def _client(self) -> Any:
        return self._connected().client

    def _connected(self) -> _Held:
        held = self._held
        if held is None or held.pid != os.getpid():
            with _client_lock:
                held = self._held
                if held is None or held.pid != os.getpid():
                    held = self._held = _Held(os.getpid(), self._make_s3())
        return held

    def _read_by_obstore(self, uri: str, etag: str) -> bytes | None:
        """The object, or None where boto3 has to read it, or to say why it cannot be read."""
        if self._only_boto3:
            return None
        bucket, key = _bucket_and_key(uri, InputError)
        held = self._connected()
        try:
            if bucket not in held.readers:
                with _client_lock:
                    held.readers[bucket] = held.readers.get(bucket) or reader(held.client, bucket)
            read = held.readers[bucket]
            return read(key, etag) if read is not None and held.failures < FAILURES else None
        except Exception:  # noqa: BLE001 - whatever it is, boto3 does better or says it better
            held.failures += 1
            return None

    def _get(self, uri: str, **conditions: str) -> dict[str, Any]:
        bucket, key = _bucket_and_key(uri, InputError)
        answer: dict[str, Any] = self._client().get_object(Bucket=bucket, Key=key, **self._owner, **conditions)
        return answer

    def _head(self, uri: str) -> bool:
        from botocore.exceptions import ClientError

        bucket, key = _bucket_and_key(uri, InputError)
        try:
            self._client().head_object(Bucket=bucket, Key=key, **self._owner)
        except ClientError as error:
            if _code(error) in _MISSING_CODES:
                return False
            raise
        return True

    def _put_arguments(self, key: str) -> dict[str, str]:
        content_type = _CONTENT_TYPES.get(os.path.splitext(key)[1])
        return {**self._encryption, **self._owner, **({"ContentType": content_type} if content_type else {})}

    def _list_s3(self, root: str, start_after: str, until: str | None) -> Iterator[StoredObject]:
        bucket, prefix = _bucket_and_prefix(root)
        request = {"Bucket": bucket, "Prefix": prefix, **self._owner}
        if start_after:
            request["StartAfter"] = prefix + start_after
        with _refusing(InputError, root):
            pages = iter(self._client().get_paginator("list_objects_v2").paginate(**request))
        while True:
            with _refusing(InputError, root):
                page = next(pages, None)
            if page is None:
                return
            for item in page.get("Contents", ()):
                key = item["Key"][len(prefix) :]
                if until is not None and key >= until:
                    return
                if key and not key.endswith("/"):
                    yield StoredObject(f"s3://{bucket}/{item['Key']}", key, item["Size"], item["ETag"].strip('"'))

    def _chunks_s3(self, uri: str, size: int, etag: str, start: int, stop: int | None) -> Iterator[bytes]:
        at, failures = start, 0
        last = "" if stop is None else stop - 1
        while stop is None or at < stop:
            try:
                rest = {} if at == 0 and stop is None else {"Range": f"bytes={at}-{last}"}
                answer = self._get(uri, **rest, **_if_match(etag))
                etag = answer["ETag"].strip('"')
                with closing(answer["Body"]) as body:
                    for piece in body.iter_chunks(size):
                        at, failures = at + len(piece), 0
                        yield piece
                return
            except _s3_errors() as error:
                failures += 1
                # bytes that a checksum belies have been given already
                if failures == ATTEMPTS or not _passes(error) or _is_checksum(error):
                    _refuse_s3(InputError, error, uri)
            time.sleep(PAUSE * 2 ** (failures - 1))

    def _delete_s3(self, bucket: str, keys: Sequence[str]) -> None:
        where = f"s3://{bucket}/{keys[0]}" + (f" and {len(keys) - 1} more" if len(keys) > 1 else "")
        with _refusing(OutputError, where):
            answer = self._client().delete_objects(
                Bucket=bucket, Delete={"Objects": [{"Key": key} for key in keys], "Quiet": True}, **self._owner
            )
        refused = answer.get("Errors", [])
        if refused:
            first = refused[0]
            raise OutputError(
                expected="the objects to be deleted",
                came=f"{len(refused)} refused, the first with {first['Code']}: {first.get('Message', 'no message')}",
                where=f"s3://{bucket}/{first['Key']}",
                next_step="grant s3:DeleteObject on them, or lift what holds them (object lock, bucket policy)",
            )


def _if_match(etag: str) -> dict[str, str]:
    return {"IfMatch": f'"{etag}"'} if etag else {}


def is_s3(uri: str) -> bool:
    """Whether the URI names something on S3."""
    return uri.startswith("s3://")


def local_path(uri: str) -> Path:
    """The path that a ``file://`` URI or a plain path names. Percent signs are escapes in the former only.

    Raises:
        InputError: The URI is of another kind (``s3://``, ``https://``), or names another host.
    """
    return _local_path(uri, InputError)


def join(root: str, *parts: str) -> str:
    """The URI or path of what lies below ``root``, parts separated by one ``/``; empty parts are left out.

    Parts are names, not URIs: below a ``file://`` root they are percent-encoded.
    """
    names = "/".join(name for name in (part.strip("/") for part in parts) if name)
    if not names:
        return root
    return _stem(root) + (quote(os.fsencode(names)) if root.startswith("file://") else names)


def _stem(root: str) -> str:
    # "s3://b/c//" -> "s3://b/c/", but "/" and "file:///" stay
    stem = re.sub(r"(?<=[^:/])/+$", "", root)
    return stem if stem == "" or stem.endswith("/") else stem + "/"


def _local_path(uri: str, kind: type[InputError | OutputError]) -> Path:
    if not uri:
        raise kind(
            expected="a path, a file:// or an s3:// URI",
            came="an empty one",
            where="a location",
            next_step="give the location",
        )
    if not _SCHEME.match(uri):
        return Path(uri)
    parts = urlsplit(uri)
    if parts.scheme == "file" and parts.netloc in ("", "localhost"):
        # not parts.path: "?" and "#" end it, and are letters of a file's name
        return Path(os.fsdecode(unquote_to_bytes(uri[len("file://") + len(parts.netloc) :])))
    raise kind(
        expected="a path of this machine, a file:// or an s3:// URI",
        came=f"a {parts.scheme}:// URI" + (f" of host {parts.netloc!r}" if parts.scheme == "file" else ""),
        where=uri,
        next_step="copy the data to S3 or to a local disk, or correct the URI",
    )


def _bucket_and_key(uri: str, kind: type[InputError | OutputError]) -> tuple[str, str]:
    bucket, _, key = uri[len("s3://") :].partition("/")
    if not bucket or not key:
        raise kind(
            expected="s3://bucket/key", came=repr(uri), where="the URI of an object", next_step="complete the URI"
        )
    return bucket, key


def _bucket_and_prefix(root: str) -> tuple[str, str]:
    bucket, _, prefix = root[len("s3://") :].partition("/")
    if not bucket:
        raise InputError(
            expected="s3://bucket/prefix", came=repr(root), where="the URI of a folder", next_step="name the bucket"
        )
    if bucket.endswith("--x-s3"):
        raise InputError(
            expected="a general purpose bucket, which lists its keys in order",
            came="a directory bucket, which lists them in none",
            where=root,
            next_step="keep captures, labels and reports in a general purpose bucket",
        )
    prefix = prefix.rstrip("/")
    return bucket, f"{prefix}/" if prefix else ""


def _default_client() -> Any:
    import boto3
    from botocore.config import Config

    # a session of its own, since boto3's default session must not be used by two threads at once
    return boto3.session.Session().client(
        "s3", config=Config(retries={"mode": "adaptive", "max_attempts": 8}, max_pool_connections=32)
    )


# --- S3: what went wrong, and what passes by itself


def _s3_errors() -> tuple[type[Exception], ...]:
    """Whatever boto3, botocore and a broken connection raise."""
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError
    from urllib3.exceptions import HTTPError

    return (BotoCoreError, ClientError, Boto3Error, HTTPError, OSError)


def _code(error: BaseException) -> str:
    """S3's code of an error, also where `upload_file` has wrapped it; "" where there was no answer."""
    response = getattr(error, "response", None)
    if isinstance(response, dict):
        return str(response.get("Error", {}).get("Code", ""))
    return _code(error.__context__) if error.__context__ is not None else ""


def _is_checksum(error: BaseException) -> bool:
    from botocore.exceptions import FlexibleChecksumError

    return isinstance(error, FlexibleChecksumError)


def _passes(error: BaseException) -> bool:
    """Whether the same request may well succeed in a moment."""
    from botocore.exceptions import (
        ClientError,
        ConnectionClosedError,
        IncompleteReadError,
        ReadTimeoutError,
        ResponseStreamingError,
    )
    from urllib3.exceptions import HTTPError

    if isinstance(error, ClientError):
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        return _code(error) in _PASSING_CODES or status >= 500 or status == 429
    broken = (ConnectionClosedError, IncompleteReadError, ReadTimeoutError, ResponseStreamingError)
    return isinstance(error, (*broken, HTTPError, ConnectionError)) or _is_checksum(error)


def _patiently(read: Callable[[], _T], uri: str) -> _T:
    attempt = 1
    while True:
        try:
            return read()
        except _s3_errors() as error:
            if attempt == ATTEMPTS or not _passes(error):
                _refuse_s3(InputError, error, uri)
        time.sleep(PAUSE * 2 ** (attempt - 1))
        attempt += 1


@contextmanager
def _refusing(kind: type[InputError | OutputError], where: str) -> Iterator[None]:
    try:
        yield
    except _s3_errors() as error:
        _refuse_s3(kind, error, where)


def _refuse_s3(kind: type[InputError | OutputError], error: Exception, where: str) -> NoReturn:
    code = _code(error)
    reading = kind is InputError
    if code == "NoSuchBucket":
        expected, next_step = "a bucket that exists", "create the bucket, or correct its name"
    elif code in _MISSING_CODES:
        expected, next_step = "an object that exists", _MISSING_STEP
    elif code in {"AccessDenied", "AllAccessDisabled", "403", "Forbidden"}:
        expected = f"permission to {'read' if reading else 'write'}"
        next_step = (
            "grant s3:GetObject on the objects and s3:ListBucket on the bucket (without the latter a missing object is "
            "refused too), kms:Decrypt where a key encrypts them; the bucket's owner must be the expected one"
            if reading
            else "grant s3:PutObject and s3:DeleteObject, kms:GenerateDataKey and kms:Decrypt on the key where one is "
            "set; the bucket's policy must allow that encryption, its owner must be the expected one"
        )
    elif code in {"InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken"} or _no_credentials(
        error
    ):
        expected, next_step = "valid AWS credentials", "set or renew the credentials of the connection or environment"
    elif code in {"PermanentRedirect", "301", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException"}:
        expected, next_step = "a bucket of the client's region", "set the region to that of the bucket"
    elif code == "InvalidObjectState":
        expected, next_step = "an object that can be read now", "restore it from its archive class first"
    elif code in {"PreconditionFailed", "412"}:
        expected, next_step = _UNCHANGED, _WRITTEN_ANEW
    elif code.startswith("KMS."):
        expected, next_step = (
            "a usable KMS key",
            "check that the key exists, is enabled and lies in the bucket's region",
        )
    elif _passes(error):
        expected = f"S3's whole answer within {ATTEMPTS} attempts" if reading else "S3's answer"
        next_step = "run again later; where it stays, look at the network and at the bucket's request rate"
    else:
        expected, next_step = "S3's answer", "look at what came: the endpoint, the network or the request is at fault"
    raise kind(expected=expected, came=f"{type(error).__name__}: {error}", where=where, next_step=next_step) from error


def _no_credentials(error: Exception) -> bool:
    from botocore.exceptions import NoCredentialsError, PartialCredentialsError, ProfileNotFound, TokenRetrievalError

    return isinstance(error, (NoCredentialsError, PartialCredentialsError, ProfileNotFound, TokenRetrievalError))


# --- local disks


def _list_local(root: str, start_after: str, until: str | None, seen: _Seen) -> Iterator[StoredObject]:
    """Files below the root in the order of whole keys: a folder sorts as its name with a slash.

    What was told of a folder is told again where a look at each of its files shows what is in `seen`.
    """
    stem = _stem(root)
    uri_of = _uri_of_quoted if root.startswith("file://") else _uri_of
    after, before = os.fsencode(start_after), None if until is None else os.fsencode(until)

    def opened(folder: str, prefix: str, above: tuple[_Identity, ...]) -> _Folder:
        """A folder, and what it holds, in order.

        Files within the bounds are looked at here, one after the other: a listing of a week has thousands, in each run.
        """
        looks: list[_Look] = []
        start = os.fsencode(prefix)
        inside = start > after and (before is None or (start < before and not before.startswith(start)))
        try:
            # looked at from the open folder, files are found without a walk along its path
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            try:
                here = os.fstat(descriptor)
                identity = (here.st_dev, here.st_ino)
                with os.scandir(descriptor) as entries:
                    for entry in entries:
                        name = entry.name
                        if entry.is_dir():
                            looks.append((name, 0, _FOLDER))
                            continue
                        if not inside:
                            key = start + os.fsencode(name)
                            if key <= after or (before is not None and key >= before):
                                continue
                        if name[0] == "." and _UNFINISHED.fullmatch(os.fsencode(name)):
                            continue
                        try:
                            status = entry.stat()
                        except OSError as error:
                            _refuse_unless_deleted(folder, entry, error)
                            continue
                        if stat.S_ISREG(status.st_mode):
                            looks.append((name, status.st_mtime_ns, status.st_size))
            finally:
                os.close(descriptor)
        except FileNotFoundError:
            return _Folder(folder, prefix, above, iter(()))  # as on S3, where what does not exist is an empty prefix
        except OSError as error:
            _refuse_local(InputError, error, folder)
        if identity in above:
            raise InputError(
                expected="folders that end somewhere",
                came="a symbolic link to a folder that holds it",
                where=folder,
                next_step="remove the link",
            )
        held = seen.folders.get((stem, prefix))
        if held is None or held[0] != looks:
            held = looks, []
            for name, changed, size in looks:
                if size == _FOLDER:
                    held[1].append((start + os.fsencode(name) + b"/", None))
                else:
                    text = prefix + name
                    listed = StoredObject(uri_of(stem, text), text, size, _local_etag(changed, size))
                    held[1].append((start + os.fsencode(name), listed))
            held[1].sort()
            seen.keep((stem, prefix), held)
        return _Folder(folder, prefix, (*above, identity), iter(held[1]))

    # folders within each other, of each what is left to see: a generator for each would hand every file up through all
    open_folders = [opened(str(local_path(root)), "", ())]
    while open_folders:
        folder = open_folders[-1]
        for key, listed in folder.entries:
            if listed is not None:
                yield listed
            elif before is not None and key >= before:
                return  # so is all that follows, in the folders above too
            elif key > after or after.startswith(key):  # all keys in there begin with this one
                name = os.fsdecode(key[:-1])[len(folder.prefix) :]
                open_folders.append(opened(os.path.join(folder.path, name), f"{folder.prefix}{name}/", folder.within))
                break
        else:
            open_folders.pop()


_Identity: TypeAlias = tuple[int, int]


class _Folder(NamedTuple):
    """An open folder: its path, what its keys begin with, which folders it lies in, itself the last, and what is left of it."""

    path: str
    prefix: str
    within: tuple[_Identity, ...]
    entries: Iterator[tuple[bytes, StoredObject | None]]


def _uri_of(stem: str, key: str) -> str:
    return stem + key


def _uri_of_quoted(stem: str, key: str) -> str:
    return stem + quote(os.fsencode(key))


def _refuse_unless_deleted(folder: str, entry: os.DirEntry[str], error: OSError) -> None:
    """Of a file that was deleted since its folder was read there is nothing to say."""
    if not isinstance(error, FileNotFoundError) or entry.is_symlink():
        _refuse_local(InputError, error, os.path.join(folder, entry.name))


def _open_local(uri: str) -> io.FileIO:
    # a plain path is opened as it is: of a small file, making a Path of it would be a tenth of the time
    return io.FileIO(local_path(uri) if not uri or _SCHEME.match(uri) else uri)


def _chunks_local(uri: str, size: int, etag: str, start: int, stop: int | None) -> Iterator[bytes]:
    try:
        with _open_local(uri) as file:
            # room for what is there, not for `size`: most files are small
            room = min(size, os.fstat(file.fileno()).st_size + 1)
            at = file.seek(start)
            while piece := file.read(room if stop is None else max(0, min(room, stop - at))):
                at += len(piece)
                yield piece
            _refuse_other(file, uri, etag)
    except OSError as error:
        _refuse_local(InputError, error, uri)


def _refuse_other(file: io.FileIO, uri: str, etag: str) -> None:
    """Refuse a file that is no longer the one that was listed, where that is known."""
    if not etag:
        return
    status = os.fstat(file.fileno())
    if _local_etag(status.st_mtime_ns, status.st_size) != etag:
        raise InputError(
            expected=_UNCHANGED,
            came="it was written anew since it was listed",
            where=uri,
            next_step=_WRITTEN_ANEW,
        )


def _local_etag(changed: int, size: int) -> str:
    return f"{changed:x}-{size:x}"


def _write_local(uri: str, fill: Callable[[Path], None]) -> None:
    path = _local_path(uri, OutputError)
    unfinished = path.with_name(f".{os.urandom(8).hex()}.unfinished")
    try:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            fill(unfinished)
        except (FileNotFoundError, FileExistsError):
            # Another run may have deleted the folder when it emptied it; where it did so just after it was found to be there,
            # mkdir takes it for a file.
            path.parent.mkdir(parents=True, exist_ok=True)
            fill(unfinished)
        os.replace(unfinished, path)
    except OSError as error:
        _refuse_local(OutputError, error, uri)
    finally:
        with suppress(OSError):  # the error above says more; what is left is never listed
            unfinished.unlink(missing_ok=True)


def _write_new(path: Path, data: bytes) -> None:
    with path.open("xb") as file:
        file.write(data)


def _copy_new(path: Path, source: str | Path) -> None:
    shutil.copyfile(source, path)


def _delete_local(uri: str) -> None:
    path = _local_path(uri, OutputError)
    try:
        path.unlink(missing_ok=True)
    except NotADirectoryError:
        return  # below a file there is nothing
    except OSError as error:
        _refuse_local(OutputError, error, uri)
    with suppress(OSError):  # not empty
        path.parent.rmdir()


def _refuse_local(kind: type[InputError | OutputError], error: OSError, where: str) -> NoReturn:
    reading = kind is InputError
    if isinstance(error, FileNotFoundError):
        expected, next_step = "a file that exists", _MISSING_STEP
    elif isinstance(error, PermissionError):
        expected = f"permission to {'read' if reading else 'write'}"
        next_step = f"give the user of this process the right to {'read' if reading else 'write'} there"
    elif isinstance(error, (IsADirectoryError, NotADirectoryError, FileExistsError)):
        expected, next_step = "files where files belong, folders where folders belong", "correct the path"
    else:
        expected, next_step = f"a disk that can be {'read' if reading else 'written'}", "look at the disk and its space"
    name = f" ({os.fsdecode(error.filename)})" if error.filename is not None else ""
    came = f"{type(error).__name__}: {error.strerror or error}{name}"
    raise kind(expected=expected, came=came, where=where, next_step=next_step) from error
