"""SageMaker over an Airflow connection: job definitions, schedules, executions, Processing jobs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import cached_property
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from airflow.providers.amazon.aws.hooks.sagemaker import SageMakerHook

from airflow_mq_provider.exceptions import InputError, ModelMonitorClosedError, SageMakerError
from airflow_mq_provider.hooks.model_quality import require_connection, storage_for

if TYPE_CHECKING:
    from airflow_mq_provider.quality.documents import Statistics
    from airflow_mq_provider.storage import Storage

#: how long after its slot SageMaker may start an execution
MAX_LAG = timedelta(minutes=20)
#: the states in which an execution stays
TERMINAL = ("Completed", "CompletedWithViolations", "Failed", "Stopped")

_CLOSED = ("maintenance mode", "not available to new customers", "no longer available to new customers")
_ABSENT = ("Could not find", "does not exist")
_MARGIN = timedelta(minutes=1)


class ModelQualityHook(SageMakerHook):
    """SageMaker's Model Monitor over an Airflow connection of type ``aws``.

    A connection of another name than ``aws_default`` that is missing is an error, as in the rest of this package. Calls
    that are throttled are repeated by botocore's adaptive mode, unless the connection or ``config`` says otherwise. What
    SageMaker refuses comes up as a `SageMakerError` that names the call; what is not there is None, never an error.
    """

    @classmethod
    def over(
        cls,
        *,
        aws_conn_id: str | None,
        region_name: str | None = None,
        verify: bool | str | None = None,
        botocore_config: dict[str, Any] | None = None,
    ) -> ModelQualityHook:
        """Return the hook over a connection, by the names that operators, sensors and triggers give its arguments."""
        return cls(aws_conn_id=aws_conn_id, region_name=region_name, verify=verify, config=botocore_config)

    @cached_property
    def conn_config(self) -> Any:
        """The connection, wrapped by the amazon provider."""
        require_connection(self)
        return super().conn_config

    @property
    def config(self) -> Any:
        """The configuration of clients: adaptive retries, and over them what connection and arguments say."""
        from botocore.config import Config

        return Config(retries={"mode": "adaptive", "max_attempts": 8}).merge(super().config)

    def get_waiter(
        self,
        waiter_name: str,
        parameters: dict[str, str] | None = None,
        config_overrides: dict[str, Any] | None = None,
        deferrable: bool = False,
        client: Any = None,
    ) -> Any:
        """Return a waiter of this package, else one of the amazon provider's, else one of boto's own.

        Ours stand in ``sagemaker/waiters/sagemaker.json`` and take no ``parameters``. With ``deferrable`` the waiter is an
        asynchronous one, and ``client`` must be given.
        """
        model = json.loads(files("airflow_mq_provider.sagemaker").joinpath("waiters/sagemaker.json").read_bytes())
        if waiter_name not in model["waiters"]:
            return super().get_waiter(waiter_name, parameters, config_overrides, deferrable, client)
        from botocore.waiter import WaiterModel, create_waiter_with_client

        model["waiters"][waiter_name].update(config_overrides or {})
        if deferrable:
            from aiobotocore.waiter import create_waiter_with_client as create_async_waiter_with_client

            return create_async_waiter_with_client(waiter_name, WaiterModel(model), client)
        return create_waiter_with_client(waiter_name, WaiterModel(model), client or self.conn)

    def wait(self, waiter_name: str, *, delay: float, max_attempts: int, **arguments: str) -> str | None:
        """Wait with one of the waiters in this process. Returns None once it is satisfied, else why it will not be."""
        from botocore.exceptions import WaiterError

        try:
            config = {"Delay": delay, "MaxAttempts": max_attempts}
            self.get_waiter(waiter_name).wait(**arguments, WaiterConfig=config)
        except WaiterError as error:
            return f"{type(error).__name__}: {error}"
        return None

    # --- job definitions

    def definition(self, name: str) -> dict[str, Any] | None:
        """Return what SageMaker says of a job definition; None where there is none."""
        return self._described("DescribeModelQualityJobDefinition", JobDefinitionName=name)

    def definitions(self, name_contains: str) -> list[str]:
        """Return the names of the model quality job definitions whose name contains a text, in order."""
        found = self._listed("ListModelQualityJobDefinitions", "JobDefinitionSummaries", NameContains=name_contains)
        return sorted(one["MonitoringJobDefinitionName"] for one in found)

    def create_definition(self, request: Mapping[str, Any]) -> str:
        """Create a job definition, and return its ARN."""
        return str(self.ask("CreateModelQualityJobDefinition", **request)["JobDefinitionArn"])

    def delete_definition(self, name: str) -> None:
        """Delete a job definition that is there."""
        self.ask("DeleteModelQualityJobDefinition", JobDefinitionName=name)

    # --- schedules

    def schedule(self, name: str) -> dict[str, Any] | None:
        """Return what SageMaker says of a schedule; None where there is none."""
        return self._described("DescribeMonitoringSchedule", MonitoringScheduleName=name)

    def schedules_of(self, definition_name: str) -> list[str]:
        """Return the names of the schedules that run a job definition."""
        found = self._listed(
            "ListMonitoringSchedules", "MonitoringScheduleSummaries", MonitoringJobDefinitionName=definition_name
        )
        return sorted(one["MonitoringScheduleName"] for one in found)

    # --- executions

    def executions(
        self, schedule_name: str, *, scheduled_from: datetime | None = None, scheduled_to: datetime | None = None
    ) -> list[dict[str, Any]]:
        """Return SageMaker's summaries of a schedule's executions, by scheduled time, the earliest first.

        Both bounds of the scheduled time are included; without them all executions that SageMaker still knows are listed.
        """
        # AWS does not say whether its bounds are included, so they are set wider and kept here
        bounds: dict[str, Any] = {}
        if scheduled_from is not None:
            bounds["ScheduledTimeAfter"] = scheduled_from - _MARGIN
        if scheduled_to is not None:
            bounds["ScheduledTimeBefore"] = scheduled_to + _MARGIN
        found = self._listed(
            "ListMonitoringExecutions",
            "MonitoringExecutionSummaries",
            MonitoringScheduleName=schedule_name,
            SortBy="ScheduledTime",
            SortOrder="Ascending",
            **bounds,
        )
        return [
            one
            for one in found
            if (scheduled_from is None or scheduled_from <= one["ScheduledTime"])
            and (scheduled_to is None or one["ScheduledTime"] <= scheduled_to)
        ]

    def execution_of(self, schedule_name: str, scheduled_time: datetime) -> dict[str, Any] | None:
        """Return the execution of one slot, which starts up to twenty minutes late; None where there is none (yet)."""
        found = self.executions(schedule_name, scheduled_from=scheduled_time, scheduled_to=scheduled_time + MAX_LAG)
        return found[0] if found else None

    # --- Processing jobs

    def job(self, name: str) -> dict[str, Any] | None:
        """Return what SageMaker says of a Processing job; None where there is none."""
        return self._described("DescribeProcessingJob", ProcessingJobName=name)

    # --- documents

    def storage(self, *uris: str, kms_key_id: str | None = None) -> Storage:
        """Return the storage that reaches these URIs over the same connection."""
        storage, _ = storage_for(
            uris,
            aws_conn_id=self.aws_conn_id,
            region_name=self._region_name,
            verify=self._verify,
            botocore_config=self._config,
            kms_key_id=kms_key_id,
        )
        return storage

    def documents(self, report_prefix: str) -> tuple[Statistics, list[dict[str, Any]]]:
        """Return the statistics and the violations that lie under the prefix of a report.

        SageMaker writes no list of violations where there were no constraints: it is then empty.

        Raises:
            InputError: there are no statistics, or they cannot be read.
        """
        from airflow_mq_provider.quality import documents
        from airflow_mq_provider.storage import join

        storage = self.storage(report_prefix)
        source = join(report_prefix, "statistics.json")
        statistics = documents.read_statistics(documents.loads(storage.read(source), source), source)
        listed = join(report_prefix, "constraint_violations.json")
        if not storage.exists(listed):
            return statistics, []
        violations = documents.loads(storage.read(listed), listed).get("violations")
        if not isinstance(violations, list):
            raise InputError(
                expected='a list under "violations"',
                came=f"{type(violations).__name__}",
                where=listed,
                next_step="look at the document; SageMaker writes it at the end of an execution",
            )
        return statistics, violations

    # --- calls

    def ask(self, operation: str, **request: Any) -> dict[str, Any]:
        """Call an operation of SageMaker by its name, and return the answer.

        Raises:
            ModelMonitorClosedError: this account may not have Model Monitor.
            SageMakerError: SageMaker refused for another reason.
        """
        from botocore import xform_name

        with _refusals(operation, request):
            answer: dict[str, Any] = getattr(self.conn, xform_name(operation))(**request)
            return answer

    def _listed(self, operation: str, key: str, **filters: Any) -> list[dict[str, Any]]:
        from botocore import xform_name

        with _refusals(operation, filters):
            pages = self.conn.get_paginator(xform_name(operation)).paginate(
                **filters, PaginationConfig={"PageSize": 100}
            )
            return [one for page in pages for one in page[key]]

    def _described(self, operation: str, **name: str) -> dict[str, Any] | None:
        try:
            answer = self.ask(operation, **name)
        except SageMakerError as error:
            # of a Processing job SageMaker says that it is absent by a ValidationException
            if error.code == "ResourceNotFound" or any(sign in error.came for sign in _ABSENT):
                return None
            raise
        answer.pop("ResponseMetadata", None)
        return answer


@contextmanager
def _refusals(operation: str, request: Mapping[str, Any]) -> Iterator[None]:
    """Turn what SageMaker refuses into errors that say what to do."""
    from botocore.exceptions import ClientError

    try:
        yield
    except ClientError as error:
        answer = error.response.get("Error", {})
        code, message = str(answer.get("Code", "")), str(answer.get("Message", ""))
        named = next((str(value) for key, value in request.items() if key.endswith("Name")), "")
        where = f"sagemaker:{operation} {named}".rstrip()
        if code == "ValidationException" and any(sign in message for sign in _CLOSED):
            raise ModelMonitorClosedError(
                expected="an account that may use SageMaker Model Monitor",
                came=f"{code}: {message}",
                where=where,
                next_step="AWS has closed Model Monitor to accounts that had not used it, and no permission or quota changes "
                "that: give the same monitor to model_quality_dag, which needs no Model Monitor",
                code=code,
            ) from error
        if code.startswith("AccessDenied"):
            next_step = f"grant sagemaker:{operation} to the connection's identity; docs/iam.md has whole policies"
        elif code == "ResourceLimitExceeded":
            next_step = "delete what is not needed, or ask AWS for a higher quota"
        else:
            next_step = "correct what it names; docs/sagemaker.md tells what each operator sends"
        raise SageMakerError(
            expected="an answer of SageMaker", came=f"{code}: {message}", where=where, next_step=next_step, code=code
        ) from error
