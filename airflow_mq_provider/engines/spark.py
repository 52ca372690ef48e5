"""Where one machine is not enough: Spark's own shuffles, joins and sums around the same reading of lines.

Executors read the objects by URI through `Storage`, a unit of work a row (`spark_units`), and read every line as the other
engines do, so a line means the same here. Spark joins captures with the last label of each id, and executors write the parts
under the names, and with the rows, that the local engine gives them where it keeps merged records. Each object is read once in a run: labels are
kept by Spark between the two uses that it has for them, captures go straight into the join (docs/decisions/0014).

Only the DataFrame interface is used, so Spark Connect does as well as a driver.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from contextvars import ContextVar
from dataclasses import replace
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from airflow_mq_provider.engines.spark_units import (
    BINNED,
    BINS,
    JOINED,
    UNITS,
    CapturesTold,
    Failure,
    JoinedTold,
    LabelsTold,
    T,
    binning,
    capture_schema,
    joining,
    label_schema,
    reading_captures,
    reading_labels,
    told,
    unit_rows,
    writing_bins,
)
from airflow_mq_provider.engines.task import (
    ROWS_SUFFIX,
    Arrivals,
    LinesBefore,
    MergeTask,
    Rejections,
    Unit,
    in_spans,
    units,
)
from airflow_mq_provider.exceptions import InputError, ModelQualityError
from airflow_mq_provider.quality.ages import LabelAges
from airflow_mq_provider.quality.states import (
    CaptureCounts,
    GroundTruthCounts,
    JoinCounts,
    MergeCounts,
    label_coverage,
)
from airflow_mq_provider.storage import Storage

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

    from airflow_mq_provider.inputs import Input
    from airflow_mq_provider.quality.lines import Rejection

MOST_SCORES = 50_000_000
"""Of more merged rows than that, probabilities are binned (rule A2): the analysis would need a gigabyte to put them in order."""
_MOST_TASKS = 2_000
"""Spark tasks that read or join the units of one side; of more units than that, a task has several."""


def merge(
    task: MergeTask,
    storage: Storage,
    *,
    workers: int | None = None,  # noqa: ARG001 - the interface's; Spark has its own
    progress: Callable[[str, int, int], None] | None = None,
) -> MergeCounts:
    """Join labels to captures and write the parts and ``rejected.jsonl``. See `engines.Engine.merge`.

    Raises:
        ModelQualityError: PySpark is not installed.
        InputError: no session can be had, or Spark failed; and whatever else the other engines raise.
    """
    with _spark() as spark, ExitStack() as held, tempfile.NamedTemporaryFile() as sink:
        from pyspark.sql import functions as sql

        label_units = units(task.labels, in_spans(task.labels, storage))
        capture_units = units(task.captures, task.captures_in_spans(storage))
        labels = _kept(_labels(spark, task, storage, label_units), held)
        label_side, several = _label_counts(task, label_units, labels, sink, progress)
        last = _last_labels(labels)
        captures = _captures(spark, task, storage, capture_units, several=several)
        joined = _kept(_joined(captures, last, task, storage, len(capture_units)), held)
        with tempfile.TemporaryFile() as mismatches:  # which stand after all that was rejected before the join
            counts = _join_counts(task, capture_units, joined, label_side, sink, mismatches, progress)
            mismatches.seek(0)
            shutil.copyfileobj(mismatches, sink)
        ids = joined.where(sql.col("told").isNull()).groupBy("high", "low").agg(sql.max("labelled").alias("labelled"))
        seen, labelled = _numbers(ids.agg(sql.count("*"), sql.count_if("labelled")))
        [known] = _numbers(last.agg(sql.count("*")))
        if task.reading.probability is not None and counts.merge.matched > MOST_SCORES and not task.counts_only:
            _bin(spark, task, storage)
        sink.flush()
        storage.write_file(task.rejected_uri, sink.name)
    return replace(
        counts,
        capture=replace(counts.capture, duplicate_ids=counts.capture.used - seen),
        ground_truth=replace(counts.ground_truth, duplicate_labels=counts.ground_truth.used - known),
        merge=replace(counts.merge, labels_without_capture=known - labelled),
    )


def arrivals(
    task: MergeTask,
    storage: Storage,
    *,
    workers: int | None = None,  # noqa: ARG001 - the interface's
    progress: Callable[[str, int, int], None] | None = None,  # noqa: ARG001 - the interface's
) -> Arrivals:
    """Find the captures that the labels name. See `engines.Engine.arrivals`."""
    task = replace(task, keep_merged=None, preprocessor=None, keep_rejected_lines=False)
    with _spark() as spark, ExitStack() as held:
        from pyspark.sql import functions as sql

        labels = _kept(_labels(spark, task, storage, units(task.labels, in_spans(task.labels, storage))), held)
        for _ in _told(labels, LabelsTold):
            pass  # an object that cannot be read is an error here too
        capture_units = units(task.captures, in_spans(task.captures, storage))
        captures = _captures(spark, task, storage, capture_units, several=False)
        joined = captures.join(_last_labels(labels), ["high", "low"], "left")
        joined = _kept(joined.select("unit", "place", "time", "last_hour", "told"), held)
        for _ in _told(joined, CapturesTold):
            pass
        found = joined.where(sql.col("last_hour").isNotNull()).select("place", "time", "last_hour").toArrow()
    place, times, hours = (found[name].to_numpy() for name in ("place", "time", "last_hour"))
    order = np.argsort(place)
    return Arrivals(times[order], hours[order])


# --- DataFrames -------------------------------------------------------------------------------------------------------


def _labels(spark: SparkSession, task: MergeTask, storage: Storage, read: Sequence[Unit]) -> DataFrame:
    work = reading_labels(_sent(task), storage)
    return _by_unit(spark, read).mapInArrow(work, label_schema(task.reading))


def _captures(
    spark: SparkSession, task: MergeTask, storage: Storage, read: Sequence[Unit], *, several: bool
) -> DataFrame:
    work = reading_captures(_sent(task), storage, several=several)
    return _by_unit(spark, read).mapInArrow(work, capture_schema(task.reading))


def _sent(task: MergeTask) -> MergeTask:
    """The task as executors get it: objects come in rows."""
    return replace(task, captures=(), labels=())


def _by_unit(spark: SparkSession, read: Sequence[Unit]) -> DataFrame:
    """Units, which are about equally large, spread evenly over tasks."""
    rows = unit_rows(read)
    # one partition is dealt out one row at a time, so that no task gets two units before each has one
    return spark.createDataFrame(rows, UNITS).coalesce(1).repartition(min(len(rows), _MOST_TASKS) or 1)


def _last_labels(labels: DataFrame) -> DataFrame:
    """The label of each id that was collected last, and the hours of the first and of this one (rule M2)."""
    from pyspark.sql import functions as sql

    last = sql.max_by(sql.struct("actual", "truth", "by_label", "hour"), "place").alias("last")
    first_hour = sql.min_by("hour", "place").alias("first_hour")
    by_id = labels.where(sql.col("told").isNull()).groupBy("high", "low").agg(last, first_hour)
    return by_id.select(
        "high",
        "low",
        "first_hour",
        sql.col("last.hour").alias("last_hour"),
        "last.actual",
        "last.truth",
        "last.by_label",
    )


def _joined(captures: DataFrame, labels: DataFrame, task: MergeTask, storage: Storage, count: int) -> DataFrame:
    """Captures with their labels, brought back into their order, written unit by unit; so many units."""
    both = captures.join(labels, ["high", "low"], "left")
    # Spark's own number, 200, would be Python tasks without rows where there are few units, and long sorts where there are many
    tasks = min(count, _MOST_TASKS) or 1
    return (
        both.repartition(tasks, "unit").sortWithinPartitions("place").mapInArrow(joining(_sent(task), storage), JOINED)
    )


def _bin(spark: SparkSession, task: MergeTask, storage: Storage) -> None:
    """Put counts by step of the probability in the place of the rows that were written."""
    from pyspark.sql import functions as sql

    parts = [one.uri for one in storage.list(task.merged_uri) if one.key.endswith(ROWS_SUFFIX)]
    rows = spark.createDataFrame([(uri,) for uri in parts], "part string")
    bins = rows.coalesce(1).repartition(min(len(parts), _MOST_TASKS)).mapInArrow(binning(storage), BINS)
    kinds = [column for column in bins.columns if column != "weight"]
    summed = bins.groupBy(*kinds).agg(sql.sum("weight").alias("weight"))
    numbered = summed.withColumn("partition", sql.spark_partition_id())
    for row in numbered.mapInArrow(writing_bins(_sent(task), storage), BINNED).collect():
        raise told(bytes(row.told), Failure).error()
    storage.delete(parts)


def _kept(frame: DataFrame, held: ExitStack) -> DataFrame:
    """The rows, kept by Spark until `held` closes: in memory where there is room, else on the executors' disks."""
    frame = frame.persist()
    held.callback(frame.unpersist)
    return frame


