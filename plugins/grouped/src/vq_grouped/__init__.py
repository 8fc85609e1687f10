"""Quantizers made of others: groups of dimensions, and residual stages."""
