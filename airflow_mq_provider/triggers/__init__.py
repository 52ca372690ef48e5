"""Triggers: what the sensors leave in the triggerer while they wait."""
