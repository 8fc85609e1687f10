"""The bottleneck that a plan describes, as wide and as many levels deep as its backbone."""

from __future__ import annotations

from torch import nn

from vq.pipeline.backbones.base import Backbone, LevelBackbone
from vq.pipeline.bottlenecks.continuous import Autoencoder, Continuous, unit
from vq.pipeline.bottlenecks.gaussian import Gaussian
from vq.pipeline.bottlenecks.levels import Levels
from vq.pipeline.config import Plan
from vqcore.bottleneck import VectorQuantizer
from vqcore.registry import Registry

#: Weight of the Gaussian's divergence where the config leaves it open: the evidence lower bound, for a decoder of
#: variance 0.05 where the likelihood is Gaussian.
KL_WEIGHT = {"bernoulli": 1.0, "gaussian": 0.1}


def build_bottleneck(
    plan: Plan, registry: Registry, backbone: Backbone, width: int, dim: int, likelihood: str
) -> VectorQuantizer | Levels | Continuous:
    """A ``VectorQuantizer``, a baseline without codes, or ``Levels`` of either.

    Args:
        plan: the resolved config.
        registry: where its components come from.
        backbone: what it stands in.
        width: of what the backbone emits and takes.
        dim: of a latent.
        likelihood: of the data.
    """
    several = isinstance(backbone, LevelBackbone)
    count = len(backbone.latent_shapes) if several else 1
    if plan.config.bottleneck == "vq":
        built = [_codes(plan, registry, backbone, width, finest=number == count) for number in range(1, count + 1)]
    else:
        built = [_baseline(plan, registry, backbone, width, dim, KL_WEIGHT.get(likelihood, 1.0)) for _ in range(count)]
    return Levels(built, backbone.latent_shapes, backbone.refine) if several else built[0]


def _codes(plan: Plan, registry: Registry, backbone: Backbone, width: int, *, finest: bool) -> VectorQuantizer:
    config, components = plan.config, plan.components
    acting = [  # only the finest level sees the decoder, as regularizers of the whole model do
        chosen for chosen in plan.regularizers.values() if finest or registry.build(chosen).scope == "codebook"
    ]
    return VectorQuantizer(
        dim=width,
        codebook_size=config.codebook_size,
        manifold=components["manifold"],
        quantizer=components["quantizer"],
        estimator=components["estimator"],
        regularizers=acting,
        channel_first=backbone.channel_first,
        code_dim=config.code_dim,
        registry=registry,
    )


def _baseline(
    plan: Plan, registry: Registry, backbone: Backbone, width: int, dim: int, kl_weight: float
) -> Autoencoder | Gaussian:
    config, manifold = plan.config, registry.build(plan.components["manifold"])
    dim = config.code_dim or dim
    if config.bottleneck == "none":
        return Autoencoder(width=width, dim=dim, manifold=manifold, channel_first=backbone.channel_first)
    weight = kl_weight if config.kl_weight is None else config.kl_weight
    return Gaussian(width=width, dim=dim, manifold=manifold, kl_weight=weight, channel_first=backbone.channel_first)


def scale_of(bottleneck: VectorQuantizer | Continuous) -> float:
    """What a latent is multiplied by on its way, clipping apart; 1 where trained maps lead in and out, and learn it."""
    if not isinstance(bottleneck.project_in, nn.Identity):
        return 1.0
    source = bottleneck.quantizer if isinstance(bottleneck, VectorQuantizer) else bottleneck.manifold
    return unit(source.tangent, bottleneck.dim)
