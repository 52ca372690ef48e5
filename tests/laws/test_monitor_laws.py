"""Laws of monitors: whatever is declared goes to text and back, and refusals are always MonitorError."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_mq_provider.exceptions import MonitorError
from airflow_mq_provider.monitor import ModelQualityMonitor, label_text, payload_path

names = st.from_regex(r"[a-zA-Z0-9](-{0,2}[a-zA-Z0-9]){0,20}", fullmatch=True)
buckets = st.from_regex(r"[a-z0-9][a-z0-9.-]{1,20}[a-z0-9]", fullmatch=True)
path_texts = st.text(st.characters(exclude_categories=["C", "Z"], exclude_characters="/{~:"), min_size=1, max_size=20)
uris = st.builds(lambda bucket, key: f"s3://{bucket}/{key}", buckets, path_texts) | path_texts.map("/".__add__)
uri_fields = uris | st.just("s3://{{ var.value.bucket }}/x/")
labels = st.text(max_size=8).filter(str.strip) | st.integers() | st.booleans() | st.floats()
attributes = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}(\.[a-z]{1,4}|\[[0-9]\]){0,2}|[0-9]{1,3}", fullmatch=True)
ratios = st.floats(0, 1)


def optional(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=fields)


part_options = {
    "features_attribute": attributes,
    "inference_attribute": attributes,
    "exclude_features_attribute": st.text("abc,", min_size=1, max_size=9),
    "start_time_offset": st.sampled_from(["-P8D", "-P1W", "-P1DT12H"]),
    "end_time_offset": st.sampled_from(["-P1D", "-PT0H", "-PT90M", "PT0H"]),
}
endpoints = st.builds(
    lambda needed, more: needed | more,
    st.fixed_dictionaries({"endpoint_name": names, "probability_attribute": attributes}),
    optional(
        variant_name=names,
        data_captured_destination_uri=uri_fields,
        probability_threshold_attribute=ratios,
        **part_options,
    ),
)
batches = st.builds(
    lambda needed, more: needed | more,
    st.fixed_dictionaries(
        {
            "data_captured_destination_uri": uri_fields,
            "dataset_format": st.builds(lambda flag: {"csv": {"header": flag}}, st.booleans())
            | st.builds(lambda flag: {"json": {"line": flag}}, st.booleans()),
            "probability_attribute": attributes,
        }
    ),
    optional(probability_threshold_attribute=ratios, **part_options),
)
sagemaker_settings = optional(
    role_arn=st.just("arn:aws:iam::123456789012:role/monitor"),
    instance_type=st.just("ml.t3.large"),
    instance_count=st.integers(1, 100),
    environment=st.dictionaries(st.from_regex(r"[A-Z_]{1,5}", fullmatch=True), st.text(max_size=9), max_size=3),
    tags=st.dictionaries(st.text("abc", min_size=1, max_size=4), st.text(max_size=4), max_size=3),
    container_entrypoint=st.lists(st.text(min_size=1, max_size=5), min_size=1, max_size=3),
    network_config=st.just({"subnets": ["subnet-1"], "security_group_ids": ["sg-1"]}),
)
declarations = st.builds(
    lambda needed, source, more: needed | source | more,
    st.fixed_dictionaries(
        {
            "name": names,
            "problem_type": st.just("BinaryClassification"),
            "ground_truth_uri": uri_fields,
            "output_uri": uri_fields,
        }
    ),
    endpoints.map(lambda part: {"endpoint_input": part}) | batches.map(lambda part: {"batch_transform_input": part}),
    optional(
        constraints_uri=uris,
        ground_truth_attribute=attributes,
        positive_label=labels,
        negative_label=labels,
        min_records=st.integers(1, 10**6),
        min_label_coverage=ratios,
        max_rejected_ratio=ratios,
        noise_sd=st.floats(0.1, 10),
        segments=st.sampled_from(["input_attribute", "ground_truth_attribute"]).map(lambda name: {name: "a.b"}),
        keep_merged=st.sampled_from(["parquet", "jsonl"]),
        keep_rejected=st.sampled_from(["lines", "references"]),
        ground_truth_max_delay=st.sampled_from(["P7D", "PT12H"]),
        publish_cloudwatch_metrics=st.booleans(),
        sagemaker=sagemaker_settings,
    ),
)


@st.composite
def monitors(draw: st.DrawFn) -> ModelQualityMonitor:
    given = draw(declarations)
    if label_text(given.get("positive_label", "1")) == label_text(given.get("negative_label", "0")):
        given["negative_label"] = label_text(given.get("positive_label", "1")) + "x"
    return ModelQualityMonitor(**given)


@given(monitors())
def test_a_monitor_survives_yaml_and_json(made):
    assert ModelQualityMonitor.from_text(made.to_yaml(), "monitor.yaml") == made
    assert ModelQualityMonitor.from_text(made.to_json(), "monitor.json") == made
    assert ModelQualityMonitor.model_validate(made.model_dump(mode="json")) == made
    assert ModelQualityMonitor.model_validate(made.model_dump(mode="json", exclude_none=True)) == made


@given(monitors())
def test_the_hash_survives_every_text_form(made):
    for text in (made.to_yaml(), made.to_json()):
        assert ModelQualityMonitor.from_text(text, "").definition_hash() == made.definition_hash()


@given(monitors())
def test_json_is_strict(made):
    def refuse(word: str) -> None:
        pytest.fail(f"{word} is no JSON")

    assert json.loads(made.to_json(), parse_constant=refuse)["name"] == made.name


broken = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8) | st.integers(), inner, max_size=3),
    max_leaves=6,
)


@given(declarations, st.sampled_from(sorted(ModelQualityMonitor.model_fields)), broken)
@pytest.mark.filterwarnings("ignore::airflow_mq_provider.window.OffsetWarning")
def test_whatever_stands_in_a_field_makes_a_monitor_or_a_monitor_error(given, field, value):
    with contextlib.suppress(MonitorError):
        made = ModelQualityMonitor(**(given | {field: value}))
        assert isinstance(made, ModelQualityMonitor)


@given(st.text(max_size=60))
def test_whatever_text_a_file_holds_it_is_refused_with_a_monitor_error(text):
    for source in ("monitor.yaml", "monitor.json"):
        with pytest.raises(MonitorError):
            ModelQualityMonitor.from_text(text, source)


@given(labels | st.text(max_size=12))
def test_the_form_of_a_label_is_its_own_form(value):
    assert label_text(label_text(value)) == label_text(value)


@given(st.integers(-(2**53) + 1, 2**53 - 1))
def test_a_whole_number_is_one_class_in_every_spelling(number):
    spellings = (number, float(number), str(number), f"{number}.0", f" {number}.", f"{number}e0", f"{number:+d}")
    assert {label_text(spelling) for spelling in spellings} == {str(number)}


@given(st.text(max_size=12))
def test_the_path_of_a_name_without_jmespath_signs_finds_the_key_of_that_name(name):
    import jmespath

    try:
        path = payload_path(name)
    except ValueError:
        return
    if name.isdigit() or set(name) & set("$.[]{}()|&*@\"'`"):
        return
    assert jmespath.search(path, {name.strip(): "found"}) == "found"
