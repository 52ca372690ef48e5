"""Where data lies: S3, files, plain paths, and templates that are filled when a task runs."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_mq_provider.exceptions import MonitorError
from airflow_mq_provider.monitor import ModelQualityMonitor


def monitor(**given: Any) -> ModelQualityMonitor:
    endpoint = {"endpoint_name": "churn", "inference_attribute": "0"}
    endpoint |= {name: given.pop(name) for name in list(given) if name == "data_captured_destination_uri"}
    return ModelQualityMonitor(
        **(
            {
                "name": "churn-monitor",
                "problem_type": "Regression",
                "endpoint_input": endpoint,
                "ground_truth_uri": "s3://bucket/labels",
                "output_uri": "s3://bucket/reports",
            }
            | given
        )
    )


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("s3://bucket/key", "s3://bucket/key"),
        ("s3://bucket", "s3://bucket"),
        ("s3://bucket/", "s3://bucket"),
        ("s3://bucket/a/b//", "s3://bucket/a/b"),
        ("s3://my.bucket-1/a b/ü=1", "s3://my.bucket-1/a b/ü=1"),
        ("file:///data/reports/", "file:///data/reports"),
        ("file:///data/with%20space", "file:///data/with%20space"),
        ("/data/reports", "/data/reports"),
        ("/data/reports//", "/data/reports"),
        ("reports", "reports"),
        ("./reports/", "./reports"),
        ("../reports", "../reports"),
        (".", "."),
        ("/data/a:b", "/data/a:b"),
        ("./a:b", "./a:b"),
        ("/data/50%", "/data/50%"),
    ],
)
def test_a_uri_is_kept_but_for_its_trailing_slashes(written, kept):
    assert monitor(output_uri=written).output_uri == kept
    assert monitor(data_captured_destination_uri=written).input.data_captured_destination_uri == kept


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("", "empty"),
        ("https://bucket.s3.amazonaws.com/key", "s3://"),
        ("gs://bucket/key", "s3://"),
        ("s3a://bucket/key", "s3://"),
        ("S3://bucket/key", "s3://"),
        ("s3:/bucket/key", "s3://"),
        ("s3://", "bucket"),
        ("s3:///key", "bucket"),
        ("s3://Bucket/key", "bucket"),
        ("s3://b/key", "bucket"),
        ("s3://my_bucket/key", "bucket"),
        ("s3://bucket-/key", "bucket"),
        ("file://host/data", "file:///"),
        ("file:data", "file:///"),
        ("file:///", "root"),
        ("/", "root"),
        ("//", "root"),
        ("a:b", "./a:b"),
        ("~/reports", "~"),
        (" s3://bucket/key", "space"),
        ("s3://bucket/key\n", "space"),
        ("s3://bucket/a\tb", "control"),
        ("/data/\x00", "control"),
        ("s3://bucket/" + "x" * 512, "512"),
        (5, "string"),
        (None, "string"),
    ],
)
def test_anything_else_is_refused_with_the_reason(written, said):
    with pytest.raises(MonitorError) as refusal:
        monitor(output_uri=written)
    (fault,) = refusal.value.faults
    assert fault.startswith("output_uri: ")
    assert said in fault


def test_the_limits_of_length_are_those_of_sagemaker_and_only_for_s3():
    longest = "s3://bucket/" + "x" * 500
    assert len(longest) == 512
    assert monitor(ground_truth_uri=longest).ground_truth_uri == longest
    assert monitor(output_uri="/" + "x" * 600).output_uri == "/" + "x" * 600
    assert monitor(constraints_uri="s3://bucket/" + "x" * 900).constraints_uri is not None
    with pytest.raises(MonitorError, match="1024"):
        monitor(constraints_uri="s3://bucket/" + "x" * 1024)


def test_constraints_are_an_object_and_not_a_bucket():
    with pytest.raises(MonitorError, match="constraints_uri"):
        monitor(constraints_uri="s3://bucket")


# --- templates


TEMPLATE = "s3://{{ var.value.bucket }}/reports/"


def test_a_template_is_kept_as_it_is_until_it_is_rendered():
    made = monitor(output_uri=TEMPLATE, ground_truth_uri="{% if x %}gs://y{% endif %}")
    assert made.output_uri == TEMPLATE
    assert made.has_templates


def test_a_monitor_without_template_has_none():
    assert not monitor(output_uri="/data/{x}").has_templates


@pytest.mark.parametrize(
    "given",
    [
        {"output_uri": TEMPLATE},
        {"ground_truth_uri": TEMPLATE},
        {"constraints_uri": TEMPLATE},
        {"data_captured_destination_uri": TEMPLATE},
        {"sagemaker": {"record_preprocessor_source_uri": TEMPLATE}},
        {"sagemaker": {"post_analytics_processor_source_uri": TEMPLATE}},
    ],
)
def test_every_uri_may_be_a_template(given):
    made = monitor(**given)
    assert made.has_templates
    rendered = made.render(lambda text: text.replace("{{ var.value.bucket }}", "bucket"))
    assert not rendered.has_templates
    assert "s3://bucket/reports" in str(rendered.model_dump())


def test_rendering_gives_a_new_monitor_and_asks_for_templates_only():
    asked = []

    def render(text: str) -> str:
        asked.append(text)
        return "s3://bucket/rendered/"

    made = monitor(output_uri=TEMPLATE)
    rendered = made.render(render)
    assert asked == [TEMPLATE]
    assert rendered.output_uri == "s3://bucket/rendered"
    assert rendered.ground_truth_uri == made.ground_truth_uri
    assert made.output_uri == TEMPLATE


def test_what_was_rendered_is_validated():
    with pytest.raises(MonitorError) as refusal:
        monitor(output_uri=TEMPLATE, ground_truth_uri=TEMPLATE).render(lambda text: "gs://bucket")
    assert [fault.partition(":")[0] for fault in refusal.value.faults] == ["ground_truth_uri", "output_uri"]
    assert "churn-monitor" in refusal.value.where


def test_what_was_rendered_to_a_template_again_is_refused():
    with pytest.raises(MonitorError, match=r"output_uri.*template"):
        monitor(output_uri=TEMPLATE).render(lambda text: text)


def test_a_template_in_another_field_is_just_text():
    with pytest.raises(MonitorError, match="name"):
        monitor(name="{{ ds }}")


def test_a_rendered_monitor_of_a_batch_transform_keeps_its_format():
    made = ModelQualityMonitor(
        name="b",
        problem_type="Regression",
        batch_transform_input={  # type: ignore[arg-type]
            "data_captured_destination_uri": TEMPLATE,
            "dataset_format": {"json": {"line": True}},
            "inference_attribute": "x",
        },
        ground_truth_uri="s3://bucket/labels",
        output_uri="s3://bucket/reports",
    )
    rendered = made.render(lambda text: "s3://bucket/capture")
    assert rendered.capture_root == "s3://bucket/capture/output"
    assert rendered.batch_transform_input is not None
    assert made.batch_transform_input is not None
    assert rendered.batch_transform_input.dataset_format == made.batch_transform_input.dataset_format
