"""Building the bottleneck that a config describes, to fit its backbone."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeAlias

from torch import Tensor, nn

from vq.config.resolved_config import ResolvedConfig, Unavailable
from vq.models.bottlenecks.continuous import Autoencoder, ContinuousBottleneck, tangent_scale
from vq.models.bottlenecks.gaussian import Gaussian
from vq.models.bottlenecks.hierarchical import HierarchicalBottleneck, LevelBottleneck
from vqcore.interfaces.backbone import Backbone, LevelBackbone
from vqcore.layer import VectorQuantizer
from vqcore.plugin.registry import Registry

Bottleneck: TypeAlias = LevelBottleneck | HierarchicalBottleneck

#: Default weight of the KL divergence by likelihood: the evidence lower bound, of a decoder of
#: variance 0.05 for the Gaussian one.
KL_WEIGHT = {"bernoulli": 1.0, "gaussian": 0.1}


def build_bottleneck(
    config: ResolvedConfig,
    registry: Registry,
    backbone: Backbone,
    width: int,
    dim: int,
    likelihood: str,
) -> Bottleneck:
    """A ``VectorQuantizer`` or a baseline without codes, or one of these per level.

    ``width`` is the size of the axis of the backbone's latents, ``dim`` the dimension of a latent.
    """

    def level(*, finest: bool) -> LevelBottleneck:
        if config.settings.bottleneck == "vq":
            return _codes(config, registry, width, backbone.channel_first, finest)
        baseline = _baseline(config, likelihood)
        return baseline(
            width=width,
            dim=config.settings.code_dim or dim,
            manifold=registry.build(config.components["manifold"]),
            channel_first=backbone.channel_first,
        )

    if not isinstance(backbone, LevelBackbone):
        return level(finest=True)
    last = len(backbone.latent_shapes) - 1
    levels = [level(finest=number == last) for number in range(last + 1)]
    return HierarchicalBottleneck(levels, backbone.latent_shapes, backbone.refine)


def scale_of(bottleneck: Bottleneck) -> float | Tensor:
    """The factor of a latent before the quantizer, without clipping; 1 if linear maps learn it.

    On a product of manifolds that of each dimension, (D,).
    """
    if isinstance(bottleneck, HierarchicalBottleneck):
        return 1.0
    if not _is_unprojected(bottleneck):
        return 1.0
    of_space = tangent_scale(bottleneck.manifold.tangent, bottleneck.dim)
    if not isinstance(bottleneck, VectorQuantizer):
        return of_space
    scale = tangent_scale(bottleneck.quantizer.tangent, bottleneck.dim)
    if isinstance(scale, Tensor) and isinstance(of_space, float):
        return float(scale[0])  # the levels of fsq, which are no linear scale
    return scale


def _is_unprojected(level: LevelBottleneck) -> bool:
    return isinstance(level.project_in, nn.Identity)


def factors_of(bottleneck: Bottleneck) -> int:
    """The number of tangent vectors in one that the decoder gets; 1 if a linear map made it."""
    if isinstance(bottleneck, VectorQuantizer) and _is_unprojected(bottleneck):
        return bottleneck.quantizer.factors
    return 1


def _codes(
    config: ResolvedConfig, registry: Registry, width: int, channel_first: bool, finest: bool
) -> VectorQuantizer:
    # Regularizers of the whole model act on the finest level, which alone sees the decoder.
    regularizers = [
        component
        for component in config.regularizers.values()
        if not isinstance(component, Unavailable)
        and (finest or registry.build(component).scope == "codebook")
    ]
    return VectorQuantizer(
        dim=width,
        codebook_size=config.settings.codebook_size,
        manifold=config.components["manifold"],
        quantizer=config.components["quantizer"],
        estimator=config.components["estimator"],
        regularizers=regularizers,
        channel_first=channel_first,
        code_dim=config.settings.code_dim,
        registry=registry,
    )


def _baseline(config: ResolvedConfig, likelihood: str) -> Callable[..., ContinuousBottleneck]:
    if config.settings.bottleneck == "none":
        return Autoencoder
    weight = config.settings.kl_weight
    if weight is None:
        weight = KL_WEIGHT.get(likelihood, 1.0)
    return partial(Gaussian, kl_weight=weight)
