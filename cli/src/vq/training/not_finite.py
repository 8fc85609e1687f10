"""A loss, a gradient or a metric that is NaN or inf: where it came from, and what may help."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from vq.evaluation.bad_samples import all_finite, bad_samples, describe_bad
from vqcore.errors import RunError
from vqcore.interfaces.dataset import TrainingBatch
from vqcore.numerics import counter_rng

if TYPE_CHECKING:
    from vq.training.trainer import Trainer


class NotFinite(RunError):
    """A run cannot continue, since something is NaN or inf.

    Args:
        step: the first such step.
        found: what is NaN or inf, in words.
        held_out: the metric is of the held-out split.
    """

    def __init__(self, step: int, found: str, *, held_out: bool = False) -> None:
        super().__init__(f"step {step}: {found}")
        self.step, self.held_out = step, held_out


def require_finite(step: int, metrics: Mapping[str, float], *, held_out: bool = False) -> None:
    """Refuse to continue from a loss or metric that is NaN or inf.

    Raises:
        NotFinite: naming the step and every such term.
    """
    bad = [f"{name} is {value}" for name, value in metrics.items() if not math.isfinite(value)]
    if bad:
        raise NotFinite(step, ", ".join(bad), held_out=held_out)


def explain(error: NotFinite, run: Trainer) -> str:
    """The error with its cause: the samples, which are read again, or else the training."""
    if error.held_out:
        bad = bad_samples(run.test_split, run.settings.batch_size, run.device)
        samples, among = "held-out samples", len(run.test_split)
    else:
        bad = _bad_in_step(run, error.step)
        samples, among = f"samples of step {error.step}", run.sampler.size(error.step - 1)
    cause = (
        describe_bad(bad, among, samples) or f"the {samples} are finite: lower --lr or --grad-clip"
    )
    return f"{error}: the run cannot continue; {cause}"


@torch.no_grad()
def _bad_in_step(run: Trainer, step: int) -> Tensor:
    """The numbers of the training samples of a step that are not finite, as it was fed them."""
    ((part,), *_) = run.sampler.epoch(step - 1)
    key = counter_rng.key_of(run.settings.seed, step - 1)
    batch = TrainingBatch(part.samples, key, part.positions)
    samples = next(run.train_split.training_batches([batch], run.device))
    return part.samples[~all_finite(run.source.augment(samples, key, part.positions))]
