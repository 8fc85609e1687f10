"""Quantizers that need no plugin."""
