"""The README and docs/ say what the code does: names, snippets, links, rules."""

from __future__ import annotations

import inspect
import json
import re
from pathlib import Path
from typing import Any

import pytest

from airflow_mq_provider import cli, exceptions, spark_job
from airflow_mq_provider.exceptions import ModelQualityError
from airflow_mq_provider.quality import constraints
from airflow_mq_provider.quality.records import REASONS
from benchmarks import publish

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
PAGES = sorted([README, ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")])
PACKAGE = ROOT / "airflow_mq_provider"


def snippets(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)


def first_cells(page: Path) -> set[str]:
    """What stands as code in the first column of a page's tables."""
    return {name for line in page.read_text().splitlines() for name in re.findall(r"^\| `([^`|]+)` \|", line)}


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_reason_for_rejection_is_explained():
    assert {*REASONS, "row_count_mismatch"} <= first_cells(ROOT / "docs/reasons.md")


def test_every_error_is_explained_with_its_exit_code():
    errors = {
        name: kind
        for name, kind in vars(exceptions).items()
        if inspect.isclass(kind) and issubclass(kind, ModelQualityError)
    }
    told = dict(re.findall(r"^\| `(\w+Error)` \| (\d) \|", (ROOT / "docs/reasons.md").read_text(), re.MULTILINE))
    usage = (exceptions.MonitorError, exceptions.WindowError)
    assert told == {name: "2" if issubclass(kind, usage) else "1" for name, kind in errors.items()}


def test_every_code_of_a_verdict_is_explained():
    codes = re.search(
        r"code: the reason as one word.*?nothing_judged``", inspect.getdoc(constraints.Verdict) or "", re.DOTALL
    )
    assert codes is not None
    text = (ROOT / "docs/reasons.md").read_text()
    assert not [code for code in re.findall(r"``(\w+)``", codes[0]) if f"| `{code}` |" not in text]


@pytest.mark.parametrize("page", [page for page in PAGES if snippets(page, "python")], ids=lambda page: page.name)
def test_python_snippets_are_python(page):
    for number, snippet in enumerate(snippets(page, "python"), 1):
        compile(snippet, f"{page.name}, snippet {number}", "exec")


def test_the_readme_s_dag_is_one():
    (snippet,) = snippets(README, "python")
    names: dict[str, object] = {}
    exec(compile(snippet, str(README), "exec"), names)  # noqa: S102 - our own page
    assert getattr(names["dag"], "task_ids", None) == ["merge_ground_truth", "analyze_quality"]


def test_the_guide_s_schedule_is_a_dag():
    (snippet,) = snippets(ROOT / "docs/sagemaker.md", "python")
    names: dict[str, object] = {}
    exec(compile(snippet, "sagemaker.md", "exec"), names)  # noqa: S102 - our own page
    assert getattr(names["dag"], "task_ids", None) == ["keep_job_definition", "keep_schedule", "follow_execution"]


def test_every_operator_and_sensor_of_sagemaker_is_explained():
    sources = [PACKAGE / room / "sagemaker.py" for room in ("operators", "sensors")]
    offered = {
        name for path in sources for name in re.findall(r"^class ([A-Z]\w+(?:Operator|Sensor))", path.read_text(), re.M)
    }
    assert offered == {
        name for name in first_cells(ROOT / "docs/sagemaker.md") if name.endswith(("Operator", "Sensor"))
    }


def test_every_end_of_an_execution_is_explained():
    source = (PACKAGE / "sensors/sagemaker.py").read_text()
    codes = set(re.findall(r'_missing\("(\w+)"', source)) | {
        "within_constraints",
        "violations",
        "no_data",
        "failed",
        "stopped",
    }
    page = (ROOT / "docs/sagemaker.md").read_text()
    assert codes == set(re.findall(r"^\| `\w+` \| `(\w+)` \|", page, re.MULTILINE))


def test_the_recipe_for_predictions_that_sagemaker_did_not_capture_works(tmp_path, monkeypatch, capsys):
    page = ROOT / "docs/formats.md"
    (snippet,) = snippets(page, "python")
    (command,) = [one for one in snippets(page, "text") if one.startswith("model-quality ")]
    said = re.search(r"It says `([^`]+)`", page.read_text())
    assert said is not None
    monkeypatch.chdir(tmp_path)
    exec(compile(snippet, str(page), "exec"), {})  # noqa: S102 - our own page
    assert cli.main(command.split()[1:]) == 0
    assert capsys.readouterr().out.splitlines()[0] == said[1]


def test_what_a_cluster_needs_is_said():
    (told,) = [one for one in snippets(ROOT / "docs/spark.md", "text") if one.startswith("annotated-types ")]
    assert told.split() == list(spark_job.REQUIREMENTS)


def test_the_job_of_a_cluster_is_asked_for_as_its_page_says():
    (command,) = [one for one in snippets(ROOT / "docs/spark.md", "text") if one.startswith("spark-submit ")]
    assert spark_job._parser().parse_args(command.split()[2:]).monitor == "s3://bucket/churn.yaml"


def test_every_merge_on_a_cluster_is_explained():
    sources = [PACKAGE / "operators" / name for name in ("spark_on_aws.py", "spark_submit.py")]
    offered = {name for path in sources for name in re.findall(r"^class (\w+Operator)", path.read_text(), re.M)}
    assert offered == set(re.findall(r"^\| [\w ']+ \| `(\w+)` \| \[", (ROOT / "docs/spark.md").read_text(), re.M))


def test_the_merge_on_a_cluster_is_given_as_its_page_says():
    names: dict[str, Any] = {}
    exec(compile(snippets(README, "python")[0], str(README), "exec"), names)  # noqa: S102 - our own page
    exec(compile(snippets(ROOT / "docs/spark.md", "python")[0], "spark.md", "exec"), names)  # noqa: S102 - our own page
    dag = names["model_quality_dag"](names["churn"], merge_operator=names["merge_operator"])
    assert type(dag.get_task("merge_ground_truth")).__name__ == "EmrServerlessGroundTruthMergeOperator"


def test_the_recipe_of_retraining_is_the_example():
    (snippet,) = snippets(ROOT / "docs/retraining.md", "python")
    assert snippet in (ROOT / "dags/retrain_on_violation.py").read_text()


def test_the_commands_of_moving_over_are_commands():
    commands = [one for one in snippets(ROOT / "docs/moving-over.md", "text") if one.startswith("model-quality ")]
    assert [command.split()[1] for command in commands] == ["import", "window", "compare"]
    for command in commands:
        cli._parser().parse_args(command.split()[1:])


def test_moving_over_names_the_calls_that_an_import_makes():
    told = re.search(r"Live, it asks (.*?), with", (ROOT / "docs/moving-over.md").read_text())
    asked = re.findall(r'_asked\(\s*client,\s*"(\w+)"', (PACKAGE / "moving.py").read_text())
    assert told is not None
    assert set(re.split(r", | and ", told[1])) == {
        "".join(word.capitalize() for word in operation.split("_")) for operation in asked
    }


def test_every_rule_that_the_package_cites_is_stated():
    stated = set(re.findall(r"^- \*\*([A-Z]\d)\*\*", (ROOT / "docs/rules.md").read_text(), re.MULTILINE))
    cited = {
        rule
        for path in PACKAGE.rglob("*.py")
        for citation in re.findall(r"[Rr]ules? ((?:[WIMAO]\d(?: [a-e]\b)?(?:, | and | to )?)+)", path.read_text())
        for rule in re.findall(r"[WIMAO]\d", citation)
    }
    assert {"W1", "I4", "M2", "A6", "O2"} <= cited
    assert cited <= stated


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_relative_links_lead_somewhere(page):
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in link or link.startswith("mailto:"):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


def test_every_decision_is_listed():
    folder = ROOT / "docs/decisions"
    listed = re.findall(r"\]\((\d{4}-[\w-]+\.md)\)", (folder / "README.md").read_text())
    assert listed == sorted(path.name for path in folder.glob("[0-9]*.md"))


def test_pictures_are_small_enough_to_be_cloned_and_loaded():
    pictures = sorted((ROOT / "docs/images").iterdir())
    assert [path.name for path in pictures] == [
        "report.png",
        "speed.svg",
        "ui-monitor.png",
        "ui-monitors.png",
        "ui-run.png",
    ]
    assert all(path.stat().st_size <= 200_000 for path in pictures)


def test_what_readme_shows_of_the_benchmark_is_what_it_measured() -> None:
    found = json.loads(publish.RESULTS.read_text())
    [shown] = publish.BLOCK.findall(README.read_text())
    assert shown == publish.figures(found)
    assert publish.CHART.read_text() == publish.chart(found)


def test_readme_names_every_alternative_that_the_benchmark_measured() -> None:
    """A whole run of the benchmark measures more rows than one that leaves some out."""
    row = {"wall_s": 3.0, "cpu_s": 5.0, "peak_pss_mb": 250.0}
    run = "model-quality run, 1,000,000 records"
    results = {
        "machine": {"cores": 2, "evidently": "0.7.23"},
        "records": 1_000_000,
        "files": 4624,
        "bytes": 800_000_000,
        "rows": {
            "copy": row,
            "parse": row,
            run: row,
            "model-quality run, 200 records": row,
            "by hand": row | {"wall_s": 45.0},
            "Evidently": row | {"wall_s": 36.0},
        },
        "times_copy": {run: 5.5},
        "times_run": {"by hand": 15.0, "Evidently": 12.0},
        "sliding": {
            "first_cpu_s": 2.0,
            "next_cpu_s": 0.6,
            "records": 200_000,
            "windows": 168,
            "backfill_times_all_hours": 4.25,
            "backfill_apart_times_all_hours": 6.5,
        },
    }
    told = publish.figures(results)
    for part in (
        "15.0 times as long",
        "Evidently](",
        "12.0 times as long",
        "0.6 s of CPU where the first took 2.0 s",
        "A backfill of 168 such windows takes 4.2 times",
        "6.5 times in processes of their own",
    ):
        assert part in told
    drawn = publish.chart(results)
    assert [label for label, _, _ in publish.bars(results)] == re.findall(r'text-anchor="end">([^<]+)<', drawn)
    assert drawn.count('class="bar ours"') == 1
    assert "prefers-color-scheme: dark" in drawn


def test_what_the_docs_say_of_many_waits_files_and_objects_is_what_was_measured() -> None:
    found = json.loads((ROOT / "benchmarks/at_scale.json").read_text())
    waits, parsing, objects = found["waiting"], found["parsing"], found["objects"]
    page = (ROOT / "docs/airflow.md").read_text()
    assert waits["monitors"] == parsing["monitors"] == 1_000
    rows = {"captures": "captures", "labels": "labels, of 1,000 models", "labels_shared": "labels, of one model"}
    for name, label in rows.items():
        one = waits[name]
        asked = f"{one['requests_a_look']:.{1 if one['requests_a_look'] > 0.1 else 3}f}"
        assert f"| {label} | {asked} | {one['cpu_ms_a_look']:.1f} ms | {one['memory_mb']:.0f} MB |" in page
    for figure in (
        f"parsed one before | {parsing['file_cpu_ms']:.1f} ms |",
        f"a process for each | {parsing['processor_file_cpu_s']:.2f} s |",
        f"in a loop | {parsing['one_file_of_all_cpu_s']:.1f} s |",
        f"take {1_000 * parsing['processor_file_cpu_s']:.0f} s of CPU a round",
        f"{objects['read_cpu_ms']['obstore']:.2f} ms of CPU an object against {objects['read_cpu_ms']['boto3']:.2f}",
        f"{objects['objects']:,} objects of {objects['bytes'] / 1e6:,.0f} MB took a run {objects['run_peak_pss_mb']:.0f} MB",
    ):
        assert figure in page


def test_the_tables_of_scale_md_are_computed_from_what_was_measured() -> None:
    """Where this fails since something was measured again: ``make scale`` writes them."""
    from benchmarks import scale

    page = scale.PAGE.read_text()
    assert scale.written(page) == page


def test_what_scale_md_computes_with_is_named_with_how_it_was_measured() -> None:
    from benchmarks import scale

    costs = json.loads(scale.UNIT_COSTS.read_text())
    assert all(set(one) == {"value", "how"} and one["how"] for one in costs.values())
    page = scale.PAGE.read_text()
    assert [name for name in costs if f"| {name} |" not in page] == []


def test_a_scale_that_is_half_as_large_costs_half(monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmarks import scale

    given = scale.costs()
    whole = {row[0]: row[1] for row in scale.one_model(given)}
    monkeypatch.setattr(scale, "CAPTURES", scale.CAPTURES // 2)
    half = {row[0]: row[1] for row in scale.one_model(given)}
    objects = [int(one["objects read"].split()[0].replace(",", "")) for one in (half, whole)]
    memory = [float(one["memory of the worker"].split()[0]) for one in (half, whole)]
    assert 2 * objects[0] == objects[1]
    assert 2 * memory[0] == pytest.approx(memory[1], abs=0.2)
