"""Quantizers without a table of codes: each coordinate is rounded by itself."""
