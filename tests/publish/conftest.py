"""The pages that the tests of this room look at: made once, by real runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.pages import KINDS, made


@pytest.fixture(scope="session")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Where the page of each kind lies, beside the other documents of its run."""
    folder = tmp_path_factory.mktemp("pages")
    return {kind: Path(made(kind, folder / kind).prefix()) / "report.html" for kind in KINDS}
