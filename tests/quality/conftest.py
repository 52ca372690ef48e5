"""Real documents of SageMaker, where they stand beside the checkout."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def real() -> Path:
    """The folder of public SageMaker documents, which is no part of the project."""
    folder = Path(__file__).parents[3] / "shared" / "real"
    if not folder.is_dir():
        pytest.skip(f"no real SageMaker documents at {folder}")
    return folder


@pytest.fixture(scope="session")
def churn(real: Path) -> Path:
    """The documents of AWS's churn example."""
    return real / "amazon-sagemaker-examples"
