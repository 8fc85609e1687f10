"""Gradient estimators that need no plugin."""
