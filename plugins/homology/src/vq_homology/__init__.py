"""Persistent homology of a codebook as a regularizer: how codes hold together (H0) and which loops they form (H1)."""
