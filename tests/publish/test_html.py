"""``report.html``: what it says, that it is one file of the same bytes each time, and that data stays data."""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_mq_provider import run, run_on_sagemaker
from airflow_mq_provider.monitor import ModelQualityMonitor
from airflow_mq_provider.publish.html import report_page
from airflow_mq_provider.quality import documents
from airflow_mq_provider.quality.constraints import NEXT_STEPS, Constraint, judge, verdict
from airflow_mq_provider.quality.figures import figures
from airflow_mq_provider.quality.report import RunResult
from airflow_mq_provider.quality.segments import judge_segments, segment_states
from airflow_mq_provider.quality.states import (
    BINARY,
    MULTICLASS,
    REGRESSION,
    CaptureCounts,
    GroundTruthCounts,
    JoinCounts,
    MergeCounts,
    MergedRows,
    RejectedLine,
    sample_flags,
    state_of,
)
from airflow_mq_provider.report_folder import ANALYSIS_JOB as ANALYSIS_NOTE
from airflow_mq_provider.storage import Storage
from airflow_mq_provider.window import AsOf, Window, analysis_window, explicit_window
from tests.pages import ANALYSIS_JOB, EXIT_MESSAGE, HOSTILE, KINDS, LONG, MERGE_JOB, made
from tests.world import T, World

VOID = {"meta", "link", "wbr", "br", "img", "input", "hr"}
LIMIT = 1_000_000


class Document(HTMLParser):
    """A page, read strictly: every element is closed where it should be."""

    def __init__(self, data: bytes) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.content: list[tuple[str, str]] = []
        self.feed(data.decode())
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.content.append((self.open[-1] if self.open else "", data))

    def values(self, *names: str) -> list[str]:
        return [value or "" for _, attrs in self.elements for name, value in attrs.items() if name in names]

    @property
    def text(self) -> str:
        """What a reader reads, with one space between words."""
        return " ".join("".join(data for tag, data in self.content if tag not in ("style", "title")).split())


@pytest.fixture(scope="module")
def read(pages: dict[str, Path]) -> Callable[[str], Document]:
    return lambda kind: Document(pages[kind].read_bytes())


# --- pages of made-up results


def offset_window(start: str, end: str | None) -> Window:
    return analysis_window(T, start, end, interval_start=None, source="command_line")


def page(
    problem_type: str = BINARY,
    rows: MergedRows | None = None,
    *,
    limits: dict[str, Constraint] | None = None,
    counts: MergeCounts | None = None,
    window: Window | None = None,
    as_of: AsOf | None = None,
    **settings: Any,
) -> RunResult:
    """A page of rows and limits, without a run."""
    source: dict[str, Any] = {"endpoint_name": "churn", "data_captured_destination_uri": "s3://bucket/capture"}
    source |= {"probability_attribute": "0"} if problem_type == BINARY else {"inference_attribute": "0"}
    source |= settings.pop("endpoint", {})
    declared: dict[str, Any] = {
        "name": "churn-quality",
        "problem_type": problem_type,
        "endpoint_input": source,
        "ground_truth_uri": "s3://bucket/labels",
        "output_uri": "s3://bucket/reports",
    }
    monitor = ModelQualityMonitor(**declared, **settings)
    records = 0 if rows is None else len(rows)
    counts = counts or MergeCounts(
        CaptureCounts(files=1, lines=records, used=records),
        GroundTruthCounts(files=1, lines=records, used=records),
        JoinCounts(matched=records, label_coverage=1.0 if records else None),
    )
    statistics = found = judgement = None
    if rows is not None:
        state = state_of(rows)
        statistics = documents.statistics(
            problem_type, state, threshold=monitor.threshold, evaluation_time=None,
            negative_label=monitor.negative_label, positive_label=monitor.positive_label,
        )  # fmt: skip
        found = figures(state, monitor.threshold)
        judgement = judge(statistics.metrics, limits, problem_type) if limits is not None else None
    told = verdict(
        counts, judgement, min_records=monitor.min_records, min_label_coverage=monitor.min_label_coverage,
        noise_sd=monitor.noise_sd,
    )  # fmt: skip
    return RunResult(
        monitor=monitor,
        window=window or offset_window("-PT1H", None),
        as_of=as_of or AsOf(T, "schedule"),
        counts=counts,
        verdict=told,
        statistics=statistics,
        figures=found,
        constraints=limits,
        judgement=judgement if told.status != "NotJudged" else None,
        capture_digest="c" * 32,
        ground_truth_digest="d" * 32,
        engine="local",
    )


