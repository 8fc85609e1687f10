"""The search for the nearest code, used by every manifold."""
