"""The model that a run trains: a backbone around a bottleneck."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from vq.config.resolved_config import ResolvedConfig, Unavailable
from vq.config.run_config import RunConfig
from vq.data.labels import classes_of
from vq.models.bottlenecks.build import Bottleneck, build_bottleneck, factors_of, scale_of
from vq.models.bottlenecks.hierarchical import HierarchicalBottleneck, LevelBottleneck
from vq.models.empty_batches import allow_empty_batch
from vq.models.eval_mode import eval_mode
from vq.models.samples import as_samples
from vqcore.errors import SettingError
from vqcore.interfaces.backbone import Backbone, LevelBackbone
from vqcore.interfaces.dataset import DataSource, SampleSpec
from vqcore.interfaces.output import Output
from vqcore.layer import VectorQuantizer
from vqcore.numerics.indices import Indices, as_indices
from vqcore.numerics.stable import in_full_precision
from vqcore.plugin.registry import Registry


@dataclass(frozen=True)
class ModelOutput:
    """The result of a forward pass.

    Attributes:
        bottleneck: the bottleneck's output: indices, code usage, metrics, and its own losses.
        reconstruction: the decoder's output, (B, *shape) in float32 or float64, before any sigmoid;
            logits (B, classes) of a classifier.
    """

    bottleneck: Output
    reconstruction: Tensor


class VQModel(nn.Module):
    """Encoder, bottleneck, decoder.

    Args:
        backbone: the encoder and decoder.
        bottleneck: a ``VectorQuantizer`` or a baseline without codes; a ``HierarchicalBottleneck``
            of them for a ``LevelBackbone``.
        likelihood: ``gaussian`` if the decoder emits samples, ``bernoulli`` if it emits their
            logits, ``categorical`` if those of their classes.
        sample_shape: of the samples that the backbone was built for, to refuse others by name.
    """

    like: Tensor

    def __init__(
        self,
        backbone: Backbone,
        bottleneck: Bottleneck,
        likelihood: str = "gaussian",
        sample_shape: tuple[int, ...] | None = None,
    ) -> None:
        super().__init__()
        self.backbone, self.bottleneck, self.likelihood = backbone, bottleneck, likelihood
        self.sample_shape = sample_shape
        #: Of the model's type, which a backbone without parameters does not tell.
        self.register_buffer("like", torch.empty(0), persistent=False)

    def forward(self, x: Tensor) -> ModelOutput:
        """Samples (B, *shape) through the whole model; what compares them is the trainer's.

        Raises:
            SettingError: see ``as_samples``.
        """
        x = self._samples(x)
        z = allow_empty_batch(self.backbone.encode)(x)
        out = self.bottleneck(z, inputs=x, decode=allow_empty_batch(self.backbone.decode))
        return ModelOutput(out, in_full_precision(out.reconstruction))

    @property
    def has_codes(self) -> bool:
        """Whether a sample has indices; a baseline's ``codebook_size`` is 0."""
        return self.codebook_size > 0

    @property
    def classifies(self) -> bool:
        """Whether it emits the classes of samples in place of samples."""
        return self.likelihood == "categorical"

    @property
    def parameter_count(self) -> int:
        """Number of parameters, those of codebooks included."""
        return sum(parameter.numel() for parameter in self.parameters())

    @property
    def latent_shapes(self) -> tuple[tuple[int, ...], ...]:
        """Positions of a sample's latents: one shape per level, coarsest first."""
        if isinstance(self.backbone, LevelBackbone):
            return self.backbone.latent_shapes
        return (tuple(self.backbone.latent_shape),)

    @property
    def index_shape(self) -> tuple[int, ...]:
        """Shape of a sample's indices: positions, all levels in sequence, then groups or stages."""
        layer = self._coarsest
        if not isinstance(layer, VectorQuantizer):
            return (0,)
        return (*self.backbone.latent_shape, *layer.quantizer.index_shape)

    @property
    def codebook_size(self) -> int:
        """K, the number of values of an index; 0 without codes."""
        return self.bottleneck.codebook_size

    @property
    def codebook(self) -> Tensor | tuple[Tensor | None, ...] | None:
        """Points on the manifold (K, A), or (G, K, A) of G groups or stages.

        None without an explicit codebook; a tuple of these, coarsest level first, for a
        hierarchical model.
        """
        return self.bottleneck.codebook

    def describe_latents(self) -> str:
        """For example ``2 x 2 + 4 x 4 tokens of 64 codes`` or ``4 x 4 latents of 8 dimensions``."""
        positions = " + ".join(" x ".join(map(str, shape)) or "1" for shape in self.latent_shapes)
        if self.has_codes:
            return f"{positions} tokens of {self.codebook_size} codes"
        return f"{positions} latents of {self._coarsest.dim} dimensions"

    def latents(self, x: Tensor) -> Any:
        """What the encoder emits for samples (B, *shape): a tensor, or one per level.

        Raises:
            SettingError: see ``as_samples``.
        """
        return self.backbone.encode(self._samples(x))

    @torch.no_grad()
    def encode(self, x: Tensor) -> Tensor:
        """Indices (B, *index_shape) of samples (B, *shape).

        Raises:
            SettingError: if the model has no codes; and see ``as_samples``.
        """
        return self.bottleneck.encode(self.latents(x))

    @torch.no_grad()
    def decode(self, indices: Indices) -> Tensor:
        """Samples (B, *shape) of indices (B, *index_shape), in the units of the data.

        A classifier gives probabilities (B, classes). Indices are a tensor of any integer type, a
        NumPy array or nested lists.

        Raises:
            SettingError: if the model has no codes, or the indices have another shape, are not
                whole numbers or out of range.
        """
        if self.has_codes:
            indices = as_indices(indices, self)
            found, expected = tuple(indices.shape[1:]), self.index_shape
            # convolutions decode any number of positions
            fits = len(found) == len(expected) if self.backbone.channel_first else found == expected
            if indices.ndim == 0 or not fits:
                axes = ", ".join(["B", *map(str, expected)])
                raise SettingError("indices", tuple(indices.shape), f"the shape ({axes})")
        vectors: Any = self.bottleneck.decode(indices)
        return self.to_values(in_full_precision(self.backbone.decode(vectors)))

    @torch.no_grad()
    def reconstruct(self, x: Tensor) -> Tensor:
        """Reconstructions of samples (B, *shape) in the units of the data, as in eval mode.

        A classifier gives probabilities (B, classes).

        Raises:
            SettingError: see ``as_samples``.
        """
        x = self._samples(x)
        with eval_mode(self):
            z = allow_empty_batch(self.backbone.encode)(x)
            decoded = allow_empty_batch(self.backbone.decode)(self.bottleneck(z).quantized)
        return self.to_values(in_full_precision(decoded))

    def to_values(self, reconstruction: Tensor) -> Tensor:
        """The decoder's output in the units of the data: probabilities if it is logits."""
        match self.likelihood:
            case "bernoulli":
                return reconstruction.sigmoid()
            case "categorical":
                return reconstruction.softmax(-1)
        return reconstruction

    def _samples(self, x: Tensor) -> Tensor:
        return as_samples(x, self.backbone, self.sample_shape, self.like.dtype)

    @property
    def _coarsest(self) -> LevelBottleneck:
        if isinstance(self.bottleneck, HierarchicalBottleneck):
            return self.bottleneck.levels[0]
        return self.bottleneck


