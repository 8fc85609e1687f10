"""A codebook that is searched as a tree."""
