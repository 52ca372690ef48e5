"""Users of an Airflow of tests: `reader` may see every DAG, `stranger` none."""

from __future__ import annotations

from typing import Any

from airflow.api_fastapi.auth.managers.simple.simple_auth_manager import SimpleAuthManager


class ByDag(SimpleAuthManager):
    """Airflow's simple users, of whom one may see no DAG; theirs alone differ by no DAG."""

    def is_authorized_dag(self, *, user: Any, **asked: Any) -> bool:
        return user.username != "stranger" and super().is_authorized_dag(user=user, **asked)
