"""The rotation trick as a gradient estimator."""
