"""Judge a window of 20,000,000 records within a memory limit: ``make bench-limit``.

Once with `LIMIT` and once with the limit that holds where none is set, each by the default way, which keeps no merged records. Of each
run the times are measured, and its memory in a run of its own, since looking at it costs time: that of all its processes
together, every 20 ms. An answer that is not the generator's truth ends the benchmark. The data take 16 GB and lie on a disk,
so that memory is what the runs take. Figures go to ``limit.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from generate import Truth, generate
from measure import Row, machine, once, tell
from run import judge, judged

HERE = Path(__file__).parent
RECORDS = 20_000_000
LIMIT = "4GiB"


def main() -> int:
    """Generate, judge, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--records", type=int, default=RECORDS)
    parser.add_argument("--limit", default=LIMIT, help="(default: %(default)s)")
    parser.add_argument(
        "--folder", type=Path, help="where the data are made unless they are there, and stay (default: a temporary one)"
    )
    parser.add_argument("--results", type=Path, default=HERE / "limit.json")
    parser.add_argument("--generate", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    work = given.folder or Path(tempfile.mkdtemp(prefix="model-quality-limit-"))
    if given.generate:
        (work / "truth").write_bytes(pickle.dumps(generate(work / "data", records=given.records, seed=20261101)))
        return 0
    try:
        if not (work / "truth").is_file():
            # in a process of its own: what it holds is not to be in memory while runs are measured
            again = [sys.executable, __file__, "--generate", "--records", str(given.records), "--folder", str(work)]
            subprocess.run(again, check=True)
        truth: Truth = pickle.loads((work / "truth").read_bytes())  # noqa: S301 - this benchmark wrote it
        tell(f"{given.records:,} records: {truth.files:,} files, {truth.size / 1e6:,.0f} MB")
        rows = [judged_within(truth, given.limit), judged_within(truth, None)]
        for row in rows:
            once(row, work, watch=False)
            once(row, work, watch=True)
            tell(f"{row.name}: {json.dumps(row.figures())}")
    finally:
        if given.folder is None:
            shutil.rmtree(work)
    results: dict[str, Any] = {
        "machine": machine("msgspec", "numpy"),
        "records": given.records,
        "files": truth.files,
        "bytes": truth.size,
        "load_average": round(os.getloadavg()[0], 2),
        "rows": {row.name: row.figures() for row in rows},
    }
    given.results.write_text(json.dumps(results, indent=2) + "\n")
    return 0


def judged_within(truth: Truth, limit: str | None) -> Row:
    """A run of the command that users call, whose answer is the generator's."""

    def command(folder: Path) -> list[str]:
        return judge(truth, folder, None) + (["--memory-limit", limit] if limit else [])

    return Row(f"limit {limit}" if limit else "no limit set", command, judged(truth), 1)


if __name__ == "__main__":
    sys.exit(main())
