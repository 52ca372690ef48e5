"""Hooks: Airflow connections made into the storage that runs read and write."""
