"""What a data set serves to a run, and whether it is as declared."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import sha256

import torch
from torch import Tensor

from vqcore.interfaces.dataset import DataSource, Split, TrainingBatch
from vqcore.testing.rules import expect, finite

SPLITS = ("train", "test")
#: Samples of a training batch, and batches of a sequence; keys of their random changes.
BATCH, STEPS, KEY = 4, 3, 1234
#: By how much of its width a value may leave the declared range: rounding.
ROUNDING = 1e-5


def splits_of(source: DataSource) -> Iterator[tuple[str, Split]]:
    """Both splits of a data set with their names."""
    for name in SPLITS:
        yield name, source.split(name)  # type: ignore[arg-type]  # one of the two


def training_steps(split: Split) -> list[TrainingBatch]:
    """What a few training steps ask for: samples in turn, from the first again after the last."""
    rows = [torch.arange(BATCH) + step * BATCH for step in range(STEPS)]
    positions = torch.arange(BATCH)
    return [
        TrainingBatch(each % len(split), KEY + step, positions) for step, each in enumerate(rows)
    ]


def trained_on(source: DataSource, steps: Sequence[TrainingBatch]) -> list[Tensor]:
    """The augmented samples of training steps."""
    served = source.split("train").training_batches(steps, torch.device("cpu"))
    return [
        source.augment(batch, step.key, step.positions)
        for step, batch in zip(steps, served, strict=True)
    ]


def check_range(batch: Tensor, source: DataSource, what: str) -> None:
    """Check that samples are finite and in the declared range."""
    finite(batch, what)
    low, high = (0.0, 1.0) if source.likelihood == "bernoulli" else source.value_range
    slack = ROUNDING * (high - low)
    found = float(batch.min()), float(batch.max())
    inside = low - slack <= found[0] and found[1] <= high + slack
    expect(inside, f"{what}: values from {found[0]:g} to {found[1]:g} outside of {low:g}, {high:g}")


def check_classes(labels: Tensor, source: DataSource, what: str) -> None:
    """Check that labels number the declared classes."""
    expect(source.classes is not None, f"{what} without classes")
    count, found = len(source.classes or ()), (int(labels.min()), int(labels.max()))
    inside = found[0] >= 0 and found[1] < count
    expect(inside, f"{what} from {found[0]} to {found[1]} of {count} classes")


def digests(split: Split, most: int) -> set[bytes]:
    """What tells samples apart, of the first ones of a split."""
    rows = torch.arange(min(most, len(split))).split(16)
    return {
        sha256(sample.contiguous().numpy()).digest()
        for batch in split.batches(rows, torch.device("cpu"))
        for sample in batch
    }
