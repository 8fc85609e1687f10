"""The interface of a loss: what compares reconstructions with samples in training."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from vqcore.interfaces.dataset import SampleSpec
from vqcore.interfaces.output import Output
from vqcore.numerics.at_step import AtStep
from vqcore.numerics.step_counter import StepCounter


@dataclass(frozen=True)
class LossBatch(AtStep):
    """One forward pass of training, of at least one sample.

    Attributes:
        inputs: samples (B, *shape), in the units of the data.
        reconstruction: (B, *shape) in float32, or float64 as the run; in the units of the data:
            probabilities where the decoder emits logits; (B, classes) of a classifier.
        decoded: what the decoder emits, of the same type: logits if a loss of the run reads them,
            else ``reconstruction`` itself.
        out: the output of the bottleneck.
        value_range: smallest and largest value of the data.
        steps: number of completed training steps, or what counts them.
        step_on_device: the step as a scalar int64 where a graph of this pass is replayed later.
        labels: the class of each sample, (B,) int64, where a loss of the run reads them.
    """

    inputs: Tensor
    reconstruction: Tensor
    decoded: Tensor
    out: Output
    value_range: tuple[float, float]
    steps: int | StepCounter
    step_on_device: Tensor | None = None
    labels: Tensor | None = None

    def detach(self) -> LossBatch:
        """The same batch without a gradient to the model."""
        return replace(
            self,
            reconstruction=self.reconstruction.detach(),
            decoded=self.decoded.detach(),
            out=tree_map_only(Tensor, Tensor.detach, self.out),
        )


class Loss(nn.Module, ABC):
    """A term that compares reconstructions with samples, or a classifier's output with labels.

    It acts in training alone, and is no part of the model that results. The builder passes the
    component's options and, as a keyword, ``samples``. A loss never receives an empty batch, and is
    never evaluated at weight 0. Its own parameters, such as those of a pretrained network, are not
    trained.

    Args:
        samples: shape, range and likelihood of the samples; a loss refuses those it cannot compare
            with a ``SettingError``.
        weight: factor in the loss, applied by the caller.
        start: first step on which the term is evaluated, counted from 0.

    Attributes:
        logits: whether the decoder has to emit logits of values, as for a cross-entropy with them.
        labels: whether the term compares logits of classes, which the backbone emits (see
            ``Backbone.emits``), with ``LossBatch.labels``.
        autocast: whether the term is computed in the precision of the run, as the network is; the
            others are computed in float32 at least.
        recordable: as ``Regularizer.recordable``.
    """

    logits: ClassVar[bool] = False
    labels: ClassVar[bool] = False
    autocast: ClassVar[bool] = False
    recordable: bool = False

    def __init__(self, *, samples: SampleSpec, weight: float = 1.0, start: int = 0) -> None:
        super().__init__()
        self.samples = samples
        self.weight = weight
        self.start = start

    def acts_on(self, step: int) -> bool:
        """Whether the term is evaluated on training step ``step``, counted from 0."""
        return self.weight > 0 and step >= self.start

    @abstractmethod
    def forward(self, batch: LossBatch) -> Tensor:
        """The unweighted term, a scalar: a mean over the samples, so that parts of a batch add up.

        Value and gradient are finite also for equal and for constant samples.
        """


class TrainedLoss(Loss):
    """A loss with parameters that are trained against the model, such as a discriminator.

    In each step the model is trained first, on ``forward``; the loss's parameters then have no
    gradient. Afterwards it is the loss's turn: the trainer calls ``opponent`` on the same batch,
    averages its gradients over micro-batches and processes, and does a step of ``optimizer``.
    Module and optimizer are in the trainer's state of a checkpoint. Before ``start`` there is
    neither a term nor a turn. A compiler leaves such a loss as it is written.

    Initialise the parameters in the constructor, from torch's random numbers: all processes draw
    the same there. Take no part in collectives, and draw in ``forward`` and ``opponent`` by
    ``LossBatch.key`` alone.

    Attributes:
        optimizer: of all parameters that are to be trained.
        adaptive: whether the term is also multiplied by |dR/dw| / (|dT/dw| + 1e-4), at most 1e4:
            the norms of the gradients of R, the weighted sum of the other losses, and T, the term
            without its weight. w is the weight of the decoder's last layer, or where the backbone
            has no ``last_layer`` the reconstruction (VQGAN, arXiv:2012.09841, eq. 7). The trainer
            computes it, since it is the same on all processes and in the scale of fp16.
    """

    optimizer: torch.optim.Optimizer
    adaptive: bool = False

    @abstractmethod
    def opponent(self, batch: LossBatch) -> Tensor:
        """The unweighted loss of the own parameters, a scalar mean over a detached batch."""
