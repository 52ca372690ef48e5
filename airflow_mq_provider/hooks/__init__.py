"""Hooks: what Airflow knows (a connection, the run a task is in), made into what the rooms below work with."""
