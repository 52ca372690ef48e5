"""Operators: the tasks of a monitoring run."""
