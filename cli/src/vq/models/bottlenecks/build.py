"""The bottleneck that a config describes, as wide and as many levels deep as its backbone."""

from __future__ import annotations

from torch import nn

from vq.config.run_config import ResolvedConfig
from vq.models.bottlenecks.continuous import Autoencoder, ContinuousBottleneck, unit
from vq.models.bottlenecks.gaussian import Gaussian
from vq.models.bottlenecks.hierarchical import HierarchicalBottleneck
from vqcore.interfaces.backbone import Backbone, LevelBackbone
from vqcore.layer import VectorQuantizer
from vqcore.plugin.registry import Registry

#: Weight of the Gaussian's divergence where the config leaves it open: the evidence lower bound, for a decoder of
#: variance 0.05 where the likelihood is Gaussian.
KL_WEIGHT = {"bernoulli": 1.0, "gaussian": 0.1}


def build_bottleneck(
    config: ResolvedConfig,
    registry: Registry,
    backbone: Backbone,
    width: int,
    dim: int,
    likelihood: str,
) -> VectorQuantizer | HierarchicalBottleneck | ContinuousBottleneck:
    """A ``VectorQuantizer``, a baseline without codes, or ``HierarchicalBottleneck`` of either.

    Args:
        config: the resolved config.
        registry: where its components come from.
        backbone: what it stands in.
        width: of what the backbone emits and takes.
        dim: of a latent.
        likelihood: of the data.
    """
    several = isinstance(backbone, LevelBackbone)
    count = len(backbone.latent_shapes) if several else 1
    if config.settings.bottleneck == "vq":
        built = [
            _codes(config, registry, backbone, width, finest=number == count)
            for number in range(1, count + 1)
        ]
    else:
        built = [
            _baseline(config, registry, backbone, width, dim, KL_WEIGHT.get(likelihood, 1.0))
            for _ in range(count)
        ]
    return (
        HierarchicalBottleneck(built, backbone.latent_shapes, backbone.refine)
        if several
        else built[0]
    )


def _codes(
    config: ResolvedConfig, registry: Registry, backbone: Backbone, width: int, *, finest: bool
) -> VectorQuantizer:
    settings, components = config.settings, config.components
    acting = [  # only the finest level sees the decoder, as regularizers of the whole model do
        chosen
        for chosen in config.regularizers.values()
        if finest or registry.build(chosen).scope == "codebook"
    ]
    return VectorQuantizer(
        dim=width,
        codebook_size=settings.codebook_size,
        manifold=components["manifold"],
        quantizer=components["quantizer"],
        estimator=components["estimator"],
        regularizers=acting,
        channel_first=backbone.channel_first,
        code_dim=settings.code_dim,
        registry=registry,
    )


def _baseline(
    config: ResolvedConfig,
    registry: Registry,
    backbone: Backbone,
    width: int,
    dim: int,
    kl_weight: float,
) -> Autoencoder | Gaussian:
    settings, manifold = config.settings, registry.build(config.components["manifold"])
    dim = settings.code_dim or dim
    if settings.bottleneck == "none":
        return Autoencoder(
            width=width, dim=dim, manifold=manifold, channel_first=backbone.channel_first
        )
    weight = kl_weight if settings.kl_weight is None else settings.kl_weight
    return Gaussian(
        width=width,
        dim=dim,
        manifold=manifold,
        kl_weight=weight,
        channel_first=backbone.channel_first,
    )


def scale_of(bottleneck: VectorQuantizer | ContinuousBottleneck) -> float:
    """What a latent is multiplied by on its way, clipping apart; 1 where trained maps lead in and out, and learn it."""
    if not isinstance(bottleneck.project_in, nn.Identity):
        return 1.0
    source = (
        bottleneck.quantizer if isinstance(bottleneck, VectorQuantizer) else bottleneck.manifold
    )
    return unit(source.tangent, bottleneck.dim)
