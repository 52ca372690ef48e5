"""What is declared against what SageMaker describes, field by field."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Difference:
    """One field that SageMaker holds otherwise than it is declared; None is a field that one side does not have."""

    field: str
    described: Any
    declared: Any

    def __str__(self) -> str:
        """In one line. Values of the environment may be secrets and are not shown."""
        if ".Environment." in f".{self.field}":
            kind = "is not declared" if self.declared is None else "is missing" if self.described is None else "differs"
            return f"{self.field}: {kind}"
        return f"{self.field}: is {self.described!r}, declared {self.declared!r}"


def differences(described: Any, declared: Any, field: str = "") -> Iterator[Difference]:
    """The leaves in which two parts of requests differ, by their dotted path; lists are compared as a whole."""
    if isinstance(described, Mapping) and isinstance(declared, Mapping):
        for name in dict.fromkeys([*declared, *described]):
            yield from differences(described.get(name), declared.get(name), f"{field}.{name}" if field else name)
    elif isinstance(described, Mapping) and declared is None:
        yield from differences(described, {}, field)
    elif isinstance(declared, Mapping) and described is None:
        yield from differences({}, declared, field)
    elif described != declared:
        yield Difference(field, described, declared)


def without_empty(part: Any) -> Any:
    """The part without what is empty or absent, at any depth: AWS answers with either, and with ``""`` for no key."""
    if isinstance(part, Mapping):
        found = {name: without_empty(value) for name, value in part.items()}
        return {
            name: value
            for name, value in found.items()
            if value is not None and value != {} and value != [] and not (name.endswith("KmsKeyId") and value == "")
        }
    if isinstance(part, Sequence) and not isinstance(part, str):
        return [without_empty(value) for value in part]
    return part
