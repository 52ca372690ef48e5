"""``engine="auto"``: which engine a run takes, told from its listing before anything is read."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Final

from airflow_mq_provider.engines.memory import MIB, weigh
from airflow_mq_provider.engines.task import MergeTask
from airflow_mq_provider.engines.workers import available_cores
from airflow_mq_provider.storage import Storage

AUTO: Final = "auto"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Choice:
    """An engine, and why it was chosen; None where whoever asked named it."""

    engine: str
    why: str | None = None


def choose(asked: str, task: MergeTask, storage: Storage, workers: int | None) -> Choice:
    """The engine that was asked for; of `AUTO` the one that the listing and the memory limit say, and why, which is logged.

    The local engine as long as its run fits into memory, else Spark, if a session is given: it starts none of its own. Without one the
    local engine puts labels in order on disk, or refuses before it reads what does not fit even then.
    """
    if asked != AUTO:
        return Choice(asked)
    from airflow_mq_provider.engines.spark import session_is_given

    found = weigh(task, storage, workers or available_cores())
    size = f"{found.listed // MIB:,} MiB are listed"
    if found.in_memory:
        choice = Choice("local", f"{size}, which the memory limit of {found.limit // MIB:,} MiB has room for")
    else:
        size += f" and need about {found.need.in_memory // MIB:,} MiB, more than the memory limit of {found.limit // MIB:,} MiB"
        if session_is_given():
            choice = Choice("spark", f"{size}; a Spark session is given")
        else:
            choice = Choice("local", f"{size}, but no Spark session is given")
    _log.info("Engine %s: %s.", choice.engine, choice.why)
    return choice
