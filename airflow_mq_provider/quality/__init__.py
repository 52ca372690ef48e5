"""What captures and labels mean: records, states, metrics, constraints and SageMaker's documents.

Everything here is pure: no Airflow, no boto3, no engine, no reading or writing of files.
"""
