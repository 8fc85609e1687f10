"""The built-in components, registered like everybody's."""

from __future__ import annotations

from vqcore.component import ComponentSpec
from vqcore.hooks import hookimpl

VQ_API = 1


@hookimpl
def vq_manifolds() -> list[ComponentSpec]:
    """Flat space and the sphere."""
    return [
        ComponentSpec(
            name="euclidean",
            target="vqcore.builtin.euclidean:Euclidean",
            summary="flat space, nearest code by squared distance",
        ),
        ComponentSpec(
            name="sphere",
            target="vqcore.builtin.sphere:Sphere",
            config="vqcore.builtin.config:SphereConfig",
            summary="the sphere, nearest code by cosine",
        ),
    ]


@hookimpl
def vq_quantizers() -> list[ComponentSpec]:
    """The codebook learned by gradients."""
    return [
        ComponentSpec(
            name="codebook",
            target="vqcore.builtin.codebook:GradientCodebook",
            config="vqcore.builtin.config:GradientCodebookConfig",
            summary="one codebook learned by gradients (VQ-VAE)",
        )
    ]


@hookimpl
def vq_estimators() -> list[ComponentSpec]:
    """Straight-through."""
    return [
        ComponentSpec(
            name="straight-through",
            target="vqcore.builtin.straight_through:StraightThrough",
            summary="copies the gradient past the quantizer",
        )
    ]


@hookimpl
def vq_regularizers() -> list[ComponentSpec]:
    """Entropy of code usage and decoder smoothness."""
    return [
        ComponentSpec(
            name="entropy",
            target="vqcore.builtin.entropy:UsageEntropy",
            config="vqcore.builtin.config:EntropyConfig",
            summary="spreads usage over the codes",
        ),
        ComponentSpec(
            name="smoothness",
            target="vqcore.builtin.smoothness:DecoderSmoothness",
            config="vqcore.builtin.config:SmoothnessConfig",
            summary="the decoder answers alike to a latent and its code",
        ),
    ]
