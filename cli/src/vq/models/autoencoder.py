"""A backbone around a bottleneck: the autoencoder that a run trains."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vq.config.run_config import ResolvedConfig, RunConfig
from vq.models.backbones.patches import Patches
from vq.models.bottlenecks.build import build_bottleneck, scale_of
from vq.models.bottlenecks.continuous import ContinuousBottleneck
from vq.models.bottlenecks.hierarchical import HierarchicalBottleneck
from vq.models.empty_batches import of_any_batch
from vqcore.errors import SettingError
from vqcore.interfaces.backbone import Backbone, LevelBackbone
from vqcore.interfaces.dataset import DataSource, SampleSpec
from vqcore.interfaces.output import Output
from vqcore.layer import VectorQuantizer
from vqcore.plugin.registry import Registry


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
    """Encoder, bottleneck, decoder.

    Args:
        backbone: the encoder and decoder.
        bottleneck: the layer between them, ``HierarchicalBottleneck`` of it where the backbone has several, or a baseline.
        likelihood: ``gaussian`` (mean squared error) or ``bernoulli`` (cross-entropy of logits).
    """

    def __init__(
        self,
        backbone: Backbone,
        bottleneck: VectorQuantizer | HierarchicalBottleneck | ContinuousBottleneck,
        likelihood: str = "gaussian",
    ) -> None:
        super().__init__()
        self.backbone, self.bottleneck, self.likelihood = backbone, bottleneck, likelihood

    def forward(self, x: Tensor) -> ModelOutput:
        """Samples (B, *shape) through the whole model, with every loss."""
        z = of_any_batch(self.backbone.encode)(x)
        out = self.bottleneck(z, inputs=x, decode=of_any_batch(self.backbone.decode))
        logits = out.reconstruction.float()
        distance = (
            F.mse_loss if self.likelihood == "gaussian" else F.binary_cross_entropy_with_logits
        )
        term = (
            distance(logits, x) if len(x) else logits.sum()
        )  # one of several processes may have no sample
        losses = {"reconstruction": term, **out.losses}
        return ModelOutput(term + out.loss, losses, out, logits)

    @property
    def has_codes(self) -> bool:
        """Whether a sample becomes indices at all; a baseline's does not, its ``codebook_size`` is 0."""
        return self.codebook_size > 0

    @property
    def latent_shapes(self) -> tuple[tuple[int, ...], ...]:
        """Positions of a sample's latents: one shape a level, coarsest first."""
        backbone = self.backbone
        return (
            backbone.latent_shapes
            if isinstance(backbone, LevelBackbone)
            else (tuple(backbone.latent_shape),)
        )

    @property
    def index_shape(self) -> tuple[int, ...]:
        """Shape of one sample's indices: its positions (of several levels one sequence), groups or stages last."""
        if not self.has_codes:
            return (0,)
        levels = isinstance(self.bottleneck, HierarchicalBottleneck)
        layer = self.bottleneck.levels[0] if levels else self.bottleneck
        return (*self.backbone.latent_shape, *layer.quantizer.index_shape)

    @property
    def codebook_size(self) -> int:
        """K, the number of values that an index takes."""
        return self.bottleneck.codebook_size

    def describe_latents(self) -> str:
        """What a sample becomes, in words: ``2 x 2 + 4 x 4 tokens of 64 codes``, ``4 x 4 latents of 8 dimensions``."""
        positions = " + ".join(" x ".join(map(str, shape)) or "1" for shape in self.latent_shapes)
        if self.has_codes:
            return f"{positions} tokens of {self.codebook_size} codes"
        layer = (
            self.bottleneck.levels[0]
            if isinstance(self.bottleneck, HierarchicalBottleneck)
            else self.bottleneck
        )
        return f"{positions} latents of {layer.dim} dimensions"

    @torch.no_grad()
    def encode(self, x: Tensor) -> Tensor:
        """Indices of samples (B, *shape): (B, *index_shape).

        Raises:
            SettingError: if the model has none.
        """
        return self.bottleneck.encode(self.backbone.encode(x))

    @torch.no_grad()
    def decode(self, indices: Tensor) -> Tensor:
        """Samples (B, *shape) of indices (B, *index_shape), in the data's range of values.

        Raises:
            SettingError: if the model has none, or one is out of range.
        """
        return self.to_values(self.backbone.decode(self.bottleneck.decode(indices)).float())

    def to_values(self, reconstruction: Tensor) -> Tensor:
        """The decoder's output as values of the data: probabilities of logits, else as it is."""
        return reconstruction.sigmoid() if self.likelihood == "bernoulli" else reconstruction


def build_source(config: ResolvedConfig, registry: Registry) -> DataSource:
    """The run's data set, its files checked."""
    return registry.build(config.components["dataset"])


def build_model(
    config: ResolvedConfig, registry: Registry, samples: SampleSpec | DataSource
) -> VQModel:
    """The run's model on the CPU, seeded by the config, for samples of this kind.

    Raises:
        SettingError: if backbone, dimension and samples do not fit.
    """
    settings = config.settings
    torch.manual_seed(settings.seed)
    width = (
        2 * settings.dim if settings.bottleneck == "gaussian" else settings.dim
    )  # a mean and a deviation each
    backbone: Backbone = registry.build(
        config.components["backbone"], shape=samples.shape, dim=width
    )
    dim = settings.dim if backbone.dim is None else backbone.dim
    if settings.dim not in (dim, RunConfig.model_fields["dim"].default):
        raise SettingError(
            "dim", settings.dim, f"{dim}, which the backbone's own structure sets", "leave it out"
        )
    bottleneck = build_bottleneck(
        config, registry, backbone, backbone.dim or width, dim, samples.likelihood
    )
    if isinstance(backbone, Patches):
        backbone.scale = scale_of(bottleneck)
    return VQModel(backbone, bottleneck, samples.likelihood)


def place(model: VQModel, device: torch.device) -> VQModel:
    """The model on a device, kernels of its 2-D convolutions with channels last; 3-D ones have no such order."""
    model.to(device)
    for parameter in model.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.to(memory_format=torch.channels_last)
    return model


def channels_last(batch: Tensor) -> Tensor:
    """Pictures in the order that is fastest; other samples as they are."""
    return batch.contiguous(memory_format=torch.channels_last) if batch.ndim == 4 else batch
