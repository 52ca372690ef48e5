"""A small world to run a monitor in: captures and labels as SageMaker lays them, on the local disk and on S3."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from airflow_mq_provider import run
from airflow_mq_provider.engines.task import LoadedHours
from airflow_mq_provider.monitor import ModelQualityMonitor
from airflow_mq_provider.storage import Storage, join
from airflow_mq_provider.window import AsOf, Window, analysis_window, hour_folder

T = datetime(2026, 11, 2, 12, tzinfo=UTC)


def capture_line(
    id: str,
    data: str,
    *,
    time: datetime | str = T - timedelta(minutes=30),
    encoding: str = "CSV",
    given: str = "1,2",
    given_encoding: str = "CSV",
    **meta: str,
) -> bytes:
    """One captured record as SageMaker writes it; `given` is what the model was asked."""
    when = time if isinstance(time, str) else time.strftime("%Y-%m-%dT%H:%M:%SZ")
    return json.dumps(
        {
            "captureData": {
                "endpointInput": {
                    "observedContentType": "application/json" if given_encoding == "JSON" else "text/csv",
                    "mode": "INPUT",
                    "data": given,
                    "encoding": given_encoding,
                },
                "endpointOutput": {
                    "observedContentType": "application/json" if encoding == "JSON" else "text/csv",
                    "mode": "OUTPUT",
                    "data": data,
                    "encoding": encoding,
                },
            },
            "eventMetadata": {"eventId": id, "inferenceTime": when, **meta},
            "eventVersion": "0",
        }
    ).encode()


def label_line(id: str, data: str, *, encoding: str = "CSV", **meta: object) -> bytes:
    """One ground-truth record."""
    return json.dumps(
        {
            "groundTruthData": {"data": data, "encoding": encoding},
            "eventMetadata": {"eventId": id, **meta},
            "eventVersion": "0",
        }
    ).encode()


@dataclass
class World:
    """Captures and labels under a root, a monitor of them, and one engine to run it."""

    storage: Storage
    root: str
    engine: str
    settings: dict[str, Any] = field(default_factory=dict)
    workers: int | None = None

    def put(self, key: str, data: bytes) -> None:
        self.storage.write(join(self.root, key), data)

    def captures(self, *lines: bytes, hour: datetime = T - timedelta(hours=1), name: str = "a.jsonl") -> None:
        self.put(f"capture/churn/AllTraffic/{hour_folder(hour)}/{name}", b"\n".join(lines) + b"\n")

    def labels(self, *lines: bytes, hour: datetime = T - timedelta(hours=1), name: str = "a.jsonl") -> None:
        self.put(f"labels/{hour_folder(hour)}/{name}", b"\n".join(lines) + b"\n")

    def monitor(self) -> ModelQualityMonitor:
        inputs = {
            "endpoint_name": "churn",
            "data_captured_destination_uri": join(self.root, "capture"),
            "probability_attribute": "0",
        }
        settings: dict[str, Any] = {
            "name": "churn-quality",
            "problem_type": "BinaryClassification",
            "endpoint_input": inputs,
            "ground_truth_uri": join(self.root, "labels"),
            "output_uri": join(self.root, "out"),
            "max_rejected_ratio": 1.0,
        }
        changes = dict(self.settings)
        inputs.update(changes.pop("endpoint", {}))
        if "batch_transform_input" in changes:
            settings.pop("endpoint_input")
        return ModelQualityMonitor(**{**settings, **changes})

    def window(self, at: datetime = T) -> Window:
        source = self.monitor().input
        return analysis_window(
            at,
            source.start_time_offset,
            source.end_time_offset,
            interval_start=at - timedelta(hours=1),
            source="command_line",
        )

    def run(self, as_of: AsOf | None = None, at: datetime = T, loaded: LoadedHours | None = None) -> dict[str, Any]:
        return run.run(
            self.monitor(),
            self.window(at),
            storage=self.storage,
            as_of=as_of,
            engine=self.engine,
            workers=self.workers,
            loaded=loaded,
        )

    def prefix(self, at: datetime = T) -> str:
        return self.monitor().report_prefix(self.window(at))

    def read(self, name: str) -> bytes:
        return self.storage.read(join(self.prefix(), name))

    def written(self) -> dict[str, bytes]:
        """Everything under the report prefix."""
        return {one.key: self.storage.read(one.uri) for one in self.storage.list(self.prefix())}

    def rejected(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.read("rejected.jsonl").splitlines()]

    def merged(self) -> list[dict[str, Any]]:
        return [
            json.loads(line)
            for key, data in self.written().items()
            if key.endswith(".jsonl") and key.startswith("merged/")
            for line in data.splitlines()
        ]


class StoppedError(Exception):
    """The process died here."""


class StoppingStorage(Storage):
    """A storage whose process dies at the n-th change it makes, before making it or right after."""

    def __init__(self, changes: int, after: bool = False) -> None:
        super().__init__()
        self.left, self.after = changes, after

    def _step(self, change: Any) -> None:
        self.left -= 1
        if self.left < 0 and not self.after:
            raise StoppedError
        change()
        if self.left < 0:
            raise StoppedError

    def write(self, uri: str, data: bytes) -> None:
        self._step(lambda: Storage.write(self, uri, data))

    def write_file(self, uri: str, path: str | Path) -> None:
        self._step(lambda: Storage.write_file(self, uri, path))

    def delete(self, uris: Iterable[str]) -> None:
        for uri in uris:
            self._step(lambda uri=uri: Storage.delete(self, [uri]))
