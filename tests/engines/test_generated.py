"""The data that engines and benchmarks are held against are what their arguments say, and nothing else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from benchmarks import generate as generator
from benchmarks.generate import generate


def written(root: Path) -> dict[str, bytes]:
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.name != "monitor.json"  # which holds absolute paths
    }


def test_the_same_arguments_give_the_same_bytes_and_another_seed_gives_others(tmp_path: Path) -> None:
    for name, seed in (("one", 1), ("again", 1), ("other", 2)):
        generate(tmp_path / name, records=300, hours=3, gzip_share=0.5, seed=seed)
    assert written(tmp_path / "one") == written(tmp_path / "again")
    assert written(tmp_path / "one") != written(tmp_path / "other")


def test_the_command_line_lays_out_what_it_is_asked_for(tmp_path: Path) -> None:
    command = [
        sys.executable,
        generator.__file__,
        str(tmp_path),
        "--records",
        "400",
        "--hours",
        "2",
        "--payload",
        "base64",
    ]
    command += ["--records-per-file", "10", "--labels-per-file", "5", "--gzip-share", "1", "--duplicates", "0"]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    files = written(tmp_path)
    captures = [name for name in files if name.startswith("capture/")]
    assert 40 <= len(captures) <= 45
    assert all(name.endswith(".jsonl.gz") for name in files if name.startswith(("capture/", "labels/")))
    assert '"duplicate_ids": 0' in told
