"""How an operator brings things on SageMaker to where they are to stand: step by step, and job by job.

It looks, does the next thing that is missing, waits, and looks again. So a retry, a deferral and a worker that died go on
from where things are, and nothing is made twice.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from airflow_mq_provider.exceptions import SageMakerError
from airflow_mq_provider.hooks.task_context import connection_of, failing_for_good
from airflow_mq_provider.links.sagemaker import ProcessingJobLink, ProcessingJobLogsLink, job_pages

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_mq_provider.hooks.sagemaker import ModelQualityHook

#: what SageMaker says of a job, or an execution, that found nothing to work on
NO_DATA = "Job inputs had no data"


@dataclass(frozen=True, slots=True)
class Wait:
    """What a step waits for before the next one: a waiter of `ModelQualityHook`, and its arguments.

    ``job`` is the Processing job that is to be stopped where the task is cancelled meanwhile.
    """

    waiter: str
    arguments: dict[str, str]
    job: str | None = None


class StepwiseOperator(BaseOperator):
    """What all of these share: a connection, two ways of waiting, and going on step by step."""

    template_fields: Sequence[str] = ("aws_conn_id", "region_name", "verify")
    ui_color = "#e7f0fb"

    def __init__(
        self,
        *,
        aws_conn_id: str | None = "aws_default",
        region_name: str | None = None,
        verify: bool | str | None = None,
        botocore_config: dict[str, Any] | None = None,
        deferrable: bool = True,
        waiter_delay: float = 10,
        waiter_max_attempts: int = 180,
        **kwargs: Any,
    ) -> None:
        # each part of the result is an XCom of its own, so that another task takes operator.output["schedule_name"]
        kwargs.setdefault("multiple_outputs", True)
        super().__init__(**kwargs)
        self.aws_conn_id = aws_conn_id
        self.region_name = region_name
        self.verify = verify
        self.botocore_config = botocore_config
        self.deferrable = deferrable
        self.waiter_delay = waiter_delay
        self.waiter_max_attempts = waiter_max_attempts
        self.pages: dict[str, str] = {}

    def execute(self, context: Context) -> dict[str, Any]:
        """Go on until things stand as they are to."""
        return self._go_on(context, [])

    def execute_complete(self, context: Context, event: dict[str, Any]) -> dict[str, Any]:
        """Look again, whatever woke this task, and go on."""
        return self._go_on(context, event["done"], failure=event.get("message"))

    @abstractmethod
    def _step(self, hook: ModelQualityHook, context: Context, done: list[str]) -> Wait | dict[str, Any]:
        """Look, and do the next thing; return what to wait for, or the result once all is done.

        What was changed is added to ``done``, in words.
        """

    def _go_on(self, context: Context, done: list[str], failure: str | None = None) -> dict[str, Any]:
        """Do step after step. What made a wait fail fails the task, unless the next step could go on all the same."""
        with failing_for_good():
            hook = self._hook()
            known = len(done)
            while isinstance(step := self._step(hook, context, done), Wait):
                if failure and len(done) == known:
                    raise SageMakerError(
                        expected=f"{step.waiter} of {' '.join(step.arguments.values())}",
                        came=failure,
                        where=self.task_id,
                        next_step="look at it in the SageMaker console; a retry of this task goes on from where it stands. "
                        "waiter_delay and waiter_max_attempts say how long it waits",
                    )
                known = len(done)
                if self.deferrable:
                    self._defer(step, done)
                failure = hook.wait(
                    step.waiter, delay=self.waiter_delay, max_attempts=self.waiter_max_attempts, **step.arguments
                )
            return step

    def _defer(self, wait: Wait, done: list[str]) -> None:
        from airflow_mq_provider.triggers.sagemaker import SageMakerWaiterTrigger

        self.defer(
            trigger=SageMakerWaiterTrigger(
                waiter_name=wait.waiter,
                waiter_args=wait.arguments,
                waiter_delay=self.waiter_delay,
                waiter_max_attempts=self.waiter_max_attempts,
                done=done,
                job=wait.job,
                **connection_of(self),
            ),
            method_name="execute_complete",
        )

    def _hook(self) -> ModelQualityHook:
        from airflow_mq_provider.hooks.sagemaker import ModelQualityHook

        return ModelQualityHook.over(**connection_of(self))

    def _note(self, done: list[str], what: str) -> None:
        done.append(what)
        self.log.info("%s.", what)


class JobOperator(StepwiseOperator):
    """An operator whose work SageMaker does in a Processing job.

    A job that an earlier try started is picked up. One that failed fails the try that started it; the next try starts
    another one under the next number. A task that is cancelled stops its job: in a worker by `on_kill`, in the triggerer
    where Airflow tells the trigger (3.3 and later).
    """

    operator_extra_links: tuple[Any, ...] = (ProcessingJobLink(), ProcessingJobLogsLink())

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._job: str | None = None

    def _job_of(
        self, hook: ModelQualityHook, done: list[str], request_of: Callable[[int], dict[str, Any]], *, number: int = 1
    ) -> Wait | dict[str, Any]:
        """Return the job that has ended, as SageMaker describes it, or what to wait for.

        ``request_of`` gives the request under a number, counted from 1, whose name no other number has; ``number`` is the
        first that may be taken. A job that had no data has ended like one that completed.

        Raises:
            SageMakerError: the job that this try started or waited for failed, or was stopped.
        """
        while True:
            request = request_of(number)
            name = request["ProcessingJobName"]
            job = hook.job(name)
            if job is None or job["ProcessingJobStatus"] not in ("Failed", "Stopped") or had_no_data(job):
                break
            if any(told.endswith(f" job {name}") for told in done):
                raise SageMakerError(
                    expected=f"a job {name} that completes",
                    came=f"{job['ProcessingJobStatus']}: {ended_with(job) or 'SageMaker gives no reason'}",
                    where=name,
                    next_step="look at its log (the link 'Logs of the job'); a retry starts another one",
                )
            number += 1
        self._job = name
        self.pages |= job_pages(name, hook.conn_region_name)
        if job is None:
            hook.ask("CreateProcessingJob", **request)
            self._note(done, f"started job {name}")
        elif job["ProcessingJobStatus"] in ("Completed", "Failed"):
            self._job = None
            self.log.info("Job %s: %s.", name, ended_with(job) or "completed")
            return job
        elif job["ProcessingJobStatus"] != "Stopping" and not any(told.endswith(f" job {name}") for told in done):
            self._note(done, f"picked up job {name}")
        return Wait("processing_job_completed_or_stopped", {"ProcessingJobName": name}, job=name)

    def on_kill(self) -> None:
        """Stop the job that this task waits for, unless it has ended meanwhile."""
        if self._job is None:
            return
        hook = self._hook()
        if (hook.job(self._job) or {}).get("ProcessingJobStatus") == "InProgress":
            hook.ask("StopProcessingJob", ProcessingJobName=self._job)


def had_no_data(job: Mapping[str, Any]) -> bool:
    """Tell whether a job failed only because nothing was there to work on."""
    return NO_DATA in (job.get("FailureReason") or "")


def ended_with(job: Mapping[str, Any]) -> str:
    """Return what SageMaker and the container say at the end of a job; empty where they say nothing."""
    return "; ".join(dict.fromkeys(job[key] for key in ("FailureReason", "ExitMessage") if job.get(key)))
