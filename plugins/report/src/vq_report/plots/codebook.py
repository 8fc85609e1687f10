"""codebook.png: a map of codes and latents, and the usage of each code."""

from __future__ import annotations

from pathlib import Path

import torch

from vq.files import write_bytes
from vq.models.autoencoder import VQModel
from vq_report.charts.png import charts_png
from vq_report.encoded_split import encode_split, manifold_of
from vq_report.sections.codebook_map import codebook_map, latent_map
from vq_report.sections.usage import usage_histogram
from vqcore.interfaces.dataset import Split

#: Held-out samples that are encoded, and codebooks drawn, at most.
SAMPLES, CODEBOOKS = 256, 4


def save_codebook(path: Path, model: VQModel, split: Split, device: torch.device) -> None:
    """Draw the first codebooks of a model, which encodes the held-out ``split`` in eval mode.

    A model without codes has its latents drawn alone.
    """
    encoded = encode_split(model, split, device, most=SAMPLES, kept=SAMPLES)
    charts = []
    for prefix, stats in encoded.first(CODEBOOKS):
        manifold = manifold_of(model, stats.number, len(encoded.codebooks))
        charts += [codebook_map(prefix, stats, manifold), usage_histogram(prefix, stats.counts)]
    if not charts:
        charts = [latent_map(encoded.latents, manifold_of(model, 0, 1))]
    write_bytes(path, charts_png(charts, columns=min(len(charts), 2)))
