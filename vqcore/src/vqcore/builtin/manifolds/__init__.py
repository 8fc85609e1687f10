"""Manifolds that need no plugin."""
