"""A codebook learned by exponential moving averages, on any manifold."""
