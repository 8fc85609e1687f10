"""What is measured of a trained run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

import vq
from vq.composition import compose, given_values
from vq.evaluation.baselines import Baselines
from vq.models.autoencoder import build_source


def evaluated(run: vq.TrainedRun) -> Mapping[str, float]:
    """The numbers of ``vq evaluate``."""
    return {
        name: value
        for name, value in vq.evaluate(run).items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }


def probed(run: vq.TrainedRun) -> Mapping[str, float]:
    """What ``evaluated`` returns, and the accuracy of a linear classifier.

    ``accuracy`` is of the codes, and ``samples_accuracy`` of the samples themselves.
    """
    result = vq.probe(run, samples=2000, seeds=1)
    accuracy = {row.features: row.accuracy for row in result.rows}
    own = accuracy.get("pixels", accuracy.get("values", 0.0))
    return {**evaluated(run), "accuracy": accuracy["codes"], "samples_accuracy": own}


def constant_image(settings: Mapping[str, Any]) -> Mapping[str, float]:
    """The ``normalized_mse`` of the training data's mean value, whatever the sample."""
    return {"normalized_mse": _guessed(settings)["normalized_mse_constant"]}


def mean_image(settings: Mapping[str, Any]) -> Mapping[str, float]:
    """The ``normalized_mse`` of the mean training sample, whatever the sample."""
    return {"normalized_mse": _guessed(settings)["normalized_mse_mean"]}


def _guessed(settings: Mapping[str, Any]) -> Mapping[str, float]:
    source, cpu = build_source(*compose(given_values({}, settings))), torch.device("cpu")
    found = Baselines(source.split("train"), source.shape, 256, cpu)
    test = source.split("test")
    for batch in test.batches(torch.arange(len(test)).split(256), cpu):
        found.update(batch, batch)
    return found.compute()
