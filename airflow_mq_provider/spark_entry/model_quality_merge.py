"""The file that a cluster is given to run, where it asks for one: `airflow_mq_provider.spark_job`, installed there, does it all."""

from __future__ import annotations

from airflow_mq_provider.spark_job import main

if __name__ == "__main__":
    main()