def _told(frame: DataFrame, kind: type[T]) -> Iterator[T]:
    """What is said of each unit, in the order of the units; an error that ended one is raised."""
    from pyspark.sql import functions as sql

    rows = frame.where(sql.col("told").isNotNull()).select("unit", "told").orderBy("unit")
    for row in rows.toLocalIterator():
        said = told(bytes(row.told), kind)
        failure = getattr(said, "failure", None)
        if failure is not None:
            raise failure.error()
        yield said


def _numbers(frame: DataFrame) -> tuple[int, ...]:
    """The one row of a frame of counts."""
    [row] = frame.collect()
    return tuple(row)


# --- counts -----------------------------------------------------------------------------------------------------------


def _label_counts(
    task: MergeTask,
    read: Sequence[Unit],
    labels: DataFrame,
    sink: IO[bytes],
    progress: Callable[[str, int, int], None] | None,
) -> tuple[GroundTruthCounts, bool]:
    """Count the label lines, duplicates apart, and say whether a label has another number of rows than one."""
    rejections = Rejections("ground_truth", task.keep_rejected_lines)
    lines = used = 0
    several = False
    lines_before = LinesBefore()
    for unit, said in zip(read, _told(labels, LabelsTold), strict=True):
        lines += said.lines
        used += said.used
        several = several or said.several
        _add(rejections, said.rejected, sink, lines_before.of(unit, said.last_line))
    _tell(progress, "ground truth", task.labels)
    counts = GroundTruthCounts(
        files=len(task.labels),
        lines=lines,
        used=used,
        rejected=rejections.counts(),
        examples=tuple(rejections.examples),
    )
    return counts, several


