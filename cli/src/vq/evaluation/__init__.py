"""Metrics of a trained run: a kind a file, all from one pass over the samples."""
