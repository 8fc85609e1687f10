"""Training a run: its set-up and loop (``run``), how it is launched, and what watches over it."""
