"""The codes of a whole split at once, and the codebook that each belongs to."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from vq.models.autoencoder import VQModel
from vq.processes.together import agreed, main_first, rank, world
from vq.progress import working
from vq.runs.trained_run import TrainedRun
from vqcore.distributed import sum_over_ranks
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
    with working("reading the data"):
        samples = len(run.source.split(split)) if rows is None else len(rows)
    with run.float32_products(), working(f"encoding {split}", samples, "samples") as task:
        batches = task.through(split_batches(run, split, rows))
        indices = torch.cat([run.model.encode(batch).cpu() for batch in batches])
    invalid = int((indices < 0).flatten(1).any(1).sum())
    if invalid:
        count = f"{invalid} of {len(indices)} samples of {split}"
        raise RunError(f"{run.checkpoint}: {count} have latents that are NaN, inf or huge")
    return indices


def encode_together(run: TrainedRun, split: SplitName, rows: Tensor | None = None) -> Tensor:
    """``encode_split``, of whose batches each process encodes a part; all get the whole.

    Every process calls it. The batches, and so the indices, are those of one process.
    """
    samples = main_first(lambda: run.source.split(split))
    rows = torch.arange(len(samples)) if rows is None else rows
    places = torch.arange(len(rows))
    own = torch.cat([places[:0], *places.split(_BATCH)[rank() :: world()]])
    indices = torch.zeros(len(rows), *run.model.index_shape, dtype=torch.int64)

    def encode_own() -> None:
        if len(own):
            indices[own] = encode_split(run, split, rows[own])

    agreed(encode_own)
    indices = indices.to(run.device)  # GPUs exchange what is theirs
    sum_over_ranks(indices)
    return indices.cpu()


def codebook_numbers(model: VQModel) -> list[int]:
    """The codebook of each index of a flattened sample: each group, stage and level has one."""
    lengths = [math.prod(shape) for shape in model.latent_shapes]
    parts = math.prod(model.index_shape) // sum(lengths)
    levels = [level for level, length in enumerate(lengths) for _ in range(length)]
    return [level * parts + part for level in levels for part in range(parts)]
