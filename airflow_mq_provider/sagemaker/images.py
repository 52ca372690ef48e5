"""Which image runs in which region: the registry accounts of Model Monitor, as the SageMaker SDK lists them.

The accounts are data, in ``model_monitor_accounts.json`` with their source. Both images of a region stand in one
registry, without a tag.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from fnmatch import fnmatch
from functools import cache
from importlib.resources import files
from typing import Any

from airflow_mq_provider.exceptions import RequestError

_ECR = re.compile(r"\d{12}\.dkr\.ecr\.(?P<region>[a-z0-9-]+)\.[a-z0-9.]+/.+", re.ASCII)


def analyzer_image(region: str) -> str:
    """The URI of the image that analyzes, without a tag.

    Raises:
        RequestError: the region has no account in the table.
    """
    return _image("analyzer", region)


def merger_image(region: str | None, analyzer: str | None = None) -> str:
    """The URI of the image that merges the ground truth, without a tag.

    It stands in the registry of SageMaker's analyzer, so that ``analyzer``, where given and SageMaker's own, tells it in
    regions that the table lacks. Of any other image only its region counts, where none is given.

    Raises:
        RequestError: the region has no account in the table, or no region is known.
    """
    names = _table()["repositories"]
    registry, _, repository = (analyzer or "").partition("/")
    if repository.partition(":")[0] == names["analyzer"]:
        return f"{registry}/{names['merger']}"
    region = region or (region_of(analyzer) if analyzer else None)
    if region is None:
        raise RequestError(
            ["region: is needed to find the image of the ground-truth merger, came none"],
            where="sagemaker.image_uri",
            next_step="give the region in which the job is to run",
        )
    return _image("merger", region)


def region_of(image_uri: str) -> str | None:
    """The region that the URI of an image in ECR names; None for any other."""
    found = _ECR.fullmatch(image_uri)
    return found["region"] if found else None


def regions() -> tuple[str, ...]:
    """The regions of the table, in order."""
    return tuple(_table()["registries"])


def _image(kind: str, region: str) -> str:
    table = _table()
    account = table["registries"].get(region)
    if account is None:
        raise RequestError(
            [f"sagemaker.image_uri: is needed, as no account of Model Monitor is known for the region {region!r}"],
            where=f"the {len(regions())} regions that the SageMaker SDK lists",
            next_step="write there the URI of the analyzer's image in that region, as AWS tells it "
            f"(ACCOUNT.dkr.ecr.{region}.amazonaws.com/{table['repositories']['analyzer']}), or name another region",
        )
    template = table["uri_template"]
    suffixes = template["dns_suffix"]
    suffix = next((suffixes[pattern] for pattern in suffixes if fnmatch(region, pattern)), suffixes["default"])
    uri: str = template["default"].format(
        account=account, region=region, dns_suffix=suffix, repository=table["repositories"][kind]
    )
    return uri


@cache
def _table() -> Mapping[str, Any]:
    table: Mapping[str, Any] = json.loads(files(__package__).joinpath("model_monitor_accounts.json").read_bytes())
    return table
