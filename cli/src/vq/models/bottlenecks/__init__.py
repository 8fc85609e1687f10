"""What is between encoder and decoder: one or several layers of codes, or a baseline without."""
