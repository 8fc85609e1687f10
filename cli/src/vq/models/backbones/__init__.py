"""Encoders and decoders: what a pair is (``base``), and one file for each family."""