def binary_rows(records: int = 400, seed: int = 0) -> MergedRows:
    rng = np.random.default_rng(seed)
    probability = rng.random(records)
    actual = rng.random(records) < probability
    flags = sample_flags(rng.integers(0, 2**63, (records, 2)).astype(np.uint64))
    return MergedRows(BINARY, flags, actual.astype(np.uint8), (probability > 0.5).astype(np.uint8), probability)


def text(made: RunResult) -> str:
    return Document(report_page(made)).text


ABOVE = {"recall": Constraint(0.99, "LessThanThreshold"), "auc": Constraint(0.5, "LessThanThreshold")}


HUNDREDS = binary_rows()


def near(deviations: float) -> dict[str, Constraint]:
    """A limit so many standard deviations above the recall of `HUNDREDS`."""
    recall = documents.statistics(BINARY, state_of(HUNDREDS), threshold=0.5, evaluation_time=None).metrics["recall"]
    return {"recall": Constraint(recall.value + deviations * recall.standard_deviation, "LessThanThreshold")}


# --- what it says


def test_the_verdict_is_a_sentence_with_its_numbers(read):
    told = read("binary").text
    assert (
        "Worse than its constraints in 2 of 3 metrics: recall 0.7059 ± 0.0110, limit at least 0.9000, 17.7 sd below "
        "false_positive_rate 0.3071 ± 0.0127, limit at most 0.0500, 20.3 sd above"
    ) in told.replace("belowfalse", "below false")


def test_a_violation_within_noise_is_marked_and_still_a_violation():
    told = text(page(rows=HUNDREDS, limits=near(0.8)))
    assert "Worse than its constraints in 1 of 1 metric: recall" in told
    assert ", 0.8 sd below: within noise" in told
    assert "violated, within noise" in told


def test_a_violation_beyond_noise_says_how_far():
    told = text(page(rows=HUNDREDS, limits=near(5.25)))
    assert ", 5.2 sd below" in told
    assert "within noise" not in told


def test_a_run_within_noise_is_not_said_to_be_within_its_constraints():
    made = page(rows=HUNDREDS, limits=near(2.5), noise_sd=3.0)
    told = text(made)
    assert "Within noise: 1 of 1 metric beyond its constraint, by no more than 3 standard deviations" in told
    assert "2.5 sd below: within noise" in told
    assert b"within noise of its constraints" in report_page(made)
    assert "Worse than" not in told


def test_a_model_within_its_constraints_is_said_to_be(read):
    assert "Within its constraints in its only judged metric." in read("multiclass").text


def test_a_metric_without_a_value_is_never_passed_in_silence(read):
    told = read("labels_alone").text
    assert "Without a value and not judged: auc" in told
    assert "auc: the analysis has no value for it: no probability is captured" in told


def test_many_violations_are_told_in_part_and_counted():
    limits = {
        name: Constraint(0.999, "LessThanThreshold")
        for name in ("recall", "precision", "accuracy", "auc", "f0_5", "f1", "f2")
    }
    told = text(page(rows=binary_rows(), limits=limits))
    assert "in 7 of 7 metrics" in told
    assert "and 3 more, below" in told


def test_records_coverage_and_rejected_lines_stand_on_the_first_screen(read):
    told = read("binary").text
    for fact in ("Records judged280", "93.3%280 of 300 captures", "2of 3 judged metrics", "Rejected lines3of 583 read"):
        assert fact in told