def _join_counts(
    task: MergeTask,
    read: Sequence[Unit],
    joined: DataFrame,
    label_side: GroundTruthCounts,
    sink: IO[bytes],
    mismatch_sink: IO[bytes],
    progress: Callable[[str, int, int], None] | None,
) -> MergeCounts:
    """Count what became of the captures; ids are counted by Spark."""
    rejections = Rejections("capture", task.keep_rejected_lines)
    mismatches = Rejections("merge", task.keep_rejected_lines)
    total = JoinedTold()
    ages = LabelAges()
    lines_before = LinesBefore()
    for unit, said in zip(read, _told(joined, JoinedTold), strict=True):
        for name in ("lines", "outside_window", "dropped", "used", "without_label", "matched_rows"):
            setattr(total, name, getattr(total, name) + getattr(said, name))
        ages += said.ages
        before = lines_before.of(unit, said.last_line)
        _add(rejections, said.rejected, sink, before)
        _add(mismatches, said.mismatched, mismatch_sink, before)
    _tell(progress, "captures", task.captures)
    return MergeCounts(
        capture=CaptureCounts(
            files=len(task.captures),
            lines=total.lines,
            used=total.used,
            outside_window=total.outside_window,
            dropped=total.dropped,
            rejected=rejections.counts(),
            examples=tuple(rejections.examples),
        ),
        ground_truth=label_side,
        merge=JoinCounts(
            matched=total.matched_rows,
            captures_without_label=total.without_label,
            rejected=mismatches.counts(),
            label_coverage=label_coverage(total.used, total.without_label),
            label_ages=ages,
        ),
    )


def _add(rejections: Rejections, found: Iterable[Rejection], sink: IO[bytes], lines_before: int) -> None:
    for one in found:
        rejections.add(replace(one, line=one.line + lines_before))
    sink.writelines(rejections.lines)
    rejections.lines.clear()


