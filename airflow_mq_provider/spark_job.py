"""What a cluster runs: the merge of one window, whose hand-over the analysis in Airflow then picks up.

    spark-submit model_quality_merge.py --monitor s3://bucket/churn.yaml
        --window-start 2026-11-10T08:00:00Z --window-end 2026-11-10T09:00:00Z
        --scheduled-time 2026-11-10T09:00:00Z --window-source data_interval
        --labels-as-of 2026-11-10T09:00:00Z --labels-as-of-source schedule

Nothing of Airflow is imported here. S3 is reached over boto3's own chain, by the identity that the cluster gives its jobs,
and no argument is a secret. `arguments_of` writes the arguments, `main` reads them: both stand here, so that they agree.
"""

from __future__ import annotations

import argparse
import json
import logging
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from airflow_mq_provider import __version__
from airflow_mq_provider.exceptions import InputError, ModelQualityError, MonitorError
from airflow_mq_provider.monitor import ModelQualityMonitor
from airflow_mq_provider.report_folder import HANDOVER, MERGED, clear, standing_handover
from airflow_mq_provider.run import constraints_of, merge, storage_for
from airflow_mq_provider.storage import Storage, is_s3, join
from airflow_mq_provider.window import AsOf, Window, format_time, ground_truth_as_of, parse_time

ENGINE = "spark"
ENTRY = Path(__file__).parent / "spark_entry" / "model_quality_merge.py"
"""The file that clusters are given to run."""

REQUIREMENTS = (
    "annotated-types",
    "isodate",
    "jmespath",
    "markupsafe",
    "msgspec",
    "numpy",
    "pandas",
    "pyarrow",
    "pydantic",
    "pydantic-core",
    "python-dateutil",
    "pytz",
    "pyyaml",
    "six",
    "typing-extensions",
    "typing-inspection",
    "tzdata",
    "xxhash",
)
"""What a merge needs beside this package, boto3 and Spark; pandas, because PySpark hands over no columns without it,
and pytz and tzdata, because pandas before 3 needs them. The rest of the package's dependencies is for Airflow."""

_log = logging.getLogger(__name__)

# YARN takes doubled braces for its own and shells read the others; JSON can say each of them in letters.
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_READ_BY_OTHERS = re.compile(r"[{}$`'!%]")


@dataclass(frozen=True, slots=True)
class Job:
    """A merge that is asked of a cluster.

    Attributes:
        monitor: whose captures and labels are merged.
        window: whose captures count.
        as_of: up to when labels count.
        engine: what merges.
        allow_scripts: whether the monitor's scripts may run (rule O5).
        expected_bucket_owner: account id that must own each bucket, where one is asked for.
    """

    monitor: ModelQualityMonitor
    window: Window
    as_of: AsOf
    engine: str = ENGINE
    allow_scripts: bool = False
    expected_bucket_owner: str | None = None

    @property
    def report_prefix(self) -> str:
        """Where the result goes. Jobs of one prefix must not run at the same time."""
        return self.monitor.report_prefix(self.window)


# --- on Airflow's side


def arguments_of(job: Job) -> dict[str, str]:
    """The arguments of `main` that ask for this job, each with its value; none is a secret.

    Beside what is to be done they say where Airflow will look for the result and which version of this package it has, so
    that a cluster which would do something else refuses.

    Raises:
        MonitorError: a preprocessor sees an environment, which may hold what a command line must not show.
    """
    arguments = {
        "--monitor": _as_argument(_without_environment(job.monitor)),
        "--window-start": format_time(job.window.start),
        "--window-end": format_time(job.window.end),
        "--scheduled-time": format_time(job.window.scheduled_time),
        "--window-source": job.window.source,
        "--labels-as-of": format_time(job.as_of.time),
        "--labels-as-of-source": job.as_of.source,
        "--engine": job.engine,
        "--scripts": "allow" if job.allow_scripts else "refuse",
        "--expect-report-prefix": job.report_prefix,
        "--expect-version": __version__,
    }
    if job.expected_bucket_owner is not None:
        arguments["--expected-bucket-owner"] = job.expected_bucket_owner
    return arguments


def command_of(job: Job) -> list[str]:
    """The same as a list: each argument, then its value."""
    return [part for argument in arguments_of(job).items() for part in argument]


def requirements() -> list[str]:
    """`REQUIREMENTS` in the versions that are installed here, so that a cluster can have the same."""
    pinned = []
    for name in REQUIREMENTS:
        try:
            pinned.append(f"{name}=={version(name)}")
        except PackageNotFoundError:  # of an extra that Airflow's workers need not have
            pinned.append(name)
    return pinned


def make_way(job: Job, storage: Storage) -> None:
    """Take away what an earlier run left, before the cluster is asked: what stands there afterwards is of this job (rule O2).

    Raises:
        DocumentError: the constraints are of another kind, which is told before the work.
        OutputError: the output cannot be written.
    """
    constraints_of(job.monitor, storage)
    clear(job.monitor, job.window, storage, as_of=job.as_of)


def handed_over(monitor: ModelQualityMonitor, window: Window, storage: Storage) -> dict[str, Any]:
    """The hand-over that a job has left.

    Raises:
        InputError: there is none of this window and definition, though the job is said to have ended well.
    """
    handover = standing_handover(monitor, window, storage)
    if handover is None:
        raise InputError(
            expected="the hand-over of this window and definition, which the job on the cluster leaves at its end",
            came="none",
            where=join(monitor.report_prefix(window), MERGED, HANDOVER),
            next_step="look at the job's own log: it has to end in 'merged', and to have written to this very place",
        )
    return handover


