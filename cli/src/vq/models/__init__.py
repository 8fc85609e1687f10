"""The autoencoder: a backbone around a bottleneck."""
