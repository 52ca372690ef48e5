"""The task that lists a fleet: which monitors a folder holds when the DAG runs. Others are mapped over what it returns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import AssetAlias, BaseOperator

from airflow_mq_provider.hooks.task_context import connection_of, monitor_file

if TYPE_CHECKING:
    from airflow.sdk import Context


class MonitorFolderOperator(BaseOperator):
    """Lists the files of monitors in a folder, for `fleet_tasks` to be mapped over; nothing is read before the task runs.

    Returns a list of ``{"name", "file", "fault"}`` in the order of the files' names: where each file lies, not what it says. A file
    that declares no monitor is in it under its own name, and its own tasks say what is wrong. Two files of one monitor name both get a
    fault, and so does what stands for the files beyond ``[core] max_map_length``. Every fault is in this task's log too.

    Args:
        folder: The path or URI of the folder, in which files end in ``.yaml``, ``.yml`` or ``.json``; a relative path is relative to the DAG
            file, and templates are rendered.
        aws_conn_id: The connection for S3.
        region_name: Another region than the connection's.
        verify: How certificates are verified, where not as the connection says.
        botocore_config: Further settings of S3 clients.
        **kwargs: What every operator takes.
    """

    template_fields: Sequence[str] = ("folder", "aws_conn_id", "region_name", "verify")
    ui_color = "#e8ece4"

    def __init__(
        self,
        *,
        folder: str,
        aws_conn_id: str | None = "aws_default",
        region_name: str | None = None,
        verify: bool | str | None = None,
        botocore_config: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.folder = folder
        self.aws_conn_id = aws_conn_id
        self.region_name = region_name
        self.verify = verify
        self.botocore_config = botocore_config

    def execute(self, context: Context) -> list[dict[str, Any]]:
        """List, say what is wrong, and return the members."""
        from airflow_mq_provider.airflow_internals import of_airflow
        from airflow_mq_provider.fleet import fleet
        from airflow_mq_provider.hooks.model_quality import storage_for

        folder = monitor_file(self.folder, folder=context["dag"].folder)
        storage, _ = storage_for([folder], **connection_of(self))
        limit = of_airflow("conf").getint("core", "max_map_length", fallback=1024)
        found = fleet(folder, storage, limit=limit)
        self.log.info("%d monitors in %s.", len(found.members), folder)
        if found.ignored:
            self.log.info("%d other files are no monitors' by their ending: %s", len(found.ignored), found.ignored[:10])
        for member in found.members:
            if member.fault is not None:
                self.log.error("%s will not be judged: %s", member.name, member.error)
        return [member.as_dict() for member in found.members]


def fleet_alias(folder: str) -> AssetAlias:
    """Return the alias that leads to the asset of whichever monitor of a folder is judged; a DAG can be scheduled on it."""
    return AssetAlias(f"x-model-quality:{folder}")
