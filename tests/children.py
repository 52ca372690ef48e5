"""What a forked child of a test's process answers."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable


def in_child(work: Callable[[], bytes]) -> bytes:
    """What `work` answers in a forked child; where it raises, the traceback."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            try:
                os.write(writer, work())
            except Exception:  # noqa: BLE001 - whatever it is, the test shows it
                os.write(writer, traceback.format_exc().encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as answer:
        got = answer.read()
    os.waitpid(child, 0)
    return got
