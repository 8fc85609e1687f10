"""Held-out metrics as a table for people."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from vq.terminal import Terminal

UNITS = {
    "psnr": "dB",
    "mse": "of the unit range",
    "normalized_mse": "of the training data's variance",
    "normalized_mse_constant": "of a constant image",
    "normalized_mse_mean": "of the mean training image",
    "accuracy": "of the samples",
    "cross_entropy": "nats a sample",
    "seconds": "s",
    "tree_correlation": "of distances, clean nodes",
    "tree_correlation_noisy": "nodes with 10 % of the bits flipped",
    "tree_correlation_latents": "without quantization",
    "tree_codes": "distinct among the nodes",
    "tree_map": "average precision of ancestors",
    "tree_mean_rank": "of ancestors; 1 is best",
    "tree_radius_level": "rank correlation",
    "tree_distortion": "mean relative error of distances",
    "images_per_second": "samples/s",
    "usage": "of the codes",
    "index_bits_per_pixel": "log2 of the codes for each index",
    "index_bits_per_value": "log2 of the codes for each index",
    "entropy_bits_per_pixel": "entropy of the usage",
    "entropy_bits_per_value": "entropy of the usage",
}


def metrics_table(metrics: Mapping[str, Any]) -> Table:
    """A row a metric, with its unit."""
    table = Table("held-out", "value", "", box=SIMPLE_HEAD)
    for name, value in metrics.items():
        number = f"{value:.5g}" if isinstance(value, float) else str(value)
        table.add_row(name, number, UNITS.get(name, ""))
    return table


def metrics_text(metrics: Mapping[str, Any]) -> str:
    """The same table as text."""
    file = io.StringIO()
    Terminal(file=file, width=100, color_system=None).print(metrics_table(metrics))
    return "\n".join(line.rstrip() for line in file.getvalue().splitlines())
