"""Merged rows as one flat CSV: what SageMaker's analyzer is given, and `labelled_rows` reads."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_mq_provider.monitor import EndpointInput, ModelQualityMonitor
from airflow_mq_provider.quality.dataset import labelled_csv, labelled_rows
from airflow_mq_provider.quality.records import Reading, reading
from airflow_mq_provider.quality.states import BINARY, MULTICLASS, REGRESSION, MergedRows


def read(problem_type: Any, **settings: Any) -> Reading:
    source = EndpointInput(endpoint_name="churn", inference_attribute="0", probability_attribute="1")
    return reading(
        ModelQualityMonitor(
            name="churn",
            problem_type=problem_type,
            endpoint_input=source,
            ground_truth_uri="s3://bucket/labels",
            output_uri="s3://bucket/reports",
            **settings,
        )
    )


def rows(problem_type: str, actual: Any, predicted: Any, probability: Any = None) -> MergedRows:
    return MergedRows.of_values(problem_type, np.zeros(len(actual), np.uint8), actual, predicted, probability)


def test_classes_are_texts_and_not_codes() -> None:
    parts = [rows(MULTICLASS, ["b", "a,1"], ["b", "c"]), rows(MULTICLASS, ["z"], ["y"])]
    assert labelled_csv(parts, read(MULTICLASS), prediction=True) == b'label,prediction\nb,b\n"a,1",c\nz,y\n'


def test_binary_classes_have_the_monitors_names() -> None:
    part = rows(BINARY, [1, 0], [0, 0], [0.25, 0.5])
    named = read(BINARY, positive_label="yes", negative_label="no")
    assert labelled_csv([part], named, prediction=True) == b"label,prediction,probability\nyes,no,0.25\nno,no,0.5\n"


def test_a_prediction_that_follows_from_the_probability_is_no_column() -> None:
    part = rows(BINARY, [1], [0], [0.25])
    assert labelled_csv([part], read(BINARY), prediction=False) == b"label,probability\n1,0.25\n"


finite = st.floats(allow_nan=False, allow_infinity=False)
classes = st.text("ab,\"' é\n", min_size=1, max_size=4).filter(lambda text: text.strip() == text)


@pytest.mark.parametrize("problem_type", [BINARY, MULTICLASS, REGRESSION])
@given(data=st.data())
def test_what_is_written_is_read_again(problem_type: str, data: st.DataObject) -> None:
    values = {BINARY: st.integers(0, 1), MULTICLASS: classes, REGRESSION: finite}[problem_type]
    each = data.draw(st.lists(st.tuples(values, values, st.floats(0, 1)), min_size=1))
    actual, predicted, probability = (list(column) for column in zip(*each, strict=True))
    merged = rows(problem_type, actual, predicted, probability if problem_type == BINARY else None)
    cut = data.draw(st.integers(0, len(each)))
    parts = [part for part in (merged.part(0, cut), merged.part(cut, len(each))) if len(part)]
    found = labelled_rows(
        labelled_csv(parts, read(problem_type), prediction=True),
        read(problem_type),
        dataset_format="csv-header",
        where="rows.csv",
    )

    def told(some: MergedRows) -> list[Any]:
        columns = [some.actual.tolist(), some.predicted.tolist()]
        if some.classes:
            columns = [[some.classes[code] for code in column] for column in columns]
        return [*columns, None if some.probability is None else some.probability.tolist()]

    assert told(found) == told(merged)
