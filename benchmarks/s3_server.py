"""An S3 on the loopback interface that costs little itself and misbehaves on demand, for measuring and for tests of faults.

    python benchmarks/s3_server.py ROOT

serves the folder ROOT, whose subfolders are the buckets, and prints its address. What is written is held in memory and
laid over the folder. It knows what `Storage` asks for: GET with Range and If-Match, HEAD, PUT, ListObjectsV2 and
DeleteObjects. It checks no signature, so it says nothing about credentials: moto's server, which most tests use, does.

`S3.fault` is asked before each answer. ``GET /-/requests`` answers what was asked for since it was asked last.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import re
import socket
import struct
import sys
import threading
from bisect import bisect_left, bisect_right, insort
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, quote, unquote, urlsplit
from xml.sax.saxutils import escape

Fault = Callable[[str, str], str | None]
"""Told the operation (``GetObject``, …) and the key, it names what goes wrong: one of `FAULTS`, or None."""

FAULTS = ("slow_down", "reset", "short", "reset_midway", "stalled", "missing")
PAGE = 1000


@dataclass
class S3:
    """The objects, and what was asked for: requests by operation."""

    root: Path | None = None
    fault: Fault = lambda operation, key: None  # noqa: ARG005 - nothing goes wrong
    written: dict[str, bytes] = field(default_factory=dict)
    requests: Counter[str] = field(default_factory=Counter)
    headers: dict[str, str] = field(default_factory=dict)
    """Of the latest request, by their names in lower case."""

    def __post_init__(self) -> None:
        self._keys = sorted(self._found())

    def _found(self) -> Iterator[str]:
        for folder, _, names in os.walk(self.root, followlinks=True) if self.root is not None else ():
            for name in names:
                yield os.path.relpath(os.path.join(folder, name), self.root)

    def listed(self) -> list[str]:
        """The keys of all objects in order, each with its bucket."""
        return list(self._keys)

    def put(self, key: str, data: bytes) -> None:
        """Write an object; the key starts with its bucket."""
        if self.get(key) is None:
            insort(self._keys, key)
        self.written[key] = data

    def delete(self, key: str) -> None:
        """Forget an object."""
        at = bisect_left(self._keys, key)
        if self._keys[at : at + 1] == [key]:
            del self._keys[at]
            self.written.pop(key, None)

    def get(self, key: str) -> bytes | None:
        """The content of an object, or None."""
        at = bisect_left(self._keys, key)
        if self._keys[at : at + 1] != [key]:
            return None
        return self.written[key] if key in self.written or self.root is None else (self.root / key).read_bytes()

    def size(self, key: str) -> int:
        """The bytes of an object that is there."""
        return len(self.written[key]) if key in self.written or self.root is None else (self.root / key).stat().st_size

    def etag(self, key: str) -> str:
        """The ETag of an object that is there: by its content, of a file by its time and size."""
        if key in self.written or self.root is None:
            text = self.written[key]
        else:
            found = (self.root / key).stat()
            text = f"{found.st_mtime_ns} {found.st_size}".encode()
        return f'"{hashlib.md5(text, usedforsecurity=False).hexdigest()}"'

    def answer(self, method: str, target: str, headers: dict[str, str], body: bytes) -> Reply:
        """What S3 would answer."""
        parts = urlsplit(target)
        key, query = unquote(parts.path)[1:], parse_qs(parts.query, keep_blank_values=True)
        if key == "-/requests":
            counted, self.requests = self.requests, Counter()
            return Reply(200, json.dumps(counted).encode())
        self.headers = headers
        operation = _operation(method, query)
        self.requests[operation] += 1
        if (fault := self.fault(operation, key)) == "slow_down":
            return _error(503, "SlowDown", "Please reduce your request rate.")
        if fault == "reset":
            return Reply(cut=0)
        if operation == "ListObjectsV2":
            return self._listed(key.rstrip("/"), {name: values[0] for name, values in query.items()})
        if operation == "DeleteObjects":
            for name in re.findall(rb"<Key>(.*?)</Key>", body):
                self.delete(f"{key.rstrip('/')}/{unquote(name.decode())}")
            return Reply(200, b"<DeleteResult/>")
        if operation == "PutObject":
            self.put(key, body)
            return Reply(200, headers={"ETag": self.etag(key)})
        data = None if fault == "missing" else self.get(key)
        if data is None:
            return _error(404, "NoSuchKey", "The specified key does not exist.")
        etag = self.etag(key)
        if headers.get("if-match", etag) != etag:
            return _error(412, "PreconditionFailed", "At least one of the pre-conditions you specified did not hold.")
        answered = {"ETag": etag}
        if found := re.fullmatch(r"bytes=(\d+)-(\d*)", headers.get("range", "")):
            first, last = int(found[1]), min(int(found[2] or len(data)), len(data) - 1)
            answered["Content-Range"] = f"bytes {first}-{last}/{len(data)}"
            data = data[first : last + 1]
        end = {"short": "closed", "reset_midway": "reset", "stalled": "stalled"}.get(fault or "")
        return Reply(206 if found else 200, data, answered, cut=len(data) // 2 if end else None, end=end or "closed")

    def _listed(self, bucket: str, query: dict[str, str]) -> Reply:
        prefix = f"{bucket}/{query.get('prefix', '')}"
        after = query.get("continuation-token") or query.get("start-after") or ""
        at = bisect_right(self._keys, f"{bucket}/{after}") if after else 0
        at = max(at, bisect_left(self._keys, prefix))
        page: list[str] = []
        most = int(query.get("max-keys", PAGE))
        while at < len(self._keys) and self._keys[at].startswith(prefix) and len(page) < most:
            page.append(self._keys[at])
            at += 1
        more = at < len(self._keys) and self._keys[at].startswith(prefix)
        coded = quote if query.get("encoding-type") == "url" else escape
        names = [key.removeprefix(f"{bucket}/") for key in page]
        contents = "".join(
            f"<Contents><Key>{coded(name)}</Key><LastModified>2026-11-24T00:00:00.000Z</LastModified>"
            f"<ETag>{escape(self.etag(key))}</ETag><Size>{self.size(key)}</Size></Contents>"
            for name, key in zip(names, page)
        )
        token = f"<NextContinuationToken>{escape(names[-1])}</NextContinuationToken>" if more else ""
        return Reply(
            200,
            f"<ListBucketResult><Name>{bucket}</Name><KeyCount>{len(page)}</KeyCount><EncodingType>url</EncodingType>"
            f"<IsTruncated>{str(more).lower()}</IsTruncated>{token}{contents}</ListBucketResult>".encode(),
        )


@dataclass
class Reply:
    """An answer; with `cut`, only so many bytes of its body before the connection is ``closed``, ``reset`` or ``stalled``."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None
    end: str = "closed"


