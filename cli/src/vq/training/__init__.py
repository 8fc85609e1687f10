"""Trains a run: the trainer, the loop, and what starts them (``launch``)."""
