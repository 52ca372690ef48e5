"""Which image runs where."""

from __future__ import annotations

import pytest

from airflow_mq_provider.exceptions import RequestError
from airflow_mq_provider.sagemaker.images import analyzer_image, merger_image, region_of, regions


def test_images_of_real_jobs_are_found_by_their_region():
    assert analyzer_image("us-east-2") == (
        "777275614652.dkr.ecr.us-east-2.amazonaws.com/sagemaker-model-monitor-analyzer"
    )
    assert merger_image("us-west-2") == (
        "159807026194.dkr.ecr.us-west-2.amazonaws.com/sagemaker-model-monitor-groundtruth-merger"
    )


@pytest.mark.parametrize(
    ("region", "suffix"),
    [("cn-north-1", "amazonaws.com.cn"), ("us-isof-south-1", "csp.hci.ic.gov"), ("eu-west-3", "amazonaws.com")],
)
def test_each_partition_has_its_own_suffix(region, suffix):
    assert analyzer_image(region).partition("/")[0].endswith(f".ecr.{region}.{suffix}")


def test_the_region_of_every_image_is_told_by_its_uri():
    assert len(regions()) == 30
    for region in regions():
        assert region_of(analyzer_image(region)) == region


@pytest.mark.parametrize("uri", ["me/analyzer:1", "12.dkr.ecr.eu-west-1.amazonaws.com/x", ""])
def test_an_image_elsewhere_has_no_region(uri):
    assert region_of(uri) is None


@pytest.mark.parametrize("region", ["us-gov-west-1", "mx-central-1", "", "eu-west-9"])
def test_an_unknown_region_is_named_with_what_to_give_instead(region):
    with pytest.raises(RequestError, match=r"sagemaker\.image_uri: is needed") as refusal:
        analyzer_image(region)
    assert repr(region) in refusal.value.came
    assert "sagemaker-model-monitor-analyzer" in refusal.value.next_step


def test_the_merger_stands_beside_a_declared_analyzer_where_the_table_knows_no_region():
    declared = "123456789012.dkr.ecr.us-gov-west-1.amazonaws.com/sagemaker-model-monitor-analyzer"
    assert merger_image(None, declared) == (
        "123456789012.dkr.ecr.us-gov-west-1.amazonaws.com/sagemaker-model-monitor-groundtruth-merger"
    )


def test_an_analyzer_of_ones_own_tells_its_region_only():
    own = "123456789012.dkr.ecr.us-east-2.amazonaws.com/mine:1"
    assert merger_image(None, own) == merger_image("us-east-2")
    assert merger_image("eu-west-1", own) == merger_image("eu-west-1")


def test_without_any_region_there_is_no_merger():
    with pytest.raises(RequestError, match="region: is needed"):
        merger_image(None, "me/analyzer")
