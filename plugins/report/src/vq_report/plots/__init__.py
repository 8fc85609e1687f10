"""The pictures a run leaves behind, one file each."""

from vq_report.plots.codebook import save_codebook
from vq_report.plots.curves import save_curves
from vq_report.plots.reconstructions import save_reconstructions

__all__ = ["save_codebook", "save_curves", "save_reconstructions"]
