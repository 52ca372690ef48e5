"""What stands in for clusters: a job is run for real in a process of its own, which has no Airflow."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

REGION = "eu-central-1"

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
