"""Encoders and decoders, a file each."""
