"""Model quality monitoring for Apache Airflow 3.

Public names are loaded on first use, so that importing this package, which Airflow does to discover providers and every
DAG file does to be parsed, costs next to nothing and imports neither Airflow nor a client of AWS.
"""

from __future__ import annotations

__version__ = "0.1.0"
