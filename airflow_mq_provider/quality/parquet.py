"""Parquet, by pyarrow, which only those who have such files need."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

from airflow_mq_provider.exceptions import ModelQualityError

_ROWS = 10_000


def pyarrow_modules(what: str) -> tuple[Any, Any]:
    """The modules ``pyarrow`` and ``pyarrow.parquet``.

    Raises:
        ModelQualityError: pyarrow is not installed; `what` needs it.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise ModelQualityError(
            expected=f"pyarrow, which {what} needs",
            came=str(error),
            where="the Python that runs this",
            next_step='pip install "airflow-mq-provider[parquet]", or take CSV or JSON Lines',
        ) from error
    return pa, pq


def rows(data: bytes) -> Iterator[list[dict[str, Any]]]:
    """The rows of a Parquet file, some thousands at a time.

    Raises:
        ValueError: it is none, or it is damaged.
    """
    pa, pq = pyarrow_modules("Parquet")
    try:
        for batch in pq.ParquetFile(io.BytesIO(data)).iter_batches(_ROWS):
            yield batch.to_pylist()
    except MemoryError:  # pyarrow's own too
        raise
    except (pa.ArrowException, OSError) as error:
        raise ValueError(str(error)) from error
