"""What is measured of runs of the rotation trick, without evaluating them again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import vq


def trained(run: vq.TrainedRun) -> Mapping[str, float]:
    """The held-out metrics that the run ended with, and its parameters in millions.

    ``reconstruction`` is the mean squared error in the data's own range.
    """
    metrics = {name: value for name, value in run.metrics.items() if isinstance(value, int | float)}
    low, high = run.samples.value_range
    metrics["reconstruction"] = metrics["mse"] * (high - low) ** 2
    metrics["parameters"] = run.model.parameter_count / 1e6
    return metrics


def both_splits(run: vq.TrainedRun) -> Mapping[str, float]:
    """The paper's losses on held-out data, and in training since the log line before the last.

    The total is reconstruction + (1 + beta) codebook, as the paper adds it up.
    """
    quantizer: Any = run.config.components["quantizer"].options
    measured: dict[str, float] = {}
    for split, found in (("train", run.history[-1]), ("test", trained(run))):
        codebook, reconstruction = found["quantization_error"], found["reconstruction"]
        measured |= {
            f"{split}_total": reconstruction + (1 + quantizer.commitment_weight) * codebook,
            f"{split}_reconstruction": reconstruction,
            f"{split}_codebook": codebook,
            f"{split}_perplexity": found["perplexity"],
        }
    return measured
