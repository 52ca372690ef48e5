"""What holds of the project as a whole: its public names, what importing it costs, and what it declares."""

from __future__ import annotations

import ast
import importlib
import itertools
import re
import subprocess
import sys
import tomllib
from importlib.metadata import entry_points, version
from pathlib import Path
from zipfile import ZipFile

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import airflow_mq_provider

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PUBLIC = [name for name in airflow_mq_provider.__all__ if name != "__version__"]

# What a DAG file must not pay for. Importing airflow_mq_provider or its light rooms loads none of these.
HEAVY = {
    "aiobotocore",
    "airflow",
    "boto3",
    "botocore",
    "fsspec",
    "jmespath",
    "msgspec",
    "numpy",
    "pandas",
    "pendulum",
    "pyarrow",
    "scipy",
    "sklearn",
    "xxhash",
    "yaml",
}
# What airflow.sdk and the amazon provider load themselves, or need.
AIRFLOWS_OWN = {"aiobotocore", "airflow", "boto3", "botocore", "fsspec", "jmespath", "msgspec", "pendulum", "yaml"}


def loaded_by(statement: str) -> set[str]:
    """The heavy top-level packages that a fresh interpreter has loaded after the statement."""
    program = f"import sys\n{statement}\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, check=True)
    return HEAVY & set(done.stdout.split())


# --- names


@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_name_is_loaded_from_its_home(name: str) -> None:
    value = getattr(airflow_mq_provider, name)
    assert value.__name__ == name
    assert value.__module__.startswith("airflow_mq_provider.")


def test_types_are_declared_for_exactly_the_names_that_are_public() -> None:
    """Type checkers see the imports, the interpreter the table: both tell the same."""
    tree = ast.parse((ROOT / "airflow_mq_provider" / "__init__.py").read_text())
    declared = {
        alias.name: node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("airflow_mq_provider.")
        for alias in node.names
    }
    homes = {name: f"airflow_mq_provider.{home}" for name, home in airflow_mq_provider._HOMES.items()}
    assert declared == homes
    assert set(PUBLIC) == set(homes)


def test_public_names_are_offered_before_they_are_loaded() -> None:
    program = "import airflow_mq_provider as p; print(set(p.__all__) <= set(dir(p)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True"


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'ModelQualityMonitr'"):
        _ = airflow_mq_provider.ModelQualityMonitr


# --- cost


@pytest.mark.parametrize("module", ["", ".exceptions", ".window", ".monitor", ".storage", ".get_provider_info"])
def test_light_rooms_load_nothing_heavy(module: str) -> None:
    assert loaded_by(f"import airflow_mq_provider{module}") == set()


def test_making_a_monitor_loads_nothing_heavy() -> None:
    statement = """from airflow_mq_provider import EndpointInput, ModelQualityMonitor
ModelQualityMonitor(
    name="churn",
    problem_type="BinaryClassification",
    endpoint_input=EndpointInput(
        endpoint_name="churn",
        data_captured_destination_uri="s3://bucket/capture",
        probability_attribute="0",
        start_time_offset="-P8D",
        end_time_offset="-P1D",
    ),
    ground_truth_uri="s3://bucket/labels",
    output_uri="s3://bucket/reports",
)"""
    assert loaded_by(statement) == set()


def test_the_dag_room_loads_nothing_heavy_beyond_airflow() -> None:
    assert loaded_by("from airflow_mq_provider import model_quality_dag") <= AIRFLOWS_OWN


def test_local_work_never_loads_a_client_of_aws(tmp_path: Path) -> None:
    statement = f"""from airflow_mq_provider.storage import Storage
storage = Storage()
storage.write({str(tmp_path / "a")!r}, b"x")
assert [stored.key for stored in storage.list({str(tmp_path)!r})] == ["a"]
assert storage.read({str(tmp_path / "a")!r}) == b"x"
"""
    assert loaded_by(statement) == set()


