"""All codes of a split at once: what is learned from the codes of a trained run."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from vq.models.autoencoder import VQModel
from vq.runs.trained_run import TrainedRun
from vqcore.errors import RunError

_BATCH = 256


def codes_of(run: TrainedRun, split: str, rows: Tensor | None = None) -> Tensor:
    """Indices of samples of ``train`` or ``test``, as they are without augmentation, (N, *index_shape) int64.

    Args:
        run: the trained run.
        split: the split's name.
        rows: numbers of the samples, all by default.

    Raises:
        SettingError: if the data set's files are not there.
        RunError: if a latent is NaN or inf, which has no code.
    """
    samples = run.source.split(split)
    rows = torch.arange(len(samples)) if rows is None else rows
    batches = samples.batches(rows.split(_BATCH), run.device)
    found = torch.cat([run.model.encode(batch).cpu() for batch in batches])
    bad = int((found < 0).flatten(1).any(1).sum())
    if bad:
        raise RunError(
            f"{run.checkpoint}: {bad} of {len(found)} samples of {split} have latents that are NaN or inf"
        )
    return found


def books_of(model: VQModel) -> list[int]:
    """Which codebook each index of a flattened sample belongs to: groups and stages, and each level has its own."""
    lengths = [math.prod(shape) for shape in model.latent_shapes]
    parts = math.prod(model.index_shape) // sum(lengths)
    levels = [level for level, length in enumerate(lengths) for _ in range(length)]
    return [level * parts + part for level in levels for part in range(parts)]