def test_the_window_is_told_with_its_offsets_and_the_as_of_time():
    window = offset_window("-P8D", "-P1D")
    made = page(
        rows=binary_rows(),
        limits=ABOVE,
        window=window,
        as_of=AsOf(T + timedelta(days=30), "now"),
        endpoint={"start_time_offset": "-P8D", "end_time_offset": "-P1D"},
    )
    told = text(made)
    assert "2026-10-25 12:00 UTC to 2026-11-01 12:00 UTC, 7 days; the end is not part of it" in told
    assert "start offset -P8D" in told
    assert "end offset -P1D" in told
    assert "2026-12-02 12:00 UTC, when the run started" in told
    assert "labels as of (not to scale)" in told


def test_the_time_line_is_to_scale():
    window = offset_window("-P8D", "-P1D")
    drawn = report_page(page(window=window, endpoint={"start_time_offset": "-P8D", "end_time_offset": "-P1D"})).decode()
    found = re.search(r'class="window" x="([\d.]+)%" y="\d+" width="([\d.]+)%"', drawn)
    scheduled = re.search(r'class="scheduled" x1="([\d.]+)%"', drawn)
    assert found is not None
    assert scheduled is not None
    whole = float(scheduled[1]) - float(found[1])
    assert float(found[2]) / whole == pytest.approx(7 / 8, abs=1e-3)


@pytest.mark.parametrize("days", [-400, 400])
def test_an_as_of_time_far_out_stays_on_the_time_line_and_is_said_to_be_out_of_scale(days):
    drawn = report_page(page(as_of=AsOf(T + timedelta(days=days), "time"))).decode()
    found = re.search(r'class="read" x="([\d.]+)%"', drawn)
    assert found is not None
    assert 0 < float(found[1]) < 100
    assert "labels as of (not to scale)" in drawn


def test_an_explicit_window_has_no_offsets():
    made = page(
        window=explicit_window(T - timedelta(days=3), T),
        endpoint={"start_time_offset": "-P8D", "end_time_offset": "-P1D"},
    )
    told = text(made)
    assert "3 days" in told
    assert "start offset" not in told
    assert "end offset" not in told
    assert "given with the run" in told


def test_metrics_stand_beside_their_limits_with_deviation_and_result(read):
    told = read("binary").text
    assert "recall0.7059 ± 0.0110≥ 0.90001.0000violated" in told
    assert "auc0.7626 ± 0.0147≥ 0.5000–within" in told
    assert "f10.7200 ± 0.0131–0.7067no constraint" in told


def test_a_violation_is_visible_in_the_digits_however_small_it_is():
    rows = MergedRows.of_values(BINARY, np.zeros(3, np.uint8), [1, 1, 1], [1, 1, 0], None)
    limit = np.nextafter(2 / 3, 1)
    told = text(page(rows=rows, limits={"recall": Constraint(float(limit), "LessThanThreshold")}))
    assert "recall 0.6666666666666666, limit at least 0.6666666666666667" in told


def test_few_records_have_no_deviation_and_the_page_says_why(read):
    told = read("labels_alone").text
    assert "below 200 records there is none" in told
    assert "±" not in told.replace("± is the standard deviation", "").replace("value ± standard deviation", "")


def test_the_confusion_matrix_tells_misses_and_false_alarms(read):
    told = read("binary").text
    assert "Actual 1 0" not in told
    assert "110870.6%4529.4%153" in told
    assert "45 of 153 actual 1 were missed; 39 of 127 actual 0 raised a false alarm." in told


@pytest.mark.parametrize("name", ["ROC curve", "Precision and recall", "Probability by actual class", "Calibration"])
def test_probabilities_are_drawn_only_where_they_were_captured(read, name):
    assert name in read("binary").text
    assert name not in read("labels_alone").text


