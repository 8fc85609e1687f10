"""Figures of a trained run beside those of its training: one file a kind, all from one pass over the samples."""
