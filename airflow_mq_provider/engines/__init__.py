"""How captures and labels are joined and counted: one interface, several engines, no formula.

An engine is a module with a function `merge(task, storage, workers=…, progress=…) -> MergeCounts`, and `arrivals`, which only
looks whether labels have come. It reads every line
through `quality.records` or `quality.columns`, joins by rules M1 to M3, writes the merged rows in parts and the rejected lines in one file.
`engines.choosing` takes one of them for ``auto``. `engines.task` holds what they share: what is to be done, and how its results lie. `quality.states` counts the parts.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Protocol

from airflow_mq_provider.exceptions import ModelQualityError

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_mq_provider.engines.task import Arrivals, MergeTask
    from airflow_mq_provider.quality.states import MergeCounts
    from airflow_mq_provider.storage import Storage

ENGINES = {name: f"airflow_mq_provider.engines.{name}" for name in ("local", "reference", "spark")}


class Engine(Protocol):
    """What every engine offers."""

    def merge(
        self,
        task: MergeTask,
        storage: Storage,
        *,
        workers: int | None = None,
        progress: Callable[[str, int, int], None] | None = None,
    ) -> MergeCounts:
        """Join labels to captures and write what the task asks for.

        The counts and the bytes written depend on the inputs and the task alone, not on `workers` (None: all cores).
        `progress` is told the phase, the bytes done and the bytes in all.
        """

    def arrivals(
        self,
        task: MergeTask,
        storage: Storage,
        *,
        workers: int | None = None,
        progress: Callable[[str, int, int], None] | None = None,
    ) -> Arrivals:
        """Find the captures of the window that the task's labels name. Nothing is written and no script is run."""


def engine(name: str) -> Engine:
    """The engine of that name, imported now."""
    if name not in ENGINES:
        raise ModelQualityError(
            expected="an engine: " + " or ".join([*sorted(ENGINES), "auto"]),
            came=repr(name),
            where="engine",
            next_step="leave it out for the embedded default, local",
        )
    return import_module(ENGINES[name])