def test_the_threshold_is_marked_on_every_chart_that_has_a_place_for_it(read):
    told = read("binary").text
    assert "At the threshold 0.5: recall 0.7059, false positive rate 0.3071 (ringed)." in told
    assert "At the threshold 0.5: precision 0.7347, recall 0.7059 (ringed)." in told
    assert "threshold 0.5" in told


def test_one_class_alone_makes_a_page_without_the_curves_that_need_both():
    probability = np.linspace(0, 0.4, 30)
    rows = MergedRows(BINARY, np.zeros(30, np.uint8), np.zeros(30, np.uint8), np.zeros(30, np.uint8), probability)
    told = text(page(rows=rows, limits=ABOVE))
    assert "ROC curve" not in told
    assert "Calibration" in told
    assert "its value is undefined: no row is positive" in told


def test_classes_have_their_counts_and_ratios(read):
    told = read("multiclass").text
    assert "20 classes, the commonest first." in told
    assert "class 0103840.8060.9880.888" in told
    assert "the 12 commonest of 20, and all others together" in told
    assert "Commonest mistakes" in told


def test_numbers_are_drawn_as_pairs_and_errors(read):
    told = read("regression").text
    assert "Predicted against actual" in told
    assert "82.2% of 500 records were predicted too low, 17.8% right or too high." in told
    assert "beyond the axes" in told


def test_the_worst_segments_stand_beside_the_whole(read):
    told = read("segments").text
    assert "By 0 of the input: 41 segments, worst recall first. The worst 20 are shown, 41 are in report.json." in told
    table = told[told.index("worst recall first") : told.index("Every line")]
    assert table.count("country ") == 20
    assert re.search(r"country \d+\d\d0\.\d{4}0\.\d{4}0\.\d{4}violated recall", table)
    assert "without a segment400" in table
    assert "all records4,280" in table


def test_a_page_of_a_monitor_without_segments_has_none(read):
    assert "Segments" not in read("binary").text


def test_a_column_that_no_record_has_is_told():
    states = segment_states(lambda: [binary_rows()], BINARY)
    made = page(rows=binary_rows(), segments={"ground_truth_attribute": "eventMetadata.x"})
    found = judge_segments(states, BINARY, made.verdict, None)
    told = text(replace(made, segments=found))
    assert "By eventMetadata.x of the label: 0 segments" in told
    assert "No record has a value there: see whether the attribute names its place." in told


def test_how_far_the_auc_of_binned_segments_may_be_off_is_told():
    rows = binary_rows(4_000).in_segments(["a", "b"] * 2_000)
    made = page(rows=rows, segments={"input_attribute": 0})

    def told(rows: MergedRows) -> str:
        found = judge_segments(segment_states(lambda: [rows], BINARY), BINARY, made.verdict, None)
        return text(replace(made, segments=found))

    assert re.search(r"AUC is of binned scores: off by \d\.\de-\d\d at most\.", told(rows.binned()))
    assert "binned" not in told(rows)


def test_rejected_lines_are_counted_explained_and_shown(read):
    told = read("binary").text
    assert "Capturesinvalid_json1the line is not one JSON object in UTF-8" in told
    assert "Labelsforeign_label281" in told
    assert "'maybe'" in told


def test_without_rejected_lines_there_is_no_table_of_them(read):
    assert "Rejected, by reason" not in read("regression").text


def test_provenance_names_definition_inputs_and_settings():
    made = page(rows=binary_rows(), limits=ABOVE, min_records=10, endpoint={"probability_threshold_attribute": 0.25})
    told = text(made)
    for said in (
        made.monitor.definition_hash(), "c" * 32, "d" * 32, "s3://bucket/labels", "positive 1, negative 0; threshold 0.25",
        "at least 10 records", "s3://bucket/reports/churn/churn-quality/2026/11/02/12",
    ):  # fmt: skip
        assert said in told


def test_scripts_that_ran_are_part_of_the_provenance():
    script = {"uri": "s3://bucket/preprocess.py", "sha256": "e" * 64}
    told = text(replace(page(), scripts={"record_preprocessor": script}))
    assert f"Record preprocessors3://bucket/preprocess.py; SHA-256 {'e' * 64}" in told


