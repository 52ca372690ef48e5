"""What forked children of a test's process answer."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable, Sequence


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


def all_at_once(works: Sequence[Callable[[], object]]) -> None:
    """Do each in a forked child of its own, none before all are there. Raises, as text, what one of them raises."""
    waiting, start = os.pipe()
    children = []
    for work in works:
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                os.close(start)
                os.read(waiting, 1)  # ends with the last process that could write there
                work()
            except BaseException:  # noqa: BLE001 - whatever it is, the test shows it
                os.write(writer, traceback.format_exc().encode()[-60_000:])
            finally:
                os._exit(0)
        os.close(writer)
        children.append((child, reader))
    os.close(waiting)
    os.close(start)
    said = []
    for child, reader in children:
        with os.fdopen(reader, "rb") as answer:
            said.append(answer.read().decode())
        os.waitpid(child, 0)
    if failed := "\n".join(filter(None, said)):
        raise AssertionError(failed)
