"""The run folder: its files, where they came from, and a trained run read back."""