CODES: dict[str, tuple[int, int, int, dict[str, Any]]] = {
    "no_captures": (0, 0, 0, {}),
    "no_labels": (9, 0, 0, {}),
    "no_matches": (9, 9, 0, {}),
    "too_few_records": (9, 9, 9, {"min_records": 10}),
    "low_coverage": (9, 9, 5, {"min_label_coverage": 0.9}),
    "no_constraints": (9, 9, 9, {}),
}


@pytest.mark.parametrize("code", sorted(NEXT_STEPS))
def test_a_run_that_was_not_judged_says_why_and_what_to_do(code):
    if code == "nothing_judged":
        rows = MergedRows.of_values(BINARY, np.zeros(2, np.uint8), [0, 0], [0, 0], None)
        made = page(rows=rows, limits={"recall": Constraint(0.5, "LessThanThreshold")})
    else:
        captures, labels, matched, settings = CODES[code]
        counts = MergeCounts(
            CaptureCounts(files=1, lines=captures, used=captures),
            GroundTruthCounts(files=1, lines=labels, used=labels),
            JoinCounts(
                matched=matched,
                captures_without_label=captures - matched,
                label_coverage=matched / captures if captures else None,
            ),
        )
        made = page(rows=binary_rows(matched) if matched else None, counts=counts, **settings)
    assert made.verdict.code == code
    told = text(made)
    assert "Not judged:" in told
    assert NEXT_STEPS[code] in told
    assert "Beyond the limit–nothing was judged" in told
    assert "Within its constraints" not in told


def test_metrics_of_a_run_that_was_not_judged_are_shown_and_not_passed(read):
    told = read("few").text
    assert "recall0.7059 ± 0.0110≥ 0.90001.0000not judged" in told
    assert "violated" not in told
    assert "within" not in told


def test_only_documents_that_are_there_are_linked(pages):
    for kind, path in pages.items():
        links = [link for link in Document(path.read_bytes()).values("href") if not link.startswith(("#", "data:"))]
        assert "report.json" in links, kind
        assert [link for link in links if not (path.parent / link).exists()] == [], kind


# --- on SageMaker's compute


def test_what_sagemakers_merger_does_not_count_is_not_shown_as_a_number(read):
    told = read("of_jobs").text
    assert "Worse than its constraints in 2 of 3 metrics" in told
    assert "Records judged280predictions with their label" in told
    assert "Label coverage–not counted, why" in told
    assert "Rejected lines–not counted, why" in told
    assert "SageMaker's merger joined captures and labels, and it counts nothing." in told
    assert "the end of the last hour that SageMaker's merger reads" in told
    assert "rejected.jsonl" not in told


def test_without_rows_of_ours_the_matrix_is_all_that_is_drawn(read):
    ids = read("of_jobs").values("id")
    assert "confusion" in ids
    assert not {"scores", "roc", "precision-recall", "calibration"} & set(ids)


def test_rows_that_were_merged_here_are_counted_and_drawn_as_ever(read):
    ours, theirs = read("binary"), read("of_the_analyzer")
    assert set(theirs.values("id")) == set(ours.values("id"))
    assert "Every line, accounted for" in theirs.text
    shown = theirs.text.replace("of_the_analyzer", "binary")  # the folder
    assert shown.partition("What it was made from")[0] == ours.text.partition("What it was made from")[0]


def test_jobs_are_part_of_the_provenance(read):
    judged = f"Analyzed bySageMaker's analyzer, job {ANALYSIS_JOB}, which says {EXIT_MESSAGE}"
    for kind, merged in (
        ("of_jobs", f"Merged bySageMaker's merger, job {MERGE_JOB}"),
        ("of_the_analyzer", "Merged bythis package, in the worker"),
    ):
        assert f"{merged}{judged}" in read(kind).text
    assert "Merged bynobodyAnalyzed bynobody" in read("of_no_job").text
    assert "Merged by" not in read("binary").text


