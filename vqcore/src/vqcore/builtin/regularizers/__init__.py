"""Regularizers that need no plugin."""
