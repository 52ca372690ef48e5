"""Many triggers in one event loop, as in a triggerer: what they take. `at_scale` starts this.

    python benchmarks/at_scale_triggers.py capture|labels ENDPOINT TRIGGERS FIRST_HOUR SHARED

All look ``LOOKS`` times, then wait. With SHARED 1 they wait for the labels of one model, else each for those of its own.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
import urllib.request
from datetime import UTC, datetime
from typing import Any

from measure import rollup

LOOKS = 3
INTERVAL = 20.0


async def main(kind: str, endpoint: str, count: int, first_hour: str, shared: bool) -> dict[str, Any]:
    """Start all triggers, and look at this process before, while they wait, and after."""
    from airflow_mq_provider.triggers.model_quality import CaptureTrigger, GroundTruthTrigger, labels_listed

    connection = {"conn_type": "aws", "extra": {"endpoint_url": endpoint, "region_name": "eu-central-1"}}
    os.environ["AIRFLOW_CONN_AWS_DEFAULT"] = json.dumps(connection)
    looked = 0

    def make(number: int) -> Any:
        root = "s3://bucket/labels" if shared else f"s3://bucket/{kind}-{number}"
        every: dict[str, Any] = {"root": root, "deadline": "2099-01-01T00:00:00Z", "poll_interval": INTERVAL}
        if kind == "capture":
            return CaptureTrigger(last_hour=first_hour, **every)
        return GroundTruthTrigger(first_hour=first_hour, counted=counted, **every)

    counted = ""
    if kind == "labels":  # what is there has been counted, so that nobody is woken
        probe = make(0)
        storage = await asyncio.to_thread(probe.connect)
        counted = await asyncio.to_thread(labels_listed, storage, probe.root, first_hour, datetime.now(UTC))

    def counts(cls: Any) -> None:
        look = cls.look

        async def counting(self: Any, *arguments: Any) -> Any:
            nonlocal looked
            found = await look(self, *arguments)
            looked += 1
            return found

        cls.look = counting

    counts(CaptureTrigger if kind == "capture" else GroundTruthTrigger)
    events: list[Any] = []

    async def wait(trigger: Any) -> None:
        events.append((await anext(aiter(trigger.run()))).payload)

    requests(endpoint)
    before, started = memory(), time.process_time()
    tasks = [asyncio.ensure_future(wait(make(number))) for number in range(count)]
    while looked < LOOKS * count and not events:
        await asyncio.sleep(0.1)
    took, after, asked = time.process_time() - started, memory(), requests(endpoint)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    if events:
        raise SystemExit(f"a trigger fired: {events[0]}")
    return {
        "triggers": count,
        "looks": looked,
        "requests": sum(asked.values()),
        "requests_a_look": round(sum(asked.values()) / looked, 3),
        "cpu_ms_a_look": round(1000 * took / looked, 3),
        "memory_mb": round((after - before) / 1e6, 1),
        "memory_kb_a_trigger": round((after - before) / 1e3 / count, 1),
    }


def memory() -> int:
    """Bytes of this process that are its own."""
    return rollup(os.getpid())["Pss_Anon"]


def requests(endpoint: str) -> dict[str, int]:
    """What the stand-in was asked for since it was asked last."""
    with urllib.request.urlopen(f"{endpoint}/-/requests") as answer:  # noqa: S310 - the loopback interface
        found: dict[str, int] = json.loads(answer.read())
    return found


if __name__ == "__main__":
    if len(sys.argv) != 6:
        sys.exit("usage: python benchmarks/at_scale_triggers.py capture|labels ENDPOINT TRIGGERS FIRST_HOUR SHARED")
    kind, endpoint, count, first_hour, shared = sys.argv[1:]
    print(json.dumps(asyncio.run(main(kind, endpoint, int(count), first_hour, shared == "1"))))