def test_a_side_without_objects_is_told_without_numbers_that_nobody_counted(read):
    told = read("of_no_job").text
    assert "Not judged: no labels." in told
    assert "No job was started, since one side holds no object in the hours of the window." in told


@pytest.mark.parametrize(
    ("matrix", "drawn"),
    [
        ({"0.0": {"0.0": 4, "1.0": 1}, "1.0": {"1.0": 3}}, True),
        ({"no": {"no": 4, "yes": 1}, "yes": {"yes": 3}}, False),
        (None, False),
    ],
    ids=["as SageMaker spells numbers", "other classes", "none"],
)
def test_a_matrix_of_sagemakers_is_drawn_where_it_is_of_the_monitors_classes(matrix, drawn):
    made = page(rows=binary_rows(), limits=ABOVE)
    assert made.statistics is not None
    told = text(replace(made, statistics=replace(made.statistics, confusion_matrix=matrix, curves={}), figures=None))
    assert ("0 of 3 actual 1 were missed; 1 of 5 actual 0 raised a false alarm." in told) == drawn


def test_the_page_of_jobs_is_written_before_their_report_and_goes_before_the_next_analysis(tmp_path):
    world = made("of_the_analyzer", tmp_path / "world")
    order: list[str] = []

    class Noting(Storage):
        def write(self, uri: str, data: bytes) -> None:
            order.append(uri.removeprefix(world.prefix() + "/"))
            super().write(uri, data)

    handover = run.merge(world.monitor(), world.window(), storage=world.storage)
    told: dict[str, Any] = {"no_data": "Job inputs had no data", "job": ANALYSIS_JOB}
    run_on_sagemaker.report_of_jobs(world.monitor(), world.window(), handover=handover, storage=Noting(), **told)
    assert order == ["report.html", "report.json"]
    run_on_sagemaker.make_way(world.monitor(), world.window(), ANALYSIS_NOTE, 2, storage=world.storage)
    assert not {"report.html", "report.json"} & set(world.written())


# --- one file


@pytest.mark.parametrize("kind", KINDS)
def test_the_page_asks_for_nothing(read, kind):
    document = read(kind)
    assert set(document.values("href")) - {"data:,", "#lines", "#disc", "#cross"} <= {
        "report.json", "statistics.json", "constraint_violations.json", "rejected.jsonl",
    }  # fmt: skip
    assert document.values("src", "srcset", "action", "data", "xlink:href", "background", "poster") == []
    assert "url(" not in "".join(data for tag, data in document.content if tag == "style")


@pytest.mark.parametrize("kind", KINDS)
def test_its_own_policy_forbids_scripts_and_every_style_but_its_own(read, kind):
    document = read(kind)
    [policy] = [attrs["content"] for tag, attrs in document.elements if attrs.get("http-equiv") == "Content-Security-Policy"]  # fmt: skip
    [style] = [data for tag, data in document.content if tag == "style"]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policy == (
        f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; form-action 'none'"
    )
    assert document.values("style") == []


@pytest.mark.parametrize("kind", KINDS)
def test_names_are_unique_and_every_reference_leads_somewhere(read, kind):
    document = read(kind)
    ids = document.values("id")
    assert len(ids) == len(set(ids))
    pointed = [name for value in document.values("aria-labelledby", "aria-describedby") for name in value.split()]
    assert set(pointed) | {link[1:] for link in document.values("href") if link.startswith("#")} <= set(ids)


@pytest.mark.parametrize("kind", KINDS)
def test_headings_never_skip_a_level(read, kind):
    levels = [int(tag[1]) for tag, _ in read(kind).elements if re.fullmatch(r"h\d", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))


@pytest.mark.parametrize("kind", KINDS)
def test_pictures_have_a_name_and_a_text_or_are_hidden_from_screen_readers(read, kind):
    inside = 0
    for tag, attrs in read(kind).elements:
        if tag == "svg" and "overflow" not in attrs:  # those place a symbol within another picture
            inside += 1
            assert attrs.get("aria-hidden") == "true" or {"role", "aria-labelledby", "aria-describedby"} <= set(attrs)
    assert inside > 0


