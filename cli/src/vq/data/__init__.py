"""The data sets, a file each, and reading any files for a trained model."""
