"""The pictures a run leaves behind, one file each."""

from vq.pipeline.pictures.codebook import save_codebook
from vq.pipeline.pictures.curves import save_curves
from vq.pipeline.pictures.reconstructions import save_reconstructions

__all__ = ["save_codebook", "save_curves", "save_reconstructions"]
