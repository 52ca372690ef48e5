"""The unit of all figures, as a process of its own: read all input bytes and write those of the captures once.

    python benchmarks/floors.py copy DATA OUTPUT

No join of captures and labels can do less.
"""

from __future__ import annotations

import sys
from pathlib import Path


def copy(data: Path, output: Path) -> None:
    """Read every file below ``data/capture`` and ``data/labels``; append the captures' bytes to the file `output`."""
    with output.open("wb", buffering=0) as out:
        for path in files(data / "capture"):
            with open(path, "rb", buffering=0) as source:
                out.write(source.read())
    for path in files(data / "labels"):
        with open(path, "rb", buffering=0) as source:
            source.read()


def files(root: Path) -> list[str]:
    """The paths of all files below `root`, sorted."""
    import os

    return sorted(os.path.join(folder, name) for folder, _, names in os.walk(root) for name in names)


if __name__ == "__main__":
    if len(sys.argv) != 4 or sys.argv[1] != "copy":
        sys.exit("usage: python benchmarks/floors.py copy DATA OUTPUT")
    copy(Path(sys.argv[2]), Path(sys.argv[3]))
