"""vq: the command line and the training pipeline of vqcore."""