@pytest.mark.parametrize("kind", KINDS)
def test_tables_have_a_caption_and_their_heads_a_scope(read, kind):
    document = read(kind)
    tags = [tag for tag, _ in document.elements]
    assert tags.count("table") == tags.count("caption")
    assert all("scope" in attrs for tag, attrs in document.elements if tag == "th")


# --- the same bytes


@pytest.mark.parametrize("kind", ["binary", "multiclass", "regression"])
@pytest.mark.parametrize(("engine", "workers"), [("reference", None), ("local", 1), ("local", 2)])
def test_the_same_inputs_give_the_same_bytes_on_every_engine_and_any_number_of_workers(tmp_path, kind, engine, workers):
    folder = tmp_path / "world"  # the same place, since the page says where it lies
    first = made(kind, folder).read("report.html")
    again = made(kind, folder, engine=engine, workers=workers).read("report.html")
    assert again == first


def test_a_page_depends_on_no_clock(monkeypatch):
    made = page(rows=binary_rows(), limits=ABOVE)
    first = report_page(made)
    monkeypatch.setattr("time.time", lambda: 0.0)
    assert report_page(made) == first
    year = str(datetime.now(UTC).year)
    assert year == "2026" or year not in first.decode()


# --- data stays data


@pytest.mark.parametrize("kind", ["hostile", "hostile_settings"])
def test_hostile_text_stays_text(read, kind):
    document = read(kind)
    assert "<script>window.hit=1</script>" in document.text
    assert not {"script", "img", "iframe", "object", "embed", "form", "input"} & {tag for tag, _ in document.elements}
    assert not [name for _, attrs in document.elements for name in attrs if name.startswith("on")]


def test_names_of_objects_and_what_was_seen_stay_text():
    line = RejectedLine(f"s3://bucket/{HOSTILE}", 3, "bad_payload", HOSTILE)
    counts = MergeCounts(
        CaptureCounts(files=1, lines=1, rejected={"bad_payload": 1}, examples=(line,)),
        GroundTruthCounts(rejected={HOSTILE: 1}, examples=(replace(line, reason=HOSTILE),)),
        JoinCounts(rejected={HOSTILE: 2}),
    )
    document = Document(report_page(page(counts=counts)))
    assert document.text.count("<script>window.hit=1</script>") >= 4
    assert not {"script", "img"} & {tag for tag, _ in document.elements}


# --- at most a megabyte


@pytest.mark.parametrize("hostile", [False, True])
def test_thousands_of_classes_with_long_names_fit(hostile):
    rng = np.random.default_rng(0)
    classes = tuple(f"{number:05d}" + ("&" * 3000 if hostile else "") for number in range(5000))
    actual, predicted = rng.integers(0, 5000, (2, 40_000)).astype(np.int32)
    rows = MergedRows(MULTICLASS, np.zeros(40_000, np.uint8), actual, predicted, classes=classes)
    data = report_page(page(MULTICLASS, rows, limits={"accuracy": Constraint(0.5, "LessThanThreshold")}))
    assert len(data) < LIMIT
    assert "The 100 commonest of 5,000 classes" in Document(data).text


def test_many_probabilities_fit():
    assert len(report_page(page(rows=binary_rows(100_000), limits=ABOVE))) < LIMIT


@pytest.mark.parametrize("spread", ["normal", "cauchy", "constant", "huge"])
def test_numbers_of_every_spread_fit_and_are_drawn(spread):
    rng = np.random.default_rng(0)
    actual = {
        "normal": rng.normal(100, 30, 20_000),
        "cauchy": rng.standard_cauchy(20_000),
        "constant": np.full(50, 7.0),
        "huge": rng.normal(0, 1, 300) * 1e307,
    }[spread]
    predicted = actual + rng.normal(0, 1, len(actual)) * (spread != "constant")
    rows = MergedRows(REGRESSION, np.zeros(len(actual), np.uint8), actual, predicted)
    with np.errstate(over="ignore"):
        made = page(REGRESSION, rows, limits={"mae": Constraint(0.5, "GreaterThanThreshold")})
    data = report_page(made)
    assert len(data) < LIMIT
    drawn = data.decode()
    assert "Predicted against actual" in drawn
    assert not re.search(r'="[^"]*\b(?:nan|inf)\b[^"]*"', drawn)


