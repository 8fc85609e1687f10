"""What stands between encoder and decoder besides vqcore's layer: several levels of it, and baselines without codes."""
