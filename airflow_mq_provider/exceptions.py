"""One tree of errors. Each message has four parts: what was expected, what came, where, and what to do next.

    ModelQualityError
    ├── MonitorError         a declaration that cannot be a monitor; lists every fault by its field
    │   └── RequestError     a valid monitor that SageMaker would refuse; lists every fault by its field
    ├── FleetError           a monitor's file that cannot be judged beside the others of its folder
    ├── WindowError          no window can be made: offsets, interval or times
    │   └── OffsetError      an offset that rule W2 refuses
    ├── InputError           captures, labels, a baseline or a constraints file that cannot be read
    │   ├── RejectedLinesError   more lines were rejected than the monitor allows
    │   └── DocumentError    a SageMaker document of another kind or shape
    ├── OutputError          results that cannot be written
    ├── ScriptError          a user's script that may not run, or that failed
    └── SageMakerError       SageMaker refused a call, or what it ran failed
        └── ModelMonitorClosedError  the account may not have Model Monitor

The command line answers `MonitorError` and `WindowError` with exit code 2 and every other one with 1.
"""

from __future__ import annotations

from collections.abc import Sequence


class ModelQualityError(Exception):
    """The base of every error this package raises on purpose.

    The four parts are attributes and, joined, the message: ``expected``, ``came``, ``where`` and ``next_step``.
    """

    def __init__(self, *, expected: str, came: str, where: str, next_step: str) -> None:
        self.expected = expected
        self.came = came
        self.where = where
        self.next_step = next_step
        super().__init__(f"expected {expected}; came {came}; where: {where}; next: {next_step}")

    def __reduce__(self) -> tuple[object, ...]:
        """Errors cross process boundaries whole: workers of the local engine raise them in the parent."""
        return (_rebuild, (type(self), self.__dict__.copy(), str(self)))


def _rebuild(kind: type[ModelQualityError], attributes: dict[str, object], message: str) -> ModelQualityError:
    error = kind.__new__(kind, message)
    error.__dict__.update(attributes)
    Exception.__init__(error, message)
    return error


class MonitorError(ModelQualityError, ValueError):
    """A declaration that is no monitor. ``faults`` holds one line for each fault, each naming its field."""

    expectation = "a valid ModelQualityMonitor"

    def __init__(self, faults: Sequence[str], *, where: str, next_step: str | None = None) -> None:
        self.faults = tuple(faults)
        count = len(self.faults)
        super().__init__(
            expected=self.expectation,
            came=f"{count} fault{'s' if count != 1 else ''}: " + " | ".join(self.faults),
            where=where,
            next_step=next_step or "correct the named fields; docs/settings.md lists every field and its limits",
        )


class RequestError(MonitorError):
    """What SageMaker would refuse, or understand otherwise; found before it is asked. ``faults`` as of a monitor."""

    expectation = "what SageMaker can run"


class FleetError(ModelQualityError):
    """A monitor's file that cannot be judged beside the others of its folder, whatever it declares."""


class WindowError(ModelQualityError, ValueError):
    """No analysis window can be made of what the run gave."""


class OffsetError(WindowError):
    """An offset that rule W2 refuses."""


class InputError(ModelQualityError):
    """Something that has to be read is absent or unreadable."""


class RejectedLinesError(InputError):
    """More lines of one side were rejected than ``max_rejected_ratio`` allows. The lines are in ``rejected.jsonl``."""


class DocumentError(InputError):
    """A document that is not the SageMaker model-quality document that was expected."""


class OutputError(ModelQualityError):
    """A result that cannot be written."""


class ScriptError(ModelQualityError):
    """A user's script that may not run here, or that failed."""


class SageMakerError(ModelQualityError):
    """SageMaker refused a call, or what it ran failed. ``code`` is its own error code, empty where it gave none."""

    def __init__(self, *, expected: str, came: str, where: str, next_step: str, code: str = "") -> None:
        self.code = code
        super().__init__(expected=expected, came=came, where=where, next_step=next_step)


class ModelMonitorClosedError(SageMakerError):
    """The account is none of those that may still use Model Monitor; AWS closed it to others on 2026-07-30."""
