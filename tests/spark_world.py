"""What stands in for clusters: EMR Serverless and Glue as far as moto lacks them, each job run for real in a process of its own.

A job gets the file and the arguments that were asked for, S3 on 127.0.0.1, an identity of its own, and no Airflow.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

ACCOUNT, REGION = "123456789012", "eu-central-1"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/merging"

WITHOUT_AIRFLOW = """\
import runpy, sys
sys.modules["airflow"] = None
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def run_entry(
    entry: str | Path, arguments: Sequence[str], *, s3_endpoint: str | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a script as a cluster runs it: without Airflow, and with nothing of this process's environment but the path."""
    environment = {
        "PATH": os.environ["PATH"],
        "AWS_ACCESS_KEY_ID": "of-the-job",
        "AWS_SECRET_ACCESS_KEY": "of-the-job",
        "AWS_DEFAULT_REGION": REGION,
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    if s3_endpoint is not None:
        environment["AWS_ENDPOINT_URL_S3"] = s3_endpoint
    command = [sys.executable, "-W", "ignore", "-c", WITHOUT_AIRFLOW, str(entry), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@dataclass
class Clusters:
    """EMR Serverless and Glue of one account.

    Attributes:
        s3_endpoint: what jobs reach.
        s3_client: by which the service fetches the file that a job runs.
        folder: where it puts that.
        hanging: whether jobs that are started now stay as they are and do nothing.
        started: the command of each job that was started, file first.
        said: what each of them printed.
        requests: what was asked, as (operation, parameters).
    """

    s3_endpoint: str
    s3_client: Any
    folder: Path
    hanging: bool = False
    started: list[list[str]] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    requests: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def work(self, entry_uri: str, arguments: Sequence[str]) -> bool:
        """Fetch the file and run it; whether it ended well."""
        bucket, _, key = entry_uri.removeprefix("s3://").partition("/")
        entry = self.folder / Path(key).name
        entry.write_bytes(self.s3_client.get_object(Bucket=bucket, Key=key)["Body"].read())
        self.started.append([entry_uri, *arguments])
        done = run_entry(entry, arguments, s3_endpoint=self.s3_endpoint)
        self.said.append(done.stdout + done.stderr)
        return done.returncode == 0

    def asked(self, operation: str) -> list[dict[str, Any]]:
        """The requests of an operation, in order."""
        return [given for name, given in self.requests if name == operation]


def install(monkeypatch: pytest.MonkeyPatch, clusters: Clusters) -> None:
    """Have moto's servers of this process do what is asked of EMR Serverless and Glue; an older moto skips the test."""
    if tuple(map(int, version("moto").split(".")[:2])) < (5, 2):
        pytest.skip("the stand-ins of EMR Serverless and Glue answer through moto 5.2 or newer")
    from moto.core.responses import ActionResult
    from moto.emrserverless.models import EMRServerlessBackend
    from moto.glue.models import FakeJob
    from moto.glue.responses import GlueResponse

    start_on_emr, start_on_glue = EMRServerlessBackend.start_job_run, FakeJob.start_job_run
    listed_on_emr = EMRServerlessBackend.list_job_runs

    def emr(backend: Any, *given: Any, **named: Any) -> Any:
        run = start_on_emr(backend, *given, **named)
        run.state, run.state_details, run.created_by = "RUNNING", "", ROLE
        if not clusters.hanging:
            submit: dict[str, Any] = named["job_driver"]["sparkSubmit"]
            shlex.split(submit.get("sparkSubmitParameters", ""))
            done = clusters.work(submit["entryPoint"], submit["entryPointArguments"])
            run.state = "SUCCESS" if done else "FAILED"
        return run

    def glue(job: Any, *given: Any, **named: Any) -> Any:
        id = start_on_glue(job, *given, **named)
        [run] = [run for run in job.job_runs if run.job_run_id == id]
        run._transitions, run._status = [], "RUNNING"
        if not clusters.hanging:
            # Glue has arguments of its own, and gives them all to the script
            all_of_them = {"--JOB_NAME": job.name, "--JOB_RUN_ID": id, **run.arguments}
            flat = [part for pair in all_of_them.items() for part in pair]
            run._status = "SUCCEEDED" if clusters.work(job.command["ScriptLocation"], flat) else "FAILED"
        return id

    def list_on_emr(backend: Any, application_id: str, *given: Any, **named: Any) -> Any:
        backend.job_runs.setdefault(backend.get_application(application_id).id, [])
        return listed_on_emr(backend, application_id, *given, **named)

    monkeypatch.setattr(EMRServerlessBackend, "start_job_run", emr)
    monkeypatch.setattr(EMRServerlessBackend, "list_job_runs", list_on_emr)

    def stop_on_glue(response: Any) -> Any:
        name, ids = response._get_param("JobName"), response._get_param("JobRunIds")
        for run in response.glue_backend.get_job(name).job_runs:
            if run.job_run_id in ids:
                run._status = "STOPPED"
        return ActionResult({"SuccessfulSubmissions": [{"JobName": name, "JobRunId": id} for id in ids], "Errors": []})

    monkeypatch.setattr(FakeJob, "start_job_run", glue)
    monkeypatch.setattr(GlueResponse, "batch_stop_job_run", stop_on_glue, raising=False)


def limits(value: Any, shape: Any, where: str = "") -> Iterator[str]:
    """What AWS would refuse of a request beside its types: lengths, patterns and enums of botocore's service model."""
    import re

    kind = shape.type_name
    if kind == "structure":
        for name, item in value.items():
            yield from limits(item, shape.members[name], f"{where}.{name}")
    elif kind == "list":
        for item in value:
            yield from limits(item, shape.member, where)
    elif kind == "map":
        for name, item in value.items():
            yield from limits(name, shape.key, f"{where}, a key")
            yield from limits(item, shape.value, f"{where}.{name}")
    size = value if kind in ("integer", "long") else len(value) if kind in ("string", "list", "map") else None
    told = shape.metadata
    if size is not None and not told.get("min", size) <= size <= told.get("max", size):
        yield f"{where}: {size} is not from {told.get('min')} to {told.get('max')}"
    if kind == "string" and shape.enum and value not in shape.enum:
        yield f"{where}: {value!r}"
    # what lies beyond 16 bits is written in halves, which Python's patterns do not know
    pattern = told.get("pattern", ".*").replace(r"\uD800\uDC00-\uDBFF\uDFFF", "\U00010000-\U0010ffff")
    if kind == "string" and not re.fullmatch(pattern, value, re.DOTALL):
        yield f"{where}: {value!r} does not match {pattern}"
