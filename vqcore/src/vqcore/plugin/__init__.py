"""What a plugin declares, and how it is found and loaded. Torch-free."""
