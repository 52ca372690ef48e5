"""An account with a job definition, its endpoint and its schedules: moto's, and the calls that moto has not."""

from __future__ import annotations

import copy
import uuid
from typing import Any

import pytest
from botocore.exceptions import ClientError

ROLE = "arn:aws:iam::123456789012:role/monitor"
DEFINITION: dict[str, Any] = {
    "ModelQualityAppSpecification": {
        "ImageUri": "156813124566.dkr.ecr.us-east-1.amazonaws.com/sagemaker-model-monitor-analyzer",
        "ProblemType": "BinaryClassification",
        "Environment": {"publish_cloudwatch_metrics": "Enabled"},
    },
    "ModelQualityBaselineConfig": {"ConstraintsResource": {"S3Uri": "s3://bucket/baseline/constraints.json"}},
    "ModelQualityJobInput": {
        "EndpointInput": {
            "EndpointName": "churn",
            "LocalPath": "/opt/ml/processing/input_data",
            "ProbabilityAttribute": "0",
            "StartTimeOffset": "-P8D",
            "EndTimeOffset": "-P1D",
        },
        "GroundTruthS3Input": {"S3Uri": "s3://bucket/labels"},
    },
    "ModelQualityJobOutputConfig": {
        "MonitoringOutputs": [{"S3Output": {"S3Uri": "s3://bucket/reports", "LocalPath": "/opt/ml/processing/output"}}]
    },
    "JobResources": {"ClusterConfig": {"InstanceCount": 1, "InstanceType": "ml.m5.xlarge", "VolumeSizeInGB": 20}},
    "RoleArn": ROLE,
    "StoppingCondition": {"MaxRuntimeInSeconds": 1800},
    "Tags": [{"Key": "team", "Value": "ml"}],
}


class Account:
    """A client of SageMaker on the loopback interface; names are new for each test, as the server is shared."""

    def __init__(self, endpoint_url: str) -> None:
        import boto3

        self._client = boto3.client("sagemaker", region_name="us-east-1", endpoint_url=endpoint_url)
        self.meta = self._client.meta
        self.suffix = uuid.uuid4().hex[:8]
        self.schedules: dict[str, dict[str, Any]] = {}
        self.refused: set[str] = set()

    def define(self, **changes: Any) -> str:
        """A job definition of the endpoint ``churn-…``, and its name."""
        definition = {**copy.deepcopy(DEFINITION), **changes}
        name = f"definition-{self.suffix}"
        source = definition["ModelQualityJobInput"].get("EndpointInput")
        if source:
            source["EndpointName"] = f"churn-{self.suffix}"
        self._client.create_model_quality_job_definition(JobDefinitionName=name, **definition)
        return name

    def serve(self, *variants: str, captures: bool = True) -> None:
        """The endpoint, with these variants."""
        name = f"churn-{self.suffix}"
        capture = {
            "InitialSamplingPercentage": 100,
            "DestinationS3Uri": "s3://bucket/capture",
            "CaptureOptions": [{"CaptureMode": "Output"}],
        }
        self._client.create_model(ModelName=name, ExecutionRoleArn=ROLE, PrimaryContainer={"Image": "x"})
        self._client.create_endpoint_config(
            EndpointConfigName=name,
            ProductionVariants=[
                {"VariantName": one, "ModelName": name, "InitialInstanceCount": 1, "InstanceType": "ml.m5.xlarge"}
                for one in variants
            ],
            **({"DataCaptureConfig": capture} if captures else {}),
        )
        self._client.create_endpoint(EndpointName=name, EndpointConfigName=name)

    def schedule(self, name: str, definition_name: str, kind: str = "ModelQuality", **when: str) -> None:
        self.schedules[name] = {
            "MonitoringScheduleName": name,
            "MonitoringType": kind,
            "MonitoringScheduleConfig": {
                **({"ScheduleConfig": when} if when else {}),
                "MonitoringJobDefinitionName": definition_name,
                "MonitoringType": kind,
            },
        }

    def describe_monitoring_schedule(self, *, MonitoringScheduleName: str) -> dict[str, Any]:
        if MonitoringScheduleName not in self.schedules:
            raise self._error("ResourceNotFound", "DescribeMonitoringSchedule")
        return copy.deepcopy(self.schedules[MonitoringScheduleName])

    def list_monitoring_schedules(self, **given: Any) -> dict[str, Any]:
        if "ListMonitoringSchedules" in self.refused:
            raise self._error("AccessDeniedException", "ListMonitoringSchedules")
        assert given["MonitoringTypeEquals"] == "ModelQuality"
        found = [
            {"MonitoringScheduleName": name}
            for name, schedule in self.schedules.items()
            if schedule["MonitoringScheduleConfig"]["MonitoringJobDefinitionName"]
            == given["MonitoringJobDefinitionName"]
        ]
        return {"MonitoringScheduleSummaries": found}

    def list_tags(self, **given: Any) -> dict[str, Any]:
        """Two pages, with a tag of AWS's own on the second."""
        if "ListTags" in self.refused:
            raise self._error("AccessDeniedException", "ListTags")
        if "NextToken" not in given:
            return {**self._client.list_tags(**given), "NextToken": "more"}
        return {"Tags": [{"Key": "aws:cloudformation:stack-name", "Value": "x"}]}

    def _error(self, code: str, operation: str) -> ClientError:
        return ClientError({"Error": {"Code": code, "Message": f"User is not authorized or so: {code}"}}, operation)

    def __getattr__(self, operation: str) -> Any:
        return getattr(self._client, operation)


@pytest.fixture
def account(s3_endpoint: str) -> Account:
    """An account of SageMaker, on the server that is S3 as well."""
    return Account(s3_endpoint)
