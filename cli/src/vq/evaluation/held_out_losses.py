"""The terms of the training loss on a held-out split."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from vq.evaluation.metric import Metric
from vq.models.eval_mode import eval_mode
from vq.models.losses import value_of
from vqcore.distributed import sum_over_ranks
from vqcore.interfaces.loss import Loss, LossBatch
from vqcore.interfaces.output import Output
from vqcore.numerics.stable import in_full_precision


class HeldOutLosses(Metric):
    """``loss``, ``reconstruction`` and the bottleneck's terms, named and weighted as in training.

    Each is a mean over the samples. ``reconstruction`` is the sum of the given losses and ``loss``
    the sum of all terms here: regularizers, and losses that are trained, act in training alone.

    Args:
        losses: those of the run that are not trained, by name; None leaves ``loss`` and
            ``reconstruction`` out, as for a classifier.
        value_range: of the data.
        step: completed training steps; a loss counts from its ``start`` on.
        device: of the samples.
    """

    def __init__(
        self,
        losses: Mapping[str, Loss] | None,
        value_range: tuple[float, float],
        step: int,
        device: torch.device,
    ) -> None:
        self.losses, self.value_range, self.step = losses, value_range, step
        self.random = [device] if device.type == "cuda" else []
        self.names: tuple[str, ...] = ()
        #: Of each term, and the number of samples.
        self.sums: Tensor | float = 0.0

    def update(self, x: Tensor, reconstruction: Tensor, out: Output) -> None:
        """See ``Metric.update``."""
        terms = {name: value.double() for name, value in out.losses.items()}
        if self.losses is not None:
            assert out.reconstruction is not None  # of a whole model
            decoded = in_full_precision(out.reconstruction)
            x = x.to(decoded.dtype)
            batch = LossBatch(x, reconstruction, decoded, out, self.value_range, self.step)
            compared = self._compare(self.losses, batch)
            total = sum(terms.values(), compared)
            terms = {"loss": total, "reconstruction": compared, **terms}
        self.names = tuple(terms)
        values = torch.stack([*terms.values(), x.new_ones((), dtype=torch.float64)])
        self.sums = self.sums + len(x) * values

    def compute(self) -> dict[str, float]:
        """See ``Metric.compute``."""
        assert isinstance(self.sums, Tensor), "no batch was added"
        sum_over_ranks(self.sums)
        *totals, samples = self.sums.tolist()
        return {name: total / samples for name, total in zip(self.names, totals, strict=True)}

    def _compare(self, losses: Mapping[str, Loss], batch: LossBatch) -> Tensor:
        total = batch.inputs.new_zeros((), dtype=torch.float64)
        # a loss of a plugin may draw, and training goes on from its own random numbers
        with torch.random.fork_rng(self.random):
            for loss in losses.values():
                if loss.acts_on(self.step):
                    with eval_mode(loss):
                        total = total + loss.weight * value_of(loss, batch).double()
        return total
