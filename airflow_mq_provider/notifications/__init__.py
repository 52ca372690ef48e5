"""Who is told of a verdict: a notifier that goes through Airflow's own."""
