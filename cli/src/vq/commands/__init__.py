"""The commands of ``vq``, one file each, thin over the pipeline."""
