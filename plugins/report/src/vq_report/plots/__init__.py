"""The PNG files that a run leaves in its folder, one module each."""

from vq_report.plots.codebook import save_codebook
from vq_report.plots.curves import save_curves
from vq_report.plots.samples import save_reconstructions, spread_samples

__all__ = ["save_codebook", "save_curves", "save_reconstructions", "spread_samples"]
