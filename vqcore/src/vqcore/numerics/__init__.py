"""Numerically stable functions, random numbers, masks and learned curvatures."""