def build_source(config: ResolvedConfig, registry: Registry) -> DataSource:
    """The run's data set.

    Raises:
        ComponentError, UsageError: if the config was resolved without it.
    """
    component = config.components["dataset"]
    if isinstance(component, Unavailable):
        raise component.error
    return registry.build(component)


def emits_logits(config: ResolvedConfig, registry: Registry) -> bool:
    """Whether the run's backbone emits logits of classes, see ``Backbone.emits``."""
    made_by = registry.target(config.components["backbone"])
    return getattr(made_by, "emits", "samples") == "logits"


def build_model(
    config: ResolvedConfig, registry: Registry, samples: SampleSpec | DataSource
) -> VQModel:
    """The run's model for these samples, on the CPU, initialised with the config's seed.

    Their likelihood says what its decoder emits.

    Raises:
        SettingError: if backbone, dimension and samples do not fit together.
    """
    settings = config.settings
    torch.manual_seed(settings.seed)
    # of what the encoder emits: the Gaussian takes a mean and a deviation per dimension
    width = 2 * settings.dim if settings.bottleneck == "gaussian" else settings.dim
    chosen = config.components["backbone"]
    injected: dict[str, Any] = {"shape": samples.shape, "dim": width}
    likelihood = samples.likelihood
    if emits_logits(config, registry):
        injected["classes"] = len(classes_of(config, samples))
        likelihood = "categorical"
    backbone: Backbone = registry.build(chosen, **injected)
    dim = settings.dim
    if backbone.dim is not None:
        dim = width = backbone.dim
        if settings.dim not in (dim, RunConfig.model_fields["dim"].default):
            expected = f"{dim}, which the backbone's own structure sets"
            raise SettingError("dim", settings.dim, expected, "leave it out")
    bottleneck = build_bottleneck(config, registry, backbone, width, dim, likelihood)
    backbone.attach(bottleneck.manifold, scale_of(bottleneck), factors_of(bottleneck))
    model = VQModel(backbone, bottleneck, likelihood, tuple(samples.shape))
    return model.double() if settings.precision == "float64" else model


def place(model: VQModel, device: torch.device) -> VQModel:
    """Move the model to a device, with kernels of 2-D convolutions in channels-last order."""
    model.to(device)
    for parameter in model.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.to(memory_format=torch.channels_last)
    return model


def channels_last(batch: Tensor) -> Tensor:
    """Images in channels-last order, which is the fastest; other samples unchanged."""
    return batch.contiguous(memory_format=torch.channels_last) if batch.ndim == 4 else batch
