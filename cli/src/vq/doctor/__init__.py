"""What ``vq doctor`` finds out about this machine and what is installed, one check a file."""
