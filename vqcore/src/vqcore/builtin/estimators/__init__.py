"""The built-in gradient estimators."""
