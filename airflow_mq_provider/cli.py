"""``model-quality``: the same code without Airflow.

Answers go to standard output, everything else to standard error. With ``--json`` standard output holds one strict JSON
object and nothing else. Exit codes: 0 done, whatever the verdict; 1 the run failed; 2 usage, a bad monitor or no window;
under ``--strict`` 3 violations and 4 not judged.
"""

from __future__ import annotations

import argparse
import gc
import json
import math
import os
import re
import signal
import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn, TextIO

from airflow_mq_provider import __version__
from airflow_mq_provider.exceptions import InputError, ModelQualityError, MonitorError, RequestError, WindowError

if TYPE_CHECKING:
    from airflow_mq_provider.monitor import ModelQualityMonitor
    from airflow_mq_provider.sagemaker.compare import Comparison
    from airflow_mq_provider.window import Window

DONE, FAILED, USAGE, VIOLATIONS, NOT_JUDGED = range(5)
STRICT = {"Completed": DONE, "CompletedWithViolations": VIOLATIONS, "NotJudged": NOT_JUDGED}
ENGINES = ("local", "spark", "reference", "auto")
DATASET_FORMATS = ("csv", "csv-header", "jsonl", "parquet")
INTERRUPTED = 128 + signal.SIGINT


def main(arguments: Sequence[str] | None = None, *, sagemaker_client: Callable[[str | None], Any] | None = None) -> int:
    """Run one command and return its exit code. Expected errors are printed in their four parts, without a traceback.

    ``sagemaker_client`` makes boto3's client of a region, None being that of the environment; tests give another one.
    """
    if arguments is None:
        # A process of our own: start-up is most of a small run. Threads of BLAS, which nothing here uses, and a search
        # for pydantic's plugins through every installed package are a tenth of it.
        for name, value in (("OPENBLAS_NUM_THREADS", "1"), ("PYDANTIC_DISABLE_PLUGINS", "true")):
            os.environ.setdefault(name, value)
    try:
        code = _main(arguments, sagemaker_client or _sagemaker_client)
        sys.stdout.flush()
        if arguments is None:
            gc.freeze()  # the system takes back what is held: to look for cycles first takes a quarter of a small run
    except BrokenPipeError:
        # Whoever read the answer has seen enough. Nothing more may be written, not even when Python closes its streams.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
    return code


def _main(arguments: Sequence[str] | None, sagemaker_client: Callable[[str | None], Any]) -> int:
    given = _parser().parse_args(arguments)
    given.sagemaker_client = sagemaker_client
    command: Callable[[argparse.Namespace], int] = given.command
    try:
        with warnings.catch_warnings():
            # a rewritten offset is worth a line, not the place in the code that saw it
            warnings.simplefilter("once", UserWarning)
            warnings.showwarning = _warn
            return command(given)
    except ModelQualityError as error:
        print(_told(error), file=sys.stderr)
        return USAGE if isinstance(error, (MonitorError, WindowError)) else FAILED


def _warn(
    message: Warning | str,
    category: type[Warning],  # noqa: ARG001 - this and what follows is what `warnings` passes
    filename: str,  # noqa: ARG001
    lineno: int,  # noqa: ARG001
    file: TextIO | None = None,  # noqa: ARG001
    line: str | None = None,  # noqa: ARG001
) -> None:
    print(f"warning: {message}", file=sys.stderr)


def _told(error: ModelQualityError) -> str:
    faults = error.faults if isinstance(error, MonitorError) else ()
    came = "\n".join([f"{len(faults)} fault{'s' * (len(faults) != 1)}", *(f"            {fault}" for fault in faults)])
    return (
        f"error: {type(error).__name__}\n"
        f"  expected  {error.expected}\n"
        f"  came      {came if faults else error.came}\n"
        f"  where     {error.where}\n"
        f"  next      {error.next_step}"
    )


# --- arguments ----------------------------------------------------------------------------------------------------------


