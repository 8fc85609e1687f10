"""A forward pass of training: the model, and the losses of what it returns."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor, nn

from vq.models.autoencoder import ModelOutput, VQModel
from vq.training.objective import Objective
from vqcore.errors import SettingError
from vqcore.interfaces.dataset import SampleSpec
from vqcore.interfaces.loss import LossBatch
from vqcore.interfaces.output import Output


@dataclass(frozen=True)
class TrainingOutput:
    """The result of a pass.

    Attributes:
        loss: sum of the terms, a scalar.
        losses: weighted terms by name, those of ``Objective.forward``, then the bottleneck's.
        bottleneck: the bottleneck's output.
        batch: what the losses received, where some of them are trained.
    """

    loss: Tensor
    losses: dict[str, Tensor]
    bottleneck: Output
    batch: LossBatch | None


class TrainingPass(nn.Module):
    """A model and an objective as one module, for a compiler and for DDP.

    Args:
        model: in training.
        objective: its losses.
        samples: that both are for.
    """

    def __init__(self, model: VQModel, objective: Objective, samples: SampleSpec) -> None:
        super().__init__()
        self.model, self.objective = model, objective
        self.value_range = samples.value_range

    def forward(
        self, x: Tensor, share: float = 1.0, labels: Tensor | None = None
    ) -> TrainingOutput:
        """Samples (B, *shape) through the model, with every term; see ``Objective.forward``.

        ``labels`` are their classes (B,), where losses read them.

        Raises:
            SettingError: see ``VQModel.forward``; or if a loss has the name of another term.
        """
        out: ModelOutput = self.model(x)
        decoded = out.reconstruction
        batch = LossBatch(
            x.to(decoded.dtype), self.model.to_values(decoded), decoded, out.bottleneck,
            self.value_range, self.objective.batch_steps(), self.objective.step_on_device(), labels,
        )  # fmt: skip
        trained = bool(self.objective.trained)
        last_layer = self.model.backbone.last_layer if trained else None
        terms = self.objective(batch, last_layer, share)
        both = terms.keys() & out.bottleneck.losses.keys()
        if both:
            expected = "a name that no term of the bottleneck has"
            raise SettingError("losses", ", ".join(both), expected)
        added = [terms[name] for name in self.objective.trained if name in terms]
        loss = reduce(torch.add, [terms[self.objective.title], *added, out.bottleneck.loss])
        return TrainingOutput(
            loss, terms | out.bottleneck.losses, out.bottleneck, batch if trained else None
        )
