"""A backbone around a bottleneck: the autoencoder that a run trains."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vq.pipeline.backbones.base import Backbone
from vq.pipeline.config import Plan
from vq.pipeline.data.source import DataSource, SampleSpec
from vqcore.bottleneck import VectorQuantizer
from vqcore.output import Output
from vqcore.registry import Registry


@dataclass(frozen=True)
class ModelOutput:
    """What a forward pass gives.

    Attributes:
        loss: sum of ``losses``, a scalar.
        losses: ``reconstruction``, then the bottleneck's, weighted.
        bottleneck: what the bottleneck gave: indices, code usage, metrics.
        reconstruction: the decoder's output, (B, *shape), before any sigmoid.
    """

    loss: Tensor
    losses: dict[str, Tensor]
    bottleneck: Output
    reconstruction: Tensor


class VQModel(nn.Module):
    """Encoder, vector-quantized bottleneck, decoder.

    Args:
        backbone: the encoder and decoder.
        bottleneck: the layer between them.
        likelihood: ``gaussian`` (mean squared error) or ``bernoulli`` (cross-entropy of logits).
    """

    def __init__(self, backbone: Backbone, bottleneck: VectorQuantizer, likelihood: str = "gaussian") -> None:
        super().__init__()
        self.backbone, self.bottleneck, self.likelihood = backbone, bottleneck, likelihood

    def forward(self, x: Tensor) -> ModelOutput:
        """Samples (B, *shape) through the whole model, with every loss."""
        z = self.backbone.encode(x)
        out = self.bottleneck(z, inputs=x, decode=self.backbone.decode)
        logits = out.reconstruction.float()
        term = F.mse_loss(logits, x) if self.likelihood == "gaussian" else _cross_entropy(logits, x)
        losses = {"reconstruction": term, **out.losses}
        return ModelOutput(term + out.loss, losses, out, logits)

    @torch.no_grad()
    def encode(self, x: Tensor) -> Tensor:
        """Indices of samples (B, *shape): (B, *latent_shape), groups or stages last."""
        return self.bottleneck.encode(self.backbone.encode(x))

    @torch.no_grad()
    def decode(self, indices: Tensor) -> Tensor:
        """Samples (B, *shape) of indices, in the data's range of values."""
        return self.to_values(self.backbone.decode(self.bottleneck.decode(indices)).float())

    def to_values(self, reconstruction: Tensor) -> Tensor:
        """The decoder's output as values of the data: probabilities of logits, else as it is."""
        return reconstruction.sigmoid() if self.likelihood == "bernoulli" else reconstruction


def _cross_entropy(logits: Tensor, x: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits, x)


def build_source(plan: Plan, registry: Registry) -> DataSource:
    """The run's data set, its files checked."""
    return registry.build(plan.components["dataset"])


def build_model(plan: Plan, registry: Registry, samples: SampleSpec | DataSource) -> VQModel:
    """The run's model on the CPU, seeded by the config, for samples of this kind."""
    config, components = plan.config, plan.components
    torch.manual_seed(config.seed)
    backbone = registry.build(components["backbone"], shape=samples.shape, dim=config.dim)
    bottleneck = VectorQuantizer(
        dim=config.dim,
        codebook_size=config.codebook_size,
        manifold=components["manifold"],
        quantizer=components["quantizer"],
        estimator=components["estimator"],
        regularizers=list(plan.regularizers.values()),
        channel_first=backbone.channel_first,
        code_dim=config.code_dim,
        registry=registry,
    )
    return VQModel(backbone, bottleneck, samples.likelihood)
