"""docs/settings.md explains every setting."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from airflow_mq_provider.monitor import (
    BatchTransformInput,
    CsvFormat,
    EndpointInput,
    JsonFormat,
    ModelQualityMonitor,
    NetworkSettings,
    SageMakerSettings,
    Segments,
)

PAGE = (Path(__file__).parents[2] / "docs" / "settings.md").read_text()
PARTS: dict[str, type[BaseModel]] = {
    "ModelQualityMonitor": ModelQualityMonitor,
    "EndpointInput": EndpointInput,
    "BatchTransformInput": BatchTransformInput,
    "Segments": Segments,
    "SageMakerSettings": SageMakerSettings,
    "NetworkSettings": NetworkSettings,
}


def section(part: str) -> str:
    """What stands under the heading that names the part."""
    found = re.search(rf"^## [^\n]*`{part}`[^\n]*\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert found, f"docs/settings.md has no section on {part}"
    return found[1]


def rows(part: str) -> dict[str, list[str]]:
    """The rows of a section's table by the setting in their first column; several settings may share a row."""
    table = {}
    for line in section(part).splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        for name in re.findall(r"`(\w+)`", cells[0]) if line.startswith("| `") else []:
            table[name] = cells
    return table


@pytest.mark.parametrize("part", PARTS)
def test_every_setting_has_its_row_and_no_row_is_of_something_else(part):
    assert set(rows(part)) == set(PARTS[part].model_fields)


@pytest.mark.parametrize("part", PARTS)
def test_the_default_of_every_setting_is_the_one_that_holds(part):
    for name, field in PARTS[part].model_fields.items():
        said = rows(part)[name][1]
        if field.default is PydanticUndefined and field.default_factory is None:
            assert said == "needed", name
        elif field.default is None or (not field.get_default(call_default_factory=True) and field.default != 0):
            assert said in ("–", "`false`"), name
        else:
            assert said == f"`{field.default}`".replace("False", "false"), name


@pytest.mark.parametrize("part", PARTS)
def test_every_setting_says_its_meaning_limits_and_sagemakers_name(part):
    for name, cells in rows(part).items():
        assert len(cells) == 5, name
        assert len(cells[2]) > 10, name
        assert cells[3], name
        assert cells[4], name


def test_the_formats_of_batch_transform_are_explained():
    for kind in (CsvFormat, JsonFormat):
        for name in kind.model_fields:
            assert f'"{name}"' in section("BatchTransformInput")


def test_the_example_of_the_page_is_a_monitor():
    example = re.search(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    assert example
    made = ModelQualityMonitor.from_text(example[1], "docs/settings.md")
    assert made.name == "churn-model-quality"
