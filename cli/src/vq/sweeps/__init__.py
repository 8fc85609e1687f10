"""Every combination of some settings, each with several seeds, as one run each. Torch-free."""