def test_long_texts_are_cut():
    line = RejectedLine(LONG, 1, "bad_payload", LONG)
    counts = MergeCounts(
        CaptureCounts(files=1, lines=10, rejected={"bad_payload": 10}, examples=(line,) * 10),
        GroundTruthCounts(),
        JoinCounts(),
    )
    assert len(report_page(page(counts=counts))) < 50_000


NUMBERS = st.one_of(st.sampled_from((0.0, -0.0, 5e-324, 1e308, -1e308)), st.floats(-1e9, 1e9))
ROWS: dict[str, st.SearchStrategy[tuple[Any, ...]]] = {
    BINARY: st.tuples(st.integers(0, 1), st.integers(0, 1), st.floats(0, 1)),
    MULTICLASS: st.tuples(st.text(max_size=5), st.text(max_size=5)),
    REGRESSION: st.tuples(NUMBERS, NUMBERS),
}
LIMITS = {
    BINARY: ("recall", "LessThanThreshold"),
    MULTICLASS: ("accuracy", "LessThanThreshold"),
    REGRESSION: ("rmse", "GreaterThanThreshold"),
}


@settings(max_examples=60)
@given(st.data(), st.sampled_from(sorted(ROWS)), st.floats(-1e308, 1e308))
def test_any_rows_and_any_limit_make_a_page_of_whole_elements_and_finite_places(data, problem_type, threshold):
    actual, predicted, *probability = map(
        list, zip(*data.draw(st.lists(ROWS[problem_type], min_size=1, max_size=9)), strict=True)
    )
    rows = MergedRows.of_values(
        problem_type, np.zeros(len(actual), np.uint8), actual, predicted, probability[0] if probability else None
    )
    name, operator = LIMITS[problem_type]
    with np.errstate(over="ignore"):
        drawn = report_page(page(problem_type, rows, limits={name: Constraint(threshold, operator)}))
    document = Document(drawn)
    assert "Records" in document.text
    places = document.values("d", "x", "x1", "x2", "y", "y1", "y2", "cx", "cy", "width", "height", "transform")
    assert [place for place in places if re.search("nan|inf", place)] == []


# --- in a run


def test_the_page_is_written_before_the_documents_for_programs(tmp_path):
    world = made("binary", tmp_path / "world")
    order: list[str] = []

    class Noting(Storage):
        def write(self, uri: str, data: bytes) -> None:
            order.append(uri.removeprefix(world.prefix() + "/"))
            super().write(uri, data)

        def write_file(self, uri: str, path: Any) -> None:
            order.append(uri.removeprefix(world.prefix() + "/"))
            super().write_file(uri, path)

    run.run(world.monitor(), world.window(), storage=Noting())
    shown = [name for name in order if not name.startswith("merged/")]
    assert shown == ["rejected.jsonl", "report.html", "statistics.json", "constraint_violations.json", "report.json"]


def test_a_rerun_takes_the_old_page_away_before_it_reads(tmp_path):
    world: World = made("binary", tmp_path / "world")
    run.merge(world.monitor(), world.window(), storage=world.storage)
    assert "report.html" not in world.written()


def test_a_page_says_nothing_of_the_report_that_stood_there_before(tmp_path):
    world = made("binary", tmp_path / "world")
    first = world.read("report.html")
    world.settings["min_records"] = 5
    world.run()
    world.settings["min_records"] = 1
    world.run()
    assert json.loads(world.read("report.json"))["replaces"]
    assert world.read("report.html") == first