def _operation(method: str, query: dict[str, list[str]]) -> str:
    if method == "GET":
        return "ListObjectsV2" if "list-type" in query else "GetObject"
    return {"HEAD": "HeadObject", "PUT": "PutObject", "POST": "DeleteObjects"}[method]


def _error(status: int, code: str, message: str) -> Reply:
    return Reply(status, f"<Error><Code>{code}</Code><Message>{message}</Message></Error>".encode())


class _Connection(asyncio.Protocol):
    """HTTP/1.1 as far as clients of S3 speak it: one request after another, bodies of known length."""

    def __init__(self, s3: S3, open_: set[asyncio.Transport]) -> None:
        self._s3 = s3
        self._open = open_
        self._held = bytearray()
        self._continued = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._open.add(transport)

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002 - clients may go as they like
        self._open.discard(self._transport)

    def data_received(self, data: bytes) -> None:
        self._held += data
        while (end := self._held.find(b"\r\n\r\n")) >= 0:
            first, *lines = self._held[:end].decode("latin-1").split("\r\n")
            headers = {name.lower(): text.strip() for name, _, text in (line.partition(":") for line in lines)}
            whole = end + 4 + int(headers.get("content-length", 0))
            # also for an empty body, as S3 does: botocore 1.42.5 misreads what follows an answer that comes instead
            if not self._continued and headers.get("expect") == "100-continue":
                self._continued = True
                self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            if len(self._held) < whole:
                return
            body = bytes(self._held[end + 4 : whole])
            del self._held[:whole]
            self._continued = False
            method, target, _ = first.split(" ")
            self._send(method, self._s3.answer(method, target, headers, body))

    def _send(self, method: str, reply: Reply) -> None:
        if reply.cut == 0 and not reply.body:
            self._transport.abort()
            return
        lines = [f"HTTP/1.1 {reply.status} {'OK' if reply.status < 300 else 'No'}"]
        lines += [f"{name}: {text}" for name, text in reply.headers.items()]
        lines += [f"Content-Length: {len(reply.body)}", "Last-Modified: Tue, 24 Nov 2026 00:00:00 GMT"]
        head = "\r\n".join([*lines, "", ""]).encode()
        self._transport.write(head + (b"" if method == "HEAD" else reply.body[: reply.cut]))
        if reply.cut is not None and reply.end != "stalled":
            if reply.end == "reset":
                no_goodbye = struct.pack("ii", 1, 0)
                self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, no_goodbye)
            self._transport.close()


@contextmanager
def serving(s3: S3) -> Iterator[str]:
    """Serve from a thread of this process; gives the address."""
    loop = asyncio.new_event_loop()
    open_: set[asyncio.Transport] = set()
    server = loop.run_until_complete(loop.create_server(lambda: _Connection(s3, open_), "127.0.0.1", 0))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        server.close()
        for transport in list(open_):
            transport.abort()
        loop.run_until_complete(asyncio.sleep(0))  # lets them go
        loop.close()


async def _serve(s3: S3) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Connection(s3, set()), "127.0.0.1", 0)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python benchmarks/s3_server.py ROOT")
    asyncio.run(_serve(S3(Path(sys.argv[1]))))