def _as_argument(monitor: ModelQualityMonitor) -> str:
    """A monitor as JSON that no shell and no resource manager changes on its way."""
    text = json.dumps(monitor.model_dump(mode="json", exclude_defaults=True), allow_nan=False)
    text = _STRING.sub(
        lambda string: _READ_BY_OTHERS.sub(lambda sign: f"\\u{ord(sign[0]):04x}", string[0]),
        text,
    )
    return re.sub(r"}(?=})", "} ", text)


def _without_environment(monitor: ModelQualityMonitor) -> ModelQualityMonitor:
    """The same monitor, but for the environment of SageMaker's containers, of which a merge here needs nothing."""
    settings = monitor.sagemaker
    if settings is None or not settings.environment:
        return monitor
    if settings.record_preprocessor_source_uri is not None:
        raise MonitorError(
            ["sagemaker.environment: must be empty where a preprocessor runs on a cluster, as command lines are seen"],
            where=monitor.name,
            next_step="leave the environment out, or merge in the worker, which hands it to the preprocessor alone",
        )
    return monitor.model_copy(update={"sagemaker": settings.model_copy(update={"environment": {}})})


# --- on the cluster's side


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Do the job that the command line asks for, and return the hand-over, which then stands under ``merged/``.

    What fails raises: every kind of cluster takes that for a failed job, and shows the message. Arguments of other names
    are passed over, as Glue adds its own.

    Raises:
        ModelQualityError: another version, or another place, than Airflow expects; and all that `run.merge` raises.
    """
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(message)s")
    given, others = _parser().parse_known_args(arguments)
    if names := [other for other in others if other.startswith("--")]:
        _log.info("Not for the merge: %s", ", ".join(names))
    _expect(given.expect_version, __version__, "version of airflow_mq_provider", "install the same one on the cluster")
    job = _job_of(given)
    remedy = "the two read the monitor in different ways; install the same version on the cluster"
    _expect(given.expect_report_prefix, job.report_prefix, "place of the report", remedy)
    _log.info("%s: merging %s by engine %s", job.monitor.name, job.window.as_dict(), job.engine)
    handover = merge(
        job.monitor,
        job.window,
        storage=storage_for(job.monitor, expected_bucket_owner=job.expected_bucket_owner),
        as_of=job.as_of,
        engine=job.engine,
        allow_scripts=job.allow_scripts,
    )
    _log.info("merged %d rows; the hand-over lies below %s", handover["merge"]["matched"], job.report_prefix)
    return handover


def _parser() -> argparse.ArgumentParser:
    # what decides the result is required: an argument that is misspelled is missing, and never passed over
    parser = argparse.ArgumentParser(
        prog=ENTRY.name, description="Merge the labels into the captures of one window.", allow_abbrev=False
    )
    parser.add_argument("--monitor", required=True, help="JSON text, or the path or URI of YAML or JSON")
    for name in ("window-start", "window-end", "scheduled-time"):
        parser.add_argument(f"--{name}", required=True, metavar="TIME")
    parser.add_argument("--window-source", required=True, help="what gave the scheduled time, as the report says it")
    parser.add_argument("--labels-as-of", required=True, metavar="TIME", help="up to when labels count")
    parser.add_argument("--labels-as-of-source", required=True, help="what gave that time")
    parser.add_argument("--engine", default=ENGINE, help="default: %(default)s")
    parser.add_argument("--scripts", choices=("allow", "refuse"), default="refuse", help="default: %(default)s")
    parser.add_argument("--expected-bucket-owner", metavar="ACCOUNT", help="that must own each bucket")
    parser.add_argument("--expect-report-prefix", metavar="URI", help="fail where the result would go elsewhere")
    parser.add_argument("--expect-version", metavar="VERSION", help="fail where this package has another one")
    return parser


def _job_of(given: argparse.Namespace) -> Job:
    window = Window(
        start=parse_time(given.window_start, field="--window-start"),
        end=parse_time(given.window_end, field="--window-end"),
        scheduled_time=parse_time(given.scheduled_time, field="--scheduled-time"),
        source=given.window_source,
    )
    until = parse_time(given.labels_as_of, field="--labels-as-of")
    return Job(
        monitor=_read_monitor(given.monitor, given.expected_bucket_owner),
        window=window,
        as_of=ground_truth_as_of(until, window, source=given.labels_as_of_source),
        engine=given.engine,
        allow_scripts=given.scripts == "allow",
        expected_bucket_owner=given.expected_bucket_owner,
    )


def _read_monitor(text: str, owner: str | None) -> ModelQualityMonitor:
    if text.lstrip().startswith("{"):
        monitor = ModelQualityMonitor.from_text(text, "--monitor")
    elif is_s3(text):
        monitor = ModelQualityMonitor.from_bytes(Storage(expected_bucket_owner=owner).read(text), text)
    else:
        monitor = ModelQualityMonitor.from_file(text)
    if monitor.has_templates:
        raise MonitorError(
            ["holds a template, and only Airflow renders those"],
            where="--monitor",
            next_step="write the places out, or start the job from Airflow, which sends the monitor rendered",
        )
    return monitor


def _expect(asked: str | None, came: str, what: str, remedy: str) -> None:
    if asked is not None and asked != came:
        raise ModelQualityError(expected=f"{what} {asked}, as in Airflow", came=came, where="cluster", next_step=remedy)


if __name__ == "__main__":
    main()