def _tell(progress: Callable[[str, int, int], None] | None, phase: str, objects: tuple[Input, ...]) -> None:
    if progress is not None:
        size = sum(one.size for one in objects)
        progress(phase, size, size)


# --- sessions ---------------------------------------------------------------------------------------------------------


@contextmanager
def _spark() -> Iterator[SparkSession]:
    """A session; what Spark raises within is an `InputError` in four parts."""
    try:
        import pyarrow  # noqa: F401 - what Python's workers speak with Spark
        from pyspark.errors import PySparkException
    except ImportError as error:
        raise ModelQualityError(
            expected='PySpark 4 and pyarrow, which engine="spark" runs on',
            came=str(error),
            where="the Python that runs this",
            next_step='pip install "airflow-mq-provider[spark]", or take the local engine',
        ) from error
    try:
        with warnings.catch_warnings():
            # said of pandas as a whole, of which nothing is used here
            warnings.filterwarnings("ignore", "PySpark does not yet fully support pandas", FutureWarning)
            yield session()
    except PySparkException as error:
        raise InputError(
            expected="Spark to run the merge",
            came=_said_by_spark(error),
            where=_where(),
            next_step=_next_step(error),
        ) from error


def session() -> SparkSession:
    """The session of this process, or a new one.

    Within `connected`, it is of that server. Else one that stands already is taken as it is, as that of a script under
    ``spark-submit``. A new one is of the Spark Connect server that ``SPARK_REMOTE`` names, of the cluster that
    ``spark-submit`` was told, or, failing both, of this machine's cores; the last one listens on the loopback interface only.
    """
    from pyspark.errors import PySparkException
    from pyspark.sql import SparkSession

    builder = SparkSession.builder.appName("model-quality")
    if (url := _server.get()) is not None:
        return builder.remote(url).getOrCreate()
    with suppress(PySparkException):  # there is none
        return SparkSession.active()
    if "SPARK_REMOTE" in os.environ or "PYSPARK_GATEWAY_PORT" in os.environ:
        return builder.getOrCreate()
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)  # else workers run whatever python3 the PATH has
    for name, value in _LOCAL.items():
        builder = builder.config(name, value)
    return builder.getOrCreate()


def session_is_given() -> bool:
    """Whether `session` finds one, or is told where there is one, and starts no Spark of this machine's own."""
    if _server.get() is not None or "SPARK_REMOTE" in os.environ or "PYSPARK_GATEWAY_PORT" in os.environ:
        return True
    loaded = sys.modules.get("pyspark.sql")  # where nobody has imported it there is no session
    return loaded is not None and loaded.SparkSession.getActiveSession() is not None


@contextmanager
def connected(url: str) -> Iterator[None]:
    """Within, the engine works on the Spark Connect server at a URL. No session is made before it is needed; it ends with this."""
    held = _server.set(url)
    try:
        yield
    finally:
        _server.reset(held)
        if "pyspark.sql.connect.session" in sys.modules:
            from pyspark.sql import SparkSession

            made = SparkSession.getActiveSession()
            if made is not None:
                made.stop()


_server: ContextVar[str | None] = ContextVar("server", default=None)


def _where() -> str:
    """Which Spark it was, without what a URL tells of tokens."""
    url = _server.get() or os.environ.get("SPARK_REMOTE")
    return url.partition(";")[0] if url else "the Spark session of this process"


_LOCAL = {
    "spark.master": "local[*]",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.driver.host": "127.0.0.1",
    "spark.ui.enabled": "false",
}


def _said_by_spark(error: Exception) -> str:
    """The end of what Spark says: that is where Python's own error stands."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told_lines = [line for line in lines if not line.startswith(("at ", "..."))]
    return f"{type(error).__name__}: {' '.join(told_lines[:1] + told_lines[-2:])[:600]}"


def _next_step(error: Any) -> str:
    if error.getCondition() == "JAVA_GATEWAY_EXITED":
        return "install Java 17 or newer (on Debian: openjdk-17-jre-headless), or set SPARK_REMOTE to a Spark Connect server"
    return (
        "look at the log of the driver and of the executors: each of them needs this package with its spark extra, of the same "
        "Python, and must reach the data; nothing was reported, run it again"
    )
