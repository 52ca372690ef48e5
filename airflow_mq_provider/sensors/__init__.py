"""Sensors: waiting for captures and for labels."""