if TYPE_CHECKING:
    _Commands = argparse._SubParsersAction["_Parser"]


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(USAGE, f"error: {message}\n  next      {self.prog} --help\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="model-quality",
        description="Judge a model by its captured predictions and the labels that came later.",
        epilog="MONITOR is a YAML or JSON file of a ModelQualityMonitor. Times are ISO 8601; without a zone they are UTC.",
    )
    parser.add_argument("--version", action="version", version=f"model-quality {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    arguments_of = (
        _window_arguments,
        _run_arguments,
        _refresh_arguments,
        _clean_arguments,
        _baseline_arguments,
        _demo_arguments,
        _import_arguments,
        _export_arguments,
        _compare_arguments,
    )
    for arguments in arguments_of:
        arguments(commands).add_argument(
            "--json", action="store_true", help="one JSON object on standard output, nothing else"
        )
    return parser


def _window_arguments(commands: _Commands) -> argparse.ArgumentParser:
    parser = commands.add_parser("window", help="the analysis window of a scheduled time")
    _add_monitor(parser)
    parser.add_argument("--at", metavar="TIME", required=True, help="the scheduled time: the end of the data interval")
    _add_interval_start(parser)
    parser.set_defaults(command=_window)
    return parser


def _run_arguments(commands: _Commands) -> argparse.ArgumentParser:
    parser = commands.add_parser("run", help="merge the labels into the captures of a window, and judge")
    _add_monitor(parser)
    parser.add_argument("--at", metavar="TIME", help="the scheduled time: the end of the data interval")
    _add_interval_start(parser)
    parser.add_argument("--window-start", metavar="TIME", help="an explicit window instead of --at, with --window-end")
    parser.add_argument("--window-end", metavar="TIME", help="the end of the explicit window, not part of it")
    parser.add_argument(
        "--as-of",
        metavar="now|schedule|TIME",
        default="schedule",
        help="up to when labels count: the scheduled time (the default), now, or a time",
    )
    _add_work(parser)
    parser.set_defaults(command=_run)
    return parser


def _refresh_arguments(commands: _Commands) -> argparse.ArgumentParser:
    parser = commands.add_parser("refresh", help="judge past windows again whose labels came late, as of now")
    _add_monitor(parser)
    parser.add_argument(
        "--since", metavar="TIME", help="leave out windows scheduled before this hour (default: every report)"
    )
    parser.add_argument("--dry-run", action="store_true", help="tell which windows are due, and run none")
    _add_work(parser)
    parser.set_defaults(command=_refresh)
    return parser


def _clean_arguments(commands: _Commands) -> argparse.ArgumentParser:
    parser = commands.add_parser("clean", help="remove prepared hours that no later window touches")
    _add_monitor(parser)
    parser.add_argument(
        "--older-than",
        metavar="DURATION",
        help="remove those older than this, as P30D (default: those before the windows that are scheduled from now on)",
    )
    parser.set_defaults(command=_clean)
    return parser


def _baseline_arguments(commands: _Commands) -> argparse.ArgumentParser:
    parser = commands.add_parser("baseline", help="statistics.json and constraints.json from a labelled file")
    _add_monitor(parser)
    parser.add_argument("--dataset", metavar="FILE", required=True, help="predictions with their labels; a path or URI")
    parser.add_argument("--output", metavar="DIR", required=True, help="where both documents are written")
    parser.add_argument("--dataset-format", choices=DATASET_FORMATS, default="csv-header", help="default: %(default)s")
    for name in ("ground-truth", "inference", "probability"):
        parser.add_argument(f"--{name}-attribute", metavar="A", help=f"the {name.replace('-', ' ')} column or path")
    parser.add_argument(
        "--tolerance-sd",
        metavar="K",
        type=_tolerance,
        help="loosen each constraint by K standard deviations (default: the baseline's values as they are)",
    )
    parser.set_defaults(command=_baseline)
    return parser


