"""The training pipeline: everything ``vq`` does, importable without the command line."""
