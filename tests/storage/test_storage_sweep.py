"""Leftovers of killed local writes are removed by the folder's owner, and by nobody else."""

from __future__ import annotations

from pathlib import Path

import pytest

from airflow_mq_provider.storage import Storage


@pytest.mark.parametrize(("deep", "left"), [(False, ["below/.0123456789abcdef.unfinished"]), (True, [])])
def test_only_half_done_writes_are_swept(tmp_path: Path, deep: bool, left: list[str]) -> None:
    kept = ["report.json", ".hidden", ".0123.unfinished", "below/part.npz"]
    for name in [*kept, ".0123456789abcdef.unfinished", "below/.0123456789abcdef.unfinished"]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    Storage().sweep(str(tmp_path), deep=deep)
    files = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())
    assert files == sorted([*kept, *left])


def test_a_folder_that_is_not_there_needs_no_sweeping(tmp_path: Path) -> None:
    Storage().sweep(str(tmp_path / "nowhere"), deep=True)
    assert not list(tmp_path.iterdir())
