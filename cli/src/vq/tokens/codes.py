"""The codes of a whole split at once, and the codebook that each belongs to."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from vq.models.autoencoder import VQModel
from vq.runs.trained_run import TrainedRun
from vqcore.errors import RunError

SplitName: TypeAlias = Literal["train", "test"]

_BATCH = 256


def split_batches(
    run: TrainedRun, split: SplitName, rows: Tensor | None = None
) -> Iterator[Tensor]:
    """Batches (B, *shape) of the samples with numbers ``rows``, all by default; no augmentation."""
    samples = run.source.split(split)
    rows = torch.arange(len(samples)) if rows is None else rows
    return samples.batches(rows.split(_BATCH), run.device)


def encode_split(run: TrainedRun, split: SplitName, rows: Tensor | None = None) -> Tensor:
    """Indices (N, *index_shape), int64, of the samples of ``split_batches``.

    Raises:
        SettingError: if the data set's files are missing.
        RunError: if a latent is NaN, inf or huge and therefore has no code.
    """
    batches = split_batches(run, split, rows)
    with run.float32_products():
        indices = torch.cat([run.model.encode(batch).cpu() for batch in batches])
    invalid = int((indices < 0).flatten(1).any(1).sum())
    if invalid:
        count = f"{invalid} of {len(indices)} samples of {split}"
        raise RunError(f"{run.checkpoint}: {count} have latents that are NaN, inf or huge")
    return indices


def codebook_numbers(model: VQModel) -> list[int]:
    """The codebook of each index of a flattened sample: each group, stage and level has one."""
    lengths = [math.prod(shape) for shape in model.latent_shapes]
    parts = math.prod(model.index_shape) // sum(lengths)
    levels = [level for level, length in enumerate(lengths) for _ in range(length)]
    return [level * parts + part for level in levels for part in range(parts)]
