"""An Airflow connection as the storage that runs read and write, and as the CloudWatch that they publish to."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow.providers.amazon.aws.hooks.s3 import S3Hook

from airflow_mq_provider.airflow_internals import aws_hook, s3_clients
from airflow_mq_provider.storage import Storage, is_s3

if TYPE_CHECKING:
    from airflow_mq_provider.publish.cloudwatch import CloudWatch


class ModelQualityStorageHook(S3Hook):
    """S3 over an Airflow connection of type ``aws``, made into a `Storage`.

    Credentials come from the connection: access key, assumed role, profile or session factory, whatever it says. Where
    there is no connection named ``aws_default``, or ``aws_conn_id`` is None, boto3's own chain decides, as in the amazon
    provider. A connection of another name that is missing is an error here: whoever names one does not want the machine's
    own account instead. ``endpoint_url`` is honoured.

    Of the connection's extra, ``service_config.s3.expected_bucket_owner`` is read here: the account id that must own each
    bucket.
    """

    def storage(self, *, kms_key_id: str | None = None) -> Storage:
        """Return a storage whose S3 clients use this connection, in this process and in forked children.

        The connection is read now, and not when the first object is. ``kms_key_id`` encrypts what is written.
        """
        owner = self.service_config.get("expected_bucket_owner")
        return Storage(
            self._clients[0],
            kms_key_id=kms_key_id,
            expected_bucket_owner=owner,
            only_boto3=self.verify not in (None, True),
        )

    @property
    def s3_region(self) -> str | None:
        """The region that S3 clients talk to, or None where nothing names one."""
        return self._clients[1]

    @cached_property
    def _clients(self) -> tuple[Callable[[], Any], str | None]:
        require_connection(self)
        return s3_clients(self)


def require_connection(hook: Any) -> None:
    """Raise where a hook's connection is missing, of which the amazon provider only warns; ``aws_default`` may be absent."""
    if hook.aws_conn_id and hook.aws_conn_id != hook.default_conn_name:
        hook.get_connection(hook.aws_conn_id)


def storage_for(
    uris: Iterable[str],
    *,
    aws_conn_id: str | None,
    region_name: str | None = None,
    verify: bool | str | None = None,
    botocore_config: dict[str, Any] | None = None,
    kms_key_id: str | None = None,
) -> tuple[Storage, str | None]:
    """Return the storage that reaches these URIs, and the region of S3.

    Where none of them lies on S3 no connection is asked for, so local files need no connection, and the region is None.
    """
    if not any(is_s3(uri) for uri in uris):
        return Storage(), None
    hook = ModelQualityStorageHook(
        aws_conn_id=aws_conn_id, region_name=region_name, verify=verify, config=botocore_config
    )
    return hook.storage(kms_key_id=kms_key_id), hook.s3_region


def cloudwatch_for(
    *,
    aws_conn_id: str | None,
    region_name: str | None = None,
    verify: bool | str | None = None,
    botocore_config: dict[str, Any] | None = None,
    namespace: str | None = None,
) -> CloudWatch:
    """Return where metrics are published over a connection, asked for as `ModelQualityStorageHook` does.

    ``service_config.cloudwatch.endpoint_url`` of its extra is honoured, and ``botocore_config`` goes before the settings that
    keep a run from waiting long for CloudWatch. None is SageMaker's namespace.
    """
    from botocore.config import Config

    from airflow_mq_provider.publish.cloudwatch import CloudWatch, client_config

    hook = aws_hook(
        "cloudwatch",
        aws_conn_id=aws_conn_id,
        region_name=region_name,
        verify=verify,
        config=client_config().merge(Config(**(botocore_config or {}))),
    )
    if aws_conn_id and aws_conn_id != hook.default_conn_name:
        hook.get_connection(aws_conn_id)  # raises where there is none; the amazon provider only warns
    return CloudWatch(hook.get_conn, namespace)
