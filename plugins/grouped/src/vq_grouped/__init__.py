"""Quantizers made of others: groups side by side, and stages one after the other."""
