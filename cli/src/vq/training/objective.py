"""The losses of a run: what compares reconstructions with samples, or classes with labels."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from functools import reduce

import torch
from torch import Tensor, nn

from vq.config.resolved_config import ResolvedConfig
from vq.models.losses import build_losses, untrained, value_of
from vq.training.adaptive_factor import adaptive_factor
from vqcore.errors import SettingError
from vqcore.interfaces.dataset import SampleSpec
from vqcore.interfaces.loss import Loss, LossBatch, TrainedLoss
from vqcore.numerics.execution import is_capturing
from vqcore.numerics.stable import times
from vqcore.numerics.step_counter import StepCounter
from vqcore.plugin.registry import Registry

#: What the sum of all terms is logged as, and that of those that are not trained, of what compares
#: samples and of what compares classes.
SUMS = {"loss", "reconstruction", "classification"}


class Objective(nn.Module):
    """The losses of a run, each with its weight and from its first step on.

    Args:
        losses: by name. Of those with a weight, one or more is not trained itself.
        scaler: of gradients in fp16, also of those that an adaptive factor compares.

    Attributes:
        compared: the losses with a weight that are not trained, by name.
        trained: those that are trained against the model.
        labelled: whether they compare classes with labels, in place of samples.
        title: what the sum of those that are not trained is called.
        acting: the names of those that act on the next step.
        steps: completed training steps.

    Raises:
        SettingError: if there are only losses that are trained, or one has the name of a sum.
    """

    acting: tuple[str, ...]

    def __init__(
        self, losses: Mapping[str, Loss], scaler: torch.amp.GradScaler | None = None
    ) -> None:
        super().__init__()
        self.losses = nn.ModuleDict(losses).requires_grad_(False)
        weighted = {name: each for name, each in losses.items() if each.weight}
        self.trained = {n: each for n, each in weighted.items() if isinstance(each, TrainedLoss)}
        self.compared = untrained(losses)
        if not self.compared:
            expected = "one with a weight that compares reconstructions with samples"
            raise SettingError("losses", ", ".join(losses), expected, "add mse, as --loss mse does")
        if SUMS & losses.keys():
            expected = "names other than those of sums, which are logged beside them"
            raise SettingError("losses", ", ".join(SUMS & losses.keys()), expected)
        self.labelled = any(each.labels for each in losses.values())
        self.title = "classification" if self.labelled else "reconstruction"
        self._scaler = scaler
        self.steps = StepCounter()
        self._choose_by_step()

    @property
    def likelihood(self) -> str:
        """``categorical`` of classes, ``bernoulli`` if the decoder has to emit logits of samples.

        Else ``gaussian``.
        """
        if self.labelled:
            return "categorical"
        losses: list[Loss] = list(self.losses.values())  # type: ignore[arg-type]  # of modules
        return "bernoulli" if any(each.logits for each in losses) else "gaussian"

    @property
    def names(self) -> list[str]:
        """Of all terms that are logged on some steps."""
        return [*self.losses, *(f"{name}_opponent" for name in self.trained)]

    @property
    def weighted(self) -> dict[str, Loss]:
        """The losses with a weight, those that are trained last."""
        return {**self.compared, **self.trained}

    def forward(
        self, batch: LossBatch, last_layer: Tensor | None = None, share: float = 1.0
    ) -> dict[str, Tensor]:
        """Every term of a forward pass, weighted.

        Args:
            batch: may be empty; every term then is 0, with a gradient to the decoder.
            last_layer: the weight of the decoder's last layer, if it is known.
            share: of a step's samples that the batch has, of those on all processes.

        Returns:
            The sum of the terms that are not of trained losses, as ``title``; then each of these,
            if there are several, and those of trained losses.
        """
        terms = {
            name: times(value_of(loss, batch), loss.weight)
            for name, loss in self.compared.items()
            if name in self.acting
        }
        compared = reduce(torch.add, terms.values()) if terms else batch.decoded.sum() * 0
        found = {self.title: compared}
        if len(self.compared) > 1:
            found |= terms
        for name, loss in self.trained.items():
            if name in self.acting:
                value = value_of(loss, batch)
                if loss.adaptive:  # the weight comes after, which the norms would cancel
                    wrt = batch.decoded if last_layer is None else last_layer
                    value = value * adaptive_factor(compared, value, wrt, share, self._scaler)
                found[name] = times(value, loss.weight)
        return found

    def batch_steps(self) -> int | StepCounter:
        """``LossBatch.steps``: to a compiler each number would be another graph."""
        return self.steps if torch.compiler.is_compiling() else self.steps.value

    def step_on_device(self) -> Tensor | None:
        """``LossBatch.step_on_device``: the step as a tensor for graphs."""
        in_graph = torch.compiler.is_compiling() or is_capturing()
        return self.steps.on_device() if in_graph else None

    # -- steps ---------------------------------------------------------------

    def update(self) -> None:
        """Count a step."""
        self.steps.advance()
        if not is_capturing():
            self._choose_by_step()

    def replayed(self) -> None:
        """Count a step that a CUDA graph has replayed."""
        self.steps.replayed()
        self._choose_by_step()

    def restore(self, step: int) -> None:
        """Go on after so many steps."""
        self.steps.value = step
        self._choose_by_step()

    @property
    def phase(self) -> Hashable:
        """See ``VectorQuantizer.phase``."""
        return self.acting

    @property
    def unrecordable(self) -> tuple[str, ...]:
        """See ``VectorQuantizer.unrecordable``."""
        return tuple(name for name, each in self.compared.items() if not each.recordable)

    def _choose_by_step(self) -> None:
        """Choose what the next step does here, so that a compiled pass is free of steps."""
        step = self.steps.value
        self.acting = tuple(name for name, each in self.weighted.items() if each.acts_on(step))


def build_objective(
    config: ResolvedConfig,
    registry: Registry,
    samples: SampleSpec,
    scaler: torch.amp.GradScaler | None = None,
) -> Objective:
    """The run's losses for these samples, initialised with the config's seed; by default one.

    Raises:
        SettingError: if a loss does not fit the samples, the backbone or the others, or two have
            the same name.
    """
    return Objective(build_losses(config, registry, samples), scaler)
