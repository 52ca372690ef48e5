"""What any merge has to do, and no more, each as a process of its own: the units of all figures.

    python benchmarks/floors.py read|copy|parse DATA OUTPUT

``copy``, the unit: read all input bytes and write those of the captures once; no join of captures and labels can do
less. ``read``: without the writing. ``parse``: read, and decode of each line the fields that a merge needs, in blocks,
with msgspec, in one process; what is decoded is thrown away.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path


def read(data: Path, output: Path) -> None:
    """Read every file below ``data/capture`` and ``data/labels``, and write how many bytes that were."""
    size = 0
    for path in files(data / "capture") + files(data / "labels"):
        with open(path, "rb", buffering=0) as source:
            size += len(source.read())
    output.write_text(str(size))


def copy(data: Path, output: Path) -> None:
    """Read every file below ``data/capture`` and ``data/labels``; append the captures' bytes to the file `output`."""
    with output.open("wb", buffering=0) as out:
        for path in files(data / "capture"):
            with open(path, "rb", buffering=0) as source:
                out.write(source.read())
    for path in files(data / "labels"):
        with open(path, "rb", buffering=0) as source:
            source.read()


def parse(data: Path, output: Path) -> None:
    """Decode every line, and write how many could be."""
    import msgspec
    from msgspec import defstruct

    payload = defstruct("Payload", [("data", str), ("encoding", str)])
    absent = str | None, None
    event = defstruct("Event", [("eventId", str), ("inferenceId", *absent), ("inferenceTime", *absent)])
    captured = defstruct("Data", [("endpointOutput", payload)])
    capture = defstruct("Capture", [("captureData", captured), ("eventMetadata", event)])
    label = defstruct("Label", [("groundTruthData", payload), ("eventMetadata", event)])
    decoded = 0
    for side, kind in (("capture", capture), ("labels", label)):
        decoder = msgspec.json.Decoder(kind)
        for path in files(data / side):
            with open(path, "rb", buffering=0) as source:
                content = source.read()
            try:
                decoded += len(decoder.decode_lines(content))
            except (msgspec.DecodeError, UnicodeDecodeError):
                for line in filter(bytes.strip, content.split(b"\n")):
                    try:
                        decoder.decode(line)
                    except (msgspec.DecodeError, UnicodeDecodeError):
                        continue
                    decoded += 1
    output.write_text(str(decoded))


def files(root: Path) -> list[str]:
    """The paths of all files below `root`, sorted."""
    return sorted(os.path.join(folder, name) for folder, _, names in os.walk(root) for name in names)


FLOORS = {"read": read, "copy": copy, "parse": parse}

if __name__ == "__main__":
    if len(sys.argv) != 4 or sys.argv[1] not in FLOORS:
        sys.exit("usage: python benchmarks/floors.py read|copy|parse DATA OUTPUT")
    FLOORS[sys.argv[1]](Path(sys.argv[2]), Path(sys.argv[3]))
