"""The search for the nearest code, the only place that does it."""
