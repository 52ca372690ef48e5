"""docs/window.md says what window.py does."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from airflow_mq_provider.exceptions import WindowError
from airflow_mq_provider.window import (
    AS_OF_SOURCES,
    PARAM_END,
    PARAM_START,
    SOURCES,
    OffsetWarning,
    analysis_window,
    explicit_window,
    normalize_offset,
)

PAGE = (Path(__file__).parents[2] / "docs" / "window.md").read_text()


def offset(cell: str) -> str | None:
    return None if cell == "none" else cell.strip("`")


def test_the_table_of_windows_is_what_the_code_gives():
    rows = re.findall(r"^\| (none|`-P\w+`) \| (none|`-P\w+`) \| (.+) \|$", PAGE, re.MULTILINE)
    assert len(rows) == 5
    start, end = datetime(2020, 1, 9, 12, tzinfo=UTC), datetime(2020, 1, 9, 13, tzinfo=UTC)
    for first, last, said in rows:
        if said.startswith("refused"):
            with pytest.raises(WindowError, match="empty"):
                analysis_window(end, offset(first), offset(last), interval_start=start, source="data_interval")
            continue
        made = analysis_window(end, offset(first), offset(last), interval_start=start, source="data_interval")
        full = "%Y-%m-%d %H:%M" if "2020" in said else "%H:%M"
        assert said == f"{made.start.strftime(full)} – {made.end.strftime(full)}"


def test_the_rewritten_offsets_are_what_the_code_writes():
    rows = re.findall(r"^\| `(-P\w+)` \(.+\) \| read and kept as `(-P\w+)`", PAGE, re.MULTILINE)
    assert len(rows) == 2
    for written, kept in rows:
        with pytest.warns(OffsetWarning):
            assert normalize_offset(written, field="start_time_offset") == kept


@pytest.mark.parametrize("word", [*SOURCES, *AS_OF_SOURCES, PARAM_START, PARAM_END, "W1", "W2", "W3", "W4", "I1", "I2"])
def test_every_source_param_and_rule_is_explained(word):
    assert word in PAGE


def test_the_folder_of_an_explicit_window_is_the_one_that_is_shown():
    made = explicit_window(datetime(2020, 1, 1, 13, tzinfo=UTC), datetime(2020, 1, 8, 13, tzinfo=UTC))
    assert f"/{made.report_folder}/" in PAGE
