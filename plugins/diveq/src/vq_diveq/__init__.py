"""DiVeQ as a gradient estimator."""