def _demo_arguments(commands: _Commands) -> argparse.ArgumentParser:
    parser = commands.add_parser("demo", help="demo data: captures, late labels, three monitors")
    parser.add_argument("directory", metavar="DIR", help="an absent or empty folder, or one that holds a demo")
    parser.set_defaults(command=_demo)
    return parser


def _import_arguments(commands: _Commands) -> argparse.ArgumentParser:
    parser = commands.add_parser("import", help="a SageMaker job definition as a monitor, and as a DAG file")
    parser.add_argument(
        "source",
        metavar="NAME|FILE",
        help="a monitoring schedule or a job definition in the account, or a file that holds what describing one answers",
    )
    parser.add_argument("--output", metavar="FILE", help="a new file for the monitor; else it is printed")
    parser.add_argument("--dag", metavar="FILE", help="a new DAG file; the monitor goes to --output, else beside it")
    parser.add_argument("--capture-uri", metavar="URI", help="where the endpoint's captures lie, if it does not say so")
    parser.add_argument(
        "--name", metavar="NAME", help="what the monitor is called, if not as the schedule in SageMaker"
    )
    parser.add_argument(
        "--schedule", metavar="CRON", type=_cron, help="when the DAG runs, in UTC, if not as the schedule in SageMaker"
    )
    _add_region(parser)
    parser.set_defaults(command=_import)
    return parser


def _export_arguments(commands: _Commands) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        "export", help="the CreateModelQualityJobDefinition request that makes the monitor again"
    )
    _add_monitor(parser)
    _add_region(parser)
    parser.set_defaults(command=_export)
    return parser


def _compare_arguments(commands: _Commands) -> argparse.ArgumentParser:
    parser = commands.add_parser("compare", help="two executions of one window, metric by metric")
    for side in ("a", "b"):
        parser.add_argument(side, metavar=side.upper(), help="a statistics.json or the folder of one; a path or URI")
    parser.set_defaults(command=_compare)
    return parser


