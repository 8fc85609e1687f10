"""The autoencoder: a backbone (encoder and decoder) around a bottleneck."""
