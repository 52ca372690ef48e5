"""Following what SageMaker runs: a schedule's status, and the execution that belongs to this run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import PokeReturnValue

from airflow_mq_provider.exceptions import ModelQualityError, SageMakerError
from airflow_mq_provider.hooks.task_context import check_choices, connection_of, run_scheduled_time
from airflow_mq_provider.links.sagemaker import (
    MonitoringScheduleLink,
    ProcessingJobLink,
    ProcessingJobLogsLink,
    SageMakerReportLink,
    folder_page,
    job_pages,
    schedule_page,
)
from airflow_mq_provider.sensors.waiting import Waiting
from airflow_mq_provider.window import format_time, parse_delay, parse_time

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_mq_provider.hooks.sagemaker import ModelQualityHook
    from airflow_mq_provider.triggers.sagemaker import MonitoringExecutionTrigger, SageMakerWaiterTrigger

_DAY = timedelta(days=1)


class _ScheduleSensor(Waiting):
    """What both sensors share: a schedule."""

    template_fields: Sequence[str] = ("schedule_name", *Waiting.template_fields)

    def __init__(self, *, schedule_name: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.schedule_name = schedule_name
        self.pages: dict[str, str] = {}

    def _hook(self) -> ModelQualityHook:
        from airflow_mq_provider.hooks.sagemaker import ModelQualityHook

        hook = ModelQualityHook.over(**connection_of(self))
        self.pages = {"schedule": schedule_page(self.schedule_name, hook.conn_region_name)}
        return hook

    def _described(self, hook: ModelQualityHook) -> dict[str, Any]:
        described = hook.schedule(self.schedule_name)
        if described is None:
            raise SageMakerError(
                expected=f"a monitoring schedule {self.schedule_name}",
                came="none of that name",
                where=f"{hook.conn_region_name}, account of the connection",
                next_step="create it with SageMakerMonitoringScheduleOperator, or correct schedule_name or region_name",
            )
        return described


class SageMakerMonitoringScheduleSensor(_ScheduleSensor):
    """Waits until a schedule has a status. One that fails while another status is waited for fails the task.

    Returns ``{"schedule_name", "status", "failure_reason", "job_definition_name"}``.

    Args:
        schedule_name: Its name.
        status: ``Scheduled`` or ``Stopped``.
        **kwargs: ``deferrable``, ``mode``, ``poke_interval`` (the seconds between two looks, in the triggerer too); the
            connection as in the amazon provider's sensors; what every sensor takes.
    """

    template_fields: Sequence[str] = ("status", *_ScheduleSensor.template_fields)
    operator_extra_links = (MonitoringScheduleLink(),)

    def __init__(self, *, schedule_name: Any, status: str = "Scheduled", **kwargs: Any) -> None:
        super().__init__(schedule_name=schedule_name, **kwargs)
        self.status = status

    def _look(self, context: Context) -> PokeReturnValue | SageMakerWaiterTrigger:  # noqa: ARG002 - any run will do
        from airflow_mq_provider.triggers.sagemaker import SageMakerWaiterTrigger

        if self.status not in ("Scheduled", "Stopped"):
            raise ModelQualityError(
                expected="Scheduled or Stopped",
                came=repr(self.status),
                where="status of the SageMakerMonitoringScheduleSensor",
                next_step="correct it in the DAG file; Scheduled is the default",
            )
        described = self._described(self._hook())
        status = described["MonitoringScheduleStatus"]
        if status == self.status:
            return PokeReturnValue(
                True,
                {
                    "schedule_name": self.schedule_name,
                    "status": status,
                    "failure_reason": described.get("FailureReason"),
                    "job_definition_name": described["MonitoringScheduleConfig"].get("MonitoringJobDefinitionName"),
                },
            )
        if status == "Failed":
            raise SageMakerError(
                expected=f"a schedule {self.schedule_name} that is {self.status}",
                came=f"Failed: {described.get('FailureReason', 'SageMaker gives no reason')}",
                where=self.schedule_name,
                next_step="mend what it names, then delete the schedule and create it anew",
            )
        self.log.info("Schedule %s is %s.", self.schedule_name, status)
        return SageMakerWaiterTrigger(
            waiter_name=f"MonitoringSchedule{self.status}",
            waiter_args={"MonitoringScheduleName": self.schedule_name},
            waiter_delay=self.poke_interval,
            waiter_max_attempts=max(1, int(self.timeout // max(self.poke_interval, 1))),
            **connection_of(self),
        )


class SageMakerMonitoringExecutionSensor(_ScheduleSensor):
    """Waits for the execution of a schedule that belongs to this run, and tells how it ended.

    It is the one whose ScheduledTime lies at the run's scheduled time ``T`` or up to twenty minutes later, as SageMaker
    starts late. Only the execution's own status counts: the Processing job that it names changes under way, from the merge
    to the analysis. Ends are told apart by ``status`` and ``reason_code``:

    ======================= ===================== ==============================================================
    status                  reason_code           means
    ======================= ===================== ==============================================================
    Completed               within_constraints    the analysis found no violation
    CompletedWithViolations violations            it found some: they are in ``violations``
    Failed                  no_data               no captures or no labels in the window
    Failed                  failed                anything else; ``reason`` is SageMaker's
    Stopped                 stopped               somebody stopped the execution
    Missing                 schedule_stopped      none came: the schedule is stopped
    Missing                 schedule_failed       none came: the schedule failed; ``reason`` is SageMaker's
    Missing                 created_later         none can come: the schedule is younger than ``T``
    Missing                 not_a_slot            none can come: the schedule does not run at ``T``
    Missing                 slot_skipped          none came, though one should have
    ======================= ===================== ==============================================================

    Returns these, and ``monitor`` (the schedule's name), ``scheduled_time``, ``reason``, ``report_prefix``, ``report_uri``,
    ``processing_job_name``, ``problem_type``, ``metrics`` (the block of ``statistics.json`` without matrix and curves) and
    ``violations``. `EnforceVerdictOperator` and `CompareExecutionsOperator` take it.

    Args:
        schedule_name: The schedule's name.
        scheduled_time: Another time than the run's own, as ``2026-11-08T13:00:00Z``; of a schedule that runs ``NOW`` the time at
            which it was created.
        on_violation: ``fail`` fails the task where the execution found violations, without retries; ``continue`` succeeds.
        on_not_judged: What to do where no verdict came: ``fail`` (the default, as SageMaker's own failures are among them),
            ``skip`` or ``continue``.
        grace: ISO 8601 duration after ``T``, beyond the twenty minutes, from which on an execution that has not come is missing.
        poke_interval: Seconds between two looks, in the triggerer too.
        **kwargs: As of `SageMakerMonitoringScheduleSensor`.
    """

    template_fields: Sequence[str] = ("scheduled_time", *_ScheduleSensor.template_fields)
    operator_extra_links = (
        MonitoringScheduleLink(),
        ProcessingJobLink(),
        ProcessingJobLogsLink(),
        SageMakerReportLink(),
    )

    def __init__(
        self,
        *,
        schedule_name: Any,
        scheduled_time: str | None = None,
        on_violation: str = "continue",
        on_not_judged: str = "fail",
        grace: str = "PT20M",
        poke_interval: timedelta | float = 60,
        **kwargs: Any,
    ) -> None:
        check_choices(on_violation, on_not_judged)
        self.grace = grace
        self._bound = parse_delay(grace, field="grace")
        super().__init__(schedule_name=schedule_name, poke_interval=poke_interval, **kwargs)
        self.scheduled_time = scheduled_time
        self.on_violation = on_violation
        self.on_not_judged = on_not_judged

    def _look(self, context: Context) -> PokeReturnValue | MonitoringExecutionTrigger:
        from airflow_mq_provider.hooks.sagemaker import MAX_LAG, TERMINAL
        from airflow_mq_provider.triggers.sagemaker import MonitoringExecutionTrigger

        slot = (
            parse_time(self.scheduled_time, field="scheduled_time")
            if self.scheduled_time
            else run_scheduled_time(context)
        )
        hook = self._hook()
        now = datetime.now(UTC)
        expected_by = slot + MAX_LAG + self._bound
        execution = hook.execution_of(self.schedule_name, slot)
        if execution is None:
            missing = self._why_missing(hook, slot, late=now >= expected_by)
            if missing is not None:
                return PokeReturnValue(True, self._judged(missing | {"scheduled_time": format_time(slot)}))
            self.log.info("No execution of %s yet for %s.", self.schedule_name, format_time(slot))
        else:
            status = execution["MonitoringExecutionStatus"]
            if status in TERMINAL:
                ended = self._ended(hook, execution)
                return PokeReturnValue(True, self._judged(ended | {"scheduled_time": format_time(slot)}))
            self.log.info("The execution of %s for %s is %s.", self.schedule_name, format_time(slot), status)
        return MonitoringExecutionTrigger(
            schedule_name=self.schedule_name,
            scheduled_time=format_time(slot),
            # where none has come, the time at which it is looked for why; else this sensor's timeout comes first
            deadline=format_time(expected_by if execution is None else now + timedelta(seconds=self.timeout) + _DAY),
            poll_interval=self.poke_interval,
            **connection_of(self),
        )

    def _why_missing(self, hook: ModelQualityHook, slot: datetime, *, late: bool) -> dict[str, Any] | None:
        """Return why the slot has no execution, and None as long as one may come."""
        from airflow_mq_provider.sagemaker.schedule import NOW, has_slot

        described = self._described(hook)
        when = described["MonitoringScheduleConfig"].get("ScheduleConfig", {}).get("ScheduleExpression")
        status, changed = described["MonitoringScheduleStatus"], described["LastModifiedTime"]
        at = format_time(slot)
        if when is not None and not has_slot(when, slot):
            return _missing("not_a_slot", f"the schedule runs at {when}, which is never {at}")
        # what runs NOW runs soon after it was created, wherever in that minute its time is taken to lie
        if when != NOW and described["CreationTime"] > slot:
            return _missing("created_later", f"the schedule was created at {format_time(described['CreationTime'])}")
        if status == "Stopped" and (late or changed <= slot):
            return _missing("schedule_stopped", f"the schedule is stopped, last changed at {format_time(changed)}")
        if status == "Failed" and (late or changed <= slot):
            told = described.get("FailureReason", "SageMaker gives no reason")
            return _missing("schedule_failed", f"the schedule failed: {told}")
        return _missing("slot_skipped", f"SageMaker started no execution for {at}") if late else None

    def _ended(self, hook: ModelQualityHook, execution: Mapping[str, Any]) -> dict[str, Any]:
        """Return how an execution ended, with its documents where it has any."""
        status = execution["MonitoringExecutionStatus"]
        name = execution.get("ProcessingJobArn", "").rpartition("/")[2]
        job = (hook.job(name) if name else None) or {}
        if name:
            self.pages |= job_pages(name, hook.conn_region_name)
        told: dict[str, Any] = {"status": status, "processing_job_name": name or None, "report_prefix": None}
        if status in ("Failed", "Stopped"):
            reason = execution.get("FailureReason") or job.get("FailureReason") or "SageMaker gives no reason"
            code = "stopped" if status == "Stopped" else "no_data" if "had no data" in reason else "failed"
            return told | {"reason_code": code, "reason": reason}
        outputs = job.get("ProcessingOutputConfig", {}).get("Outputs", [])
        if not outputs:
            raise SageMakerError(
                expected="the Processing job of a completed execution, which says where the report lies",
                came=f"{name or 'no job'} without outputs",
                where=f"{self.schedule_name}, execution of {format_time(execution['ScheduledTime'])}",
                next_step="grant sagemaker:DescribeProcessingJob, or look at the execution in the console",
            )
        prefix = outputs[0]["S3Output"]["S3Uri"].rstrip("/")
        self.pages["report"] = folder_page(prefix, hook.conn_region_name)
        statistics, violations = hook.documents(prefix)
        block = statistics.block(with_curves=False)
        block.pop("confusion_matrix", None)
        violated = status == "CompletedWithViolations"
        return told | {
            "reason_code": "violations" if violated else "within_constraints",
            "reason": job.get("ExitMessage") or f"{len(violations)} violations",
            "report_prefix": prefix,
            "problem_type": statistics.problem_type,
            "metrics": block,
            "violations": violations,
        }

    def _judged(self, told: dict[str, Any]) -> dict[str, Any]:
        """Say how it ended, and let that decide the fate of the task."""
        from airflow_mq_provider.airflow_internals import of_airflow

        result: dict[str, Any] = {
            "monitor": self.schedule_name,
            "report_prefix": None,
            "processing_job_name": None,
            "problem_type": None,
            "metrics": {},
            "violations": [],
        } | told
        result["report_uri"] = result["report_prefix"]
        sentence = f"{self.schedule_name}, {result['scheduled_time']}: {result['status']}. {result['reason']}"
        if result["report_prefix"]:
            sentence += f" Report: {result['report_prefix']}"
        self.log.info("%s", sentence)
        if result["status"] == "CompletedWithViolations" and self.on_violation == "fail":
            violations = "; ".join(
                str(found.get("description", found.get("metric_name"))) for found in result["violations"]
            )
            raise of_airflow("AirflowFailException")(f"{sentence} Violations: {violations}")
        if result["status"] not in ("Completed", "CompletedWithViolations"):
            if self.on_not_judged == "fail":
                raise of_airflow("AirflowFailException")(sentence)
            if self.on_not_judged == "skip":
                raise of_airflow("AirflowSkipException")(sentence)
        return result


def _missing(code: str, reason: str) -> dict[str, Any]:
    return {"status": "Missing", "reason_code": code, "reason": reason}