def _add_monitor(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("monitor", metavar="MONITOR", help="a YAML or JSON file")


def _add_work(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--engine", choices=ENGINES, default="local", help="what joins and counts (default: %(default)s)"
    )
    parser.add_argument(
        "--workers", metavar="N", type=_positive, help="processes of the local engine (default: all cores)"
    )
    parser.add_argument(
        "--memory-limit",
        metavar="SIZE",
        type=_size,
        help="of the local engine, such as 4GiB; a window that needs more is joined on disk, or refused before it is read "
        "(default: 80 %% of what there is)",
    )
    parser.add_argument(
        "--allow-scripts", action="store_true", help="run the scripts that the monitor names: they are code"
    )
    parser.add_argument(
        "--cloudwatch-namespace",
        metavar="NAME",
        help="where a monitor with publish_cloudwatch_metrics publishes (default: SageMaker's namespace)",
    )
    parser.add_argument("--strict", action="store_true", help="exit with 3 on violations and with 4 if not judged")


def _add_region(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--region", metavar="REGION", help="of SageMaker (default: that of the AWS configuration)")


def _add_interval_start(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--interval-start",
        metavar="TIME",
        help="the start of the data interval; needed where the monitor has no start_time_offset",
    )


def _positive(text: str) -> int:
    number = int(text) if text.isdecimal() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1 on, came {text!r}")
    return number


def _size(text: str) -> int:
    from airflow_mq_provider.engines.memory import parse_size

    try:
        return parse_size(text, field="--memory-limit")
    except ModelQualityError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _cron(text: str) -> str:
    if len(text.split()) != 5 and not re.fullmatch(r"@[a-z]+", text):
        raise argparse.ArgumentTypeError(f"expected a cron expression of five fields, came {text!r}")
    return text


def _tolerance(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not (math.isfinite(number) and number >= 0):
        raise argparse.ArgumentTypeError(f"expected a number from 0 on, came {text!r}")
    return number


# --- commands -----------------------------------------------------------------------------------------------------------


def _window(given: argparse.Namespace) -> int:
    monitor = _monitor(given)
    window = _scheduled(given, monitor).as_dict()
    _answer(given, window, lambda: [f"{name.replace('_', ' '):<15} {value}" for name, value in window.items()])
    return DONE


def _run(given: argparse.Namespace) -> int:
    from airflow_mq_provider.window import ground_truth_as_of

    monitor = _monitor(given)
    window = _explicit(given) or _scheduled(given, monitor)
    as_of = ground_truth_as_of(given.as_of, window, max_delay=monitor.ground_truth_max_delay)
    # After what is cheap to refuse: this imports numpy and the engines.
    from airflow_mq_provider import run
    from airflow_mq_provider.publish.cloudwatch import CloudWatch, default_client

    report = run.run(
        monitor,
        window,
        as_of=as_of,
        engine=given.engine,
        workers=given.workers,
        memory_limit=given.memory_limit,
        allow_scripts=given.allow_scripts,
        cloudwatch=CloudWatch(default_client, given.cloudwatch_namespace),
        progress=_Progress(),
    )
    _answer(given, report, lambda: _verdict(report, run.constraints_of(monitor, run.storage_for(monitor))))
    return STRICT[report["status"]] if given.strict else DONE


def _refresh(given: argparse.Namespace) -> int:
    from airflow_mq_provider.window import parse_time

    monitor = _monitor(given)
    since = None if given.since is None else parse_time(given.since, field="--since")
    from airflow_mq_provider.publish.cloudwatch import CloudWatch, default_client
    from airflow_mq_provider.refresh import refresh

    told = refresh(
        monitor,
        since=since,
        dry_run=given.dry_run,
        engine=given.engine,
        workers=given.workers,
        memory_limit=given.memory_limit,
        allow_scripts=given.allow_scripts,
        cloudwatch=CloudWatch(default_client, given.cloudwatch_namespace),
        progress=_Progress(),
    )
    _answer(given, told, lambda: _refreshed(told))
    if any(one["error"] for one in told["windows"]):
        return FAILED
    codes = {STRICT[one["after"]["status"]] for one in told["windows"] if one["after"]}
    return min(codes - {DONE}, default=DONE) if given.strict else DONE


def _clean(given: argparse.Namespace) -> int:
    from datetime import UTC, datetime

    from airflow_mq_provider.window import parse_delay

    monitor = _monitor(given)
    older_than = None if given.older_than is None else parse_delay(given.older_than, field="--older-than")
    from airflow_mq_provider import run
    from airflow_mq_provider.retention import clean

    told = clean(monitor, run.storage_for(monitor), now=datetime.now(UTC), older_than=older_than)
    _answer(given, told, lambda: _cleaned(told))
    return DONE


def _baseline(given: argparse.Namespace) -> int:
    monitor = _monitor(given)
    from airflow_mq_provider import run

    made = run.baseline(
        monitor,
        given.dataset,
        given.output,
        dataset_format=given.dataset_format,
        ground_truth_attribute=given.ground_truth_attribute,
        inference_attribute=given.inference_attribute,
        probability_attribute=given.probability_attribute,
        tolerance_sd=given.tolerance_sd,
    )
    block = next(value for name, value in made["constraints"].items() if name.endswith("_constraints"))
    lines = [f"baseline of {made['records']:,} records; constraints:"]
    lines += [f"  {name:<22} {_limit(one)}" for name, one in block.items()]
    lines.append(f"written       {made['output']}/statistics.json, constraints.json")
    # whole: in a monitor's file a plain path counts from that file
    place = made["output"] if "://" in made["output"] else os.path.abspath(made["output"])
    lines.append(f"next          name {place}/constraints.json in constraints_uri of {given.monitor}")
    _answer(given, made, lambda: lines)
    return DONE


def _demo(given: argparse.Namespace) -> int:
    from airflow_mq_provider import demo

    progress = _Progress()
    paths = demo.make(given.directory, progress=progress.say)
    scheduled = [window.as_dict()["scheduled_time"] for window in demo.windows()]
    answer = {"directory": given.directory, "monitors": [str(path) for path in paths], "scheduled_times": scheduled}
    lines = [f"demo data in {given.directory}; judge a day of it:"]
    lines += [f"  model-quality run {path} --at {scheduled[-1]}" for path in paths]
    lines += [
        f"scheduled times from {scheduled[0]} to {scheduled[-1]}, a day apart",
        "next          run one of these and open its report.html; for captures and labels of your own: docs/formats.md",
    ]
    _answer(given, answer, lambda: lines)
    return DONE


def _import(given: argparse.Namespace) -> int:
    from airflow_mq_provider import moving

    if os.path.sep in given.source or given.source.endswith(".json") or os.path.isfile(given.source):
        found = moving.in_file(given.source)
    else:
        found = moving.in_account(given.source, given.sagemaker_client(given.region))
    moved = moving.moved(found, capture_uri=given.capture_uri, name=given.name)
    for note in moved.notes:
        print(f"note: {note}", file=sys.stderr)
    cron = given.schedule or moved.cron
    output = given.output or (given.dag and os.path.splitext(given.dag)[0] + ".yaml")
    if given.dag and cron is None and moved.schedule_name is None:
        raise RequestError(
            ["schedule: is needed for a DAG, and a job definition does not say when it runs; came none"],
            where=f"job definition {moved.definition_name!r}",
            next_step="give --schedule, such as --schedule '0 * * * *', or import by the name of the schedule that runs it",
        )
    text = moved.monitor.to_json() if output and output.endswith(".json") else moved.monitor.to_yaml()
    lines = [] if output else text.rstrip().splitlines()
    files = {output: text} if output else {}
    if given.dag:
        beside = os.path.relpath(output, os.path.dirname(given.dag) or os.path.curdir)
        what = f"schedule {moved.schedule_name}" if moved.schedule_name else f"job definition {moved.definition_name}"
        files[given.dag] = moving.dag_file(
            moved.monitor, monitor_file=beside, cron=cron, moved_from=f"SageMaker's {what}"
        )
    moving.write_new(files)
    lines += [f"written       {path}" for path in files]
    answer = {
        "monitor": json.loads(moved.monitor.to_json()),
        "job_definition": moved.definition_name,
        "schedule": moved.schedule_name,
        "cron": cron,
        "output": output,
        "dag": given.dag,
        "notes": list(moved.notes),
    }
    _answer(given, answer, lambda: lines)
    return DONE


def _export(given: argparse.Namespace) -> int:
    from airflow_mq_provider.sagemaker.job_definition import job_definition_request, unknown_to_sagemaker

    monitor = _monitor(given)
    region = given.region or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    request = job_definition_request(monitor, region=region)
    for name in unknown_to_sagemaker(monitor):
        print(f"note: SageMaker has no {name}, and will judge without it", file=sys.stderr)
    # a request is JSON, asked for or not
    print(json.dumps(request, indent=2, allow_nan=False))
    return DONE


def _compare(given: argparse.Namespace) -> int:
    from airflow_mq_provider.quality.documents import loads
    from airflow_mq_provider.sagemaker.compare import compare
    from airflow_mq_provider.storage import Storage, join

    storage = Storage()
    statistics: list[Mapping[str, Any]] = []
    violations: list[Mapping[str, Any] | None] = []
    for side in (given.a, given.b):
        uri = side if side.endswith(".json") else join(side, "statistics.json")
        statistics.append(loads(storage.read(uri), uri))
        folder, _, name = uri.rpartition("/")
        beside = join(folder or ".", "constraint_violations.json")
        # what lies beside a file of another name may belong to anything
        reported = name == "statistics.json" and storage.exists(beside)
        violations.append(loads(storage.read(beside), beside) if reported else None)
    found = compare(
        *statistics, a_violations=violations[0], b_violations=violations[1], a_source=given.a, b_source=given.b
    )
    _answer(given, found.as_dict(), lambda: _side_by_side(found))
    return DONE


def _sagemaker_client(region: str | None) -> Any:
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError

    try:
        return boto3.session.Session(region_name=region).client(
            "sagemaker", config=Config(retries={"mode": "adaptive", "max_attempts": 8})
        )
    except BotoCoreError as error:
        raise InputError(
            expected="a region and a profile to ask SageMaker with",
            came=f"{type(error).__name__}: {error}",
            where="the AWS configuration of this environment",
            next_step="give --region, or correct AWS_DEFAULT_REGION and AWS_PROFILE",
        ) from error


def _monitor(given: argparse.Namespace) -> ModelQualityMonitor:
    from airflow_mq_provider.monitor import ModelQualityMonitor

    return ModelQualityMonitor.from_file(given.monitor)


def _scheduled(given: argparse.Namespace, monitor: ModelQualityMonitor) -> Window:
    from airflow_mq_provider.window import analysis_window, parse_time

    source = monitor.input
    if given.at is None:
        raise WindowError(
            expected="--at TIME, or --window-start TIME with --window-end TIME",
            came="neither",
            where="the command line",
            next_step="give the scheduled time, for example --at 2020-01-09T13:00:00Z",
        )
    interval_start = None
    if given.interval_start is not None:
        interval_start = parse_time(given.interval_start, field="--interval-start")
    elif source.start_time_offset is None:
        raise WindowError(
            expected="--interval-start TIME, since the monitor has no start_time_offset",
            came="no --interval-start",
            where=f"the command line, and {given.monitor}",
            next_step="give the start of the data interval, or the monitor a start_time_offset such as -P1D",
        )
    return analysis_window(
        parse_time(given.at, field="--at"),
        source.start_time_offset,
        source.end_time_offset,
        interval_start=interval_start,
        source="command_line",
    )


def _explicit(given: argparse.Namespace) -> Window | None:
    """The window that --window-start and --window-end give, None without them."""
    if given.window_start is None and given.window_end is None:
        return None
    from airflow_mq_provider.window import explicit_window, parse_time

    others = [f"--{name}" for name in ("at", "interval-start") if getattr(given, name.replace("-", "_")) is not None]
    if given.window_start is None or given.window_end is None or others:
        came = [f"--{name}" for name in ("window-start", "window-end") if getattr(given, name.replace("-", "_"))]
        raise WindowError(
            expected="--window-start and --window-end together, and no --at beside them",
            came=", ".join(came + others),
            where="the command line",
            next_step="give both ends of the window, or --at alone",
        )
    return explicit_window(
        parse_time(given.window_start, field="--window-start"), parse_time(given.window_end, field="--window-end")
    )


# --- answers ------------------------------------------------------------------------------------------------------------


def _answer(given: argparse.Namespace, content: Mapping[str, Any], lines: Callable[[], Sequence[str]]) -> None:
    # allow_nan=False: a bare NaN would be no JSON; undefined values are the text "NaN" already
    print(json.dumps(content, indent=2, allow_nan=False) if given.json else "\n".join(lines()))


_BOUNDS = {"LessThanThreshold": "at least", "GreaterThanThreshold": "at most"}


class _Progress:
    """Says on standard error how far long work is; what ends within two seconds says nothing."""

    def __init__(self) -> None:
        self._said = time.monotonic()

    def __call__(self, phase: str, done: int, total: int) -> None:
        """What an engine tells: a phase, and bytes."""
        if total:
            self.say(f"{phase}: {done / total:4.0%} of {total / 1e6:,.1f} MB")

    def say(self, message: str) -> None:
        """A line, unless the last one is less than two seconds old."""
        if time.monotonic() - self._said >= 2:
            self._said = time.monotonic()
            print(message, file=sys.stderr)


_DOCUMENTS = {"page": "report.html", "report": "report.json"}


def _verdict(report: Mapping[str, Any], constraints: Mapping[str, Any] | None) -> list[str]:
    """A report as compact text: what was judged, each metric against its constraint, where all of it lies, what is next."""
    from airflow_mq_provider.quality.metrics import violation_name

    window, capture, labels, merge = (report[name] for name in ("window", "capture", "ground_truth", "merge"))
    coverage = "none" if merge["label_coverage"] is None else f"{merge['label_coverage']:.1%}"
    lines = [
        f"{report['status']}: {report['reason']}",
        f"monitor       {report['monitor']}",
        f"window        {window['start']} to {window['end']}, scheduled {window['scheduled_time']} ({window['source']})",
        f"labels as of  {report['ground_truth_as_of']}",
        f"captures      {capture['used']:,} used of {_count(capture, 'lines')} in {_count(capture, 'files')}"
        f"{_others(capture, 'outside_window', 'dropped', 'duplicate_ids')}",
        f"labels        {labels['used']:,} used of {_count(labels, 'lines')} in {_count(labels, 'files')}"
        f"{_others(labels, 'duplicate_labels')}",
        f"coverage      {coverage}: {_count(merge, 'matched', 'rows matched')}"
        f"{_others(merge, 'captures_without_label', 'labels_without_capture')}",
    ]
    for side, block in (("captures", capture), ("labels", labels), ("merge", merge)):
        if block["rejected"]:
            reasons = ", ".join(f"{reason} {count:,}" for reason, count in block["rejected"].items())
            lines.append(f"rejected      {side}: {reasons}")
    metrics = {name: metric for name, metric in report["metrics"].items() if "value" in metric}
    violations = {one["metric_name"]: one for one in report["violations"]}
    width = max(map(len, metrics), default=0)
    lines += [
        f"  {name:<{width}}  {_held(metric, (constraints or {}).get(name), violations.get(violation_name(name)))}"
        for name, metric in metrics.items()
    ]
    lines += [f"not judged    {one['metric_name']}: {one['reason']}" for one in report["not_judged"]]
    if segments := report.get("segments"):
        lines.append(f"segments      {_worst(segments)}")
    if "engine_why" in report:
        lines.append(f"engine        {report['engine']}: {report['engine_why']}")
    if cloudwatch := report.get("cloudwatch"):
        came = f"{cloudwatch['metrics']} metrics in {cloudwatch['namespace']}"
        lines.append(f"cloudwatch    {cloudwatch['status']}: {cloudwatch['reason'] or came}")
    lines += [f"{name:<13} {report['output']}/{document}" for name, document in _DOCUMENTS.items()]
    if report["next_step"]:
        lines.append(f"next          {report['next_step']}")
    return lines


def _refreshed(told: Mapping[str, Any]) -> list[str]:
    """What a refresh did as compact text: a line for each window that was due, and why the others were left alone."""
    from airflow_mq_provider.refresh import LEFT_ALONE

    windows, others = told["windows"], told["left_alone"]
    looked = len(windows) + sum(map(len, others.values()))
    again = "due" if told["dry_run"] else "judged again"
    lines = [f"{told['monitor']}: {len(windows)} of {looked} windows {again}, labels as of {told['as_of']}"]
    if windows:
        rows = [("window", "scheduled", "coverage", "status", "why")]
        for one in windows:
            before, after, window = one["before"], one["after"], one["window"]
            rows.append(
                (
                    f"{window['start']} to {window['end']}",
                    window["scheduled_time"],
                    _changed([_share(side["label_coverage"]) for side in (before, after) if side]),
                    _changed([side["status"] for side in (before, after) if side]),
                    one["why"].replace("_", " "),
                )
            )
        widths = [max(map(len, column)) for column in zip(*rows)]
        lines += ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]
    lines += [f"failed        {one['window']['scheduled_time']}: {one['error']}" for one in windows if one["error"]]
    lines += [
        f"left alone    {len(others[code])}: {words} (the latest scheduled {max(others[code])})"
        for code, words in LEFT_ALONE.items()
        if code in others
    ]
    return lines


def _cleaned(told: Mapping[str, Any]) -> list[str]:
    removed = _count(told, "removed", "prepared hours removed")
    return [
        f"{told['monitor']}: {removed}, {told['removed_bytes'] / 1e6:,.1f} MB; {told['kept']:,} kept",
        f"before        {told['before']}",
        f"where         {told['prepared_hours']}",
    ]


def _share(coverage: float | None) -> str:
    return "–" if coverage is None else f"{coverage:.1%}"


def _changed(sides: Sequence[str]) -> str:
    return " -> ".join(dict.fromkeys(sides))


def _side_by_side(found: Comparison) -> list[str]:
    """A comparison as compact text: a line for each metric, and why where that is not plain."""
    lines = [found.verdict, f"a             {found.a}", f"b             {found.b}"]
    for rows in (found.metrics, found.violations or ()):
        width = max((len(row.name) for row in rows), default=0)
        if rows is found.violations:
            lines.append("violations")
        for row in rows:
            values = "" if rows is found.violations else f"  {_number(row.a):>12}  {_number(row.b):>12}"
            lines.append(f"  {row.name:<{width}}{values}  {row.verdict}{f': {row.note}' if row.note else ''}")
    if found.violations is None:
        lines.append("violations    not compared: one side has no constraint_violations.json")
    return lines


def _number(value: float | str | None) -> str:
    return "–" if value is None else value if isinstance(value, str) else f"{value:.6g}"


def _others(block: Mapping[str, Any], *names: str) -> str:
    return "".join(f", {_count(block, name)}" for name in names if block[name])


def _count(block: Mapping[str, Any], name: str, words: str | None = None) -> str:
    """A counter of a report and what it counts: its name unless `words` are given; of one the first plural is singular."""
    words = words or name.replace("_", " ")
    if block[name] == 1:
        words = re.sub("s( |$)", r"\1", words, count=1)
    return f"{block[name]:,} {words}"


_SEGMENTS_SAID = 3


def _worst(segments: Mapping[str, Any]) -> str:
    """How many segments there are, and the worst of those that were judged, each in quotes since it is text of the data."""
    metric = segments["worst_by"]
    judged = [one for one in segments["listed"] if one["status"] != "NotJudged"][:_SEGMENTS_SAID]
    number = "over 100,000" if segments["segments"] is None else f"{segments['segments']:,}"
    said = ", ".join(f"{one['segment'][:40]!r} {_number(one['metrics'][metric]['value'])}" for one in judged)
    return f"{number}; " + (f"worst {metric}: {said}" if said else "none judged")


def _held(metric: Mapping[str, Any], constraint: Any, violation: Mapping[str, Any] | None) -> str:
    from airflow_mq_provider.publish.text import sd_beyond

    value = metric["value"]
    text = f"{value:>10}" if isinstance(value, str) else f"{value:>10.4g}"
    if constraint is None:
        return text
    text += f"  {_BOUNDS[constraint.comparison_operator]} {constraint.threshold:.4g}"
    if violation is None:
        return text
    far = sd_beyond(float(violation["sd_beyond"]), constraint.comparison_operator, violation["within_noise"])
    return f"{text}  VIOLATED" + (f", {far}" if far else "")


def _limit(constraint: Mapping[str, Any]) -> str:
    return f"{_BOUNDS[constraint['comparison_operator']]} {constraint['threshold']:.6g}"