# --- declarations


def requirements(declared: list[object]) -> list[Requirement]:
    return [Requirement(line) for line in declared if isinstance(line, str)]


DEPENDENCIES = requirements(PROJECT["project"]["dependencies"])
EXTRAS = requirements([line for lines in PROJECT["project"]["optional-dependencies"].values() for line in lines])
TOOLS = requirements([line for lines in PROJECT["dependency-groups"].values() for line in lines])


@pytest.mark.parametrize("requirement", [one for one in [*DEPENDENCIES, *EXTRAS] if one.specifier], ids=str)
def test_a_lower_bound_is_the_version_that_was_tested(requirement: Requirement) -> None:
    """`make test-lowest` runs with these versions, so a bound promises no more and no less."""
    pins = dict(line.split("==") for line in (ROOT / "constraints-lowest.txt").read_text().splitlines())
    [bound] = requirement.specifier
    assert Version(pins[canonicalize_name(requirement.name)]) == Version(bound.version)


@pytest.mark.parametrize("requirement", [*DEPENDENCIES, *EXTRAS], ids=str)
def test_no_dependency_has_an_upper_cap(requirement: Requirement) -> None:
    assert {clause.operator for clause in requirement.specifier} <= {">="}


def test_every_dependency_says_why_it_is_there() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    block = text[text.index("\ndependencies = [") : text.index("[project.scripts]")]
    lines = [line.strip() for line in block.splitlines()]
    unexplained = [
        line
        for before, line in itertools.pairwise(lines)
        if re.match(r'"|\w+ = \["', line) and not before.startswith("#")
    ]
    assert unexplained == []


def test_constraints_hold_names_and_versions_only() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    assert [line for line in lines if not re.fullmatch(r"[a-z0-9.-]+==[0-9][0-9a-z.]*", line)] == []
    assert lines == sorted(lines, key=lambda line: line.split("=="))


def test_constraints_pin_all_that_is_declared_within_its_bounds() -> None:
    pins = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines())
    for requirement in [*DEPENDENCIES, *EXTRAS, *TOOLS]:
        assert Version(pins[canonicalize_name(requirement.name)]) in requirement.specifier, requirement


def test_the_installed_version_is_that_of_the_package() -> None:
    assert version("airflow-mq-provider") == airflow_mq_provider.__version__


def test_the_command_and_the_provider_are_found_where_they_are_declared() -> None:
    declared = {("console_scripts", name): target for name, target in PROJECT["project"]["scripts"].items()} | {
        (group, name): target
        for group, targets in PROJECT["project"]["entry-points"].items()
        for name, target in targets.items()
    }
    for (group, name), target in declared.items():
        [found] = [point for point in entry_points(group=group, name=name) if point.value == target]
        assert callable(found.load())


def test_the_wheel_holds_the_package_with_its_types_and_nothing_else(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, capture_output=True, check=True)
    [wheel] = tmp_path.glob("*.whl")
    with ZipFile(wheel) as archive:
        names = archive.namelist()
    assert {
        f"airflow_mq_provider/{name}"
        for name in ("py.typed", "storage.py", "publish/report.css", "plugin/page.css", "plugin/page.js")
    } <= set(names)
    assert any(name.endswith("/licenses/LICENSE") for name in names)
    roots = {name.partition("/")[0] for name in names}
    assert roots == {"airflow_mq_provider", f"airflow_mq_provider-{airflow_mq_provider.__version__}.dist-info"}


def test_the_changelog_begins_with_what_is_not_released_yet() -> None:
    headings = re.findall(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[0] == "Unreleased"


# importing Airflow's API server says what its own dependencies are about to give up
@pytest.mark.filterwarnings("default")
def test_every_room_is_importable() -> None:
    """A name that is spelled wrong in a module that no other test loads shows here."""
    package = ROOT / "airflow_mq_provider"
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        importlib.import_module(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
