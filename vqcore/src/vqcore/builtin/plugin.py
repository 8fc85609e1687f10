"""The built-in components, registered like everybody's."""

from __future__ import annotations

from vqcore.plugin.component import ComponentSpec
from vqcore.plugin.hooks import hookimpl

VQ_API = 1


@hookimpl
def vq_manifolds() -> list[ComponentSpec]:
    """Flat space and the sphere."""
    return [
        ComponentSpec(
            name="euclidean",
            target="vqcore.builtin.manifolds.euclidean:Euclidean",
            summary="flat space, nearest code by squared distance",
        ),
        ComponentSpec(
            name="sphere",
            target="vqcore.builtin.manifolds.sphere:Sphere",
            config="vqcore.builtin.builtin_config:SphereConfig",
            summary="the sphere, nearest code by cosine",
        ),
    ]


@hookimpl
def vq_quantizers() -> list[ComponentSpec]:
    """The codebook learned by gradients, a frozen one behind a learned matrix, and one that is frozen altogether."""
    return [
        ComponentSpec(
            name="codebook",
            target="vqcore.builtin.quantizers.codebook:GradientCodebook",
            config="vqcore.builtin.builtin_config:GradientCodebookConfig",
            summary="one codebook learned by gradients (VQ-VAE)",
        ),
        ComponentSpec(
            name="simvq",
            target="vqcore.builtin.quantizers.simvq:SimVQ",
            config="vqcore.builtin.builtin_config:SimVQConfig",
            summary="a frozen random codebook that one learned matrix moves as a whole (SimVQ)",
        ),
        ComponentSpec(
            name="random-projection",
            target="vqcore.builtin.quantizers.random_projection:RandomProjection",
            config="vqcore.builtin.builtin_config:RandomProjectionConfig",
            summary="nearest by angle in a frozen random projection, for its indices (BEST-RQ)",
        ),
    ]


@hookimpl
def vq_estimators() -> list[ComponentSpec]:
    """Straight-through, its isometric form, and two that change the value in training: noise and Gumbel-softmax."""
    return [
        ComponentSpec(
            name="straight-through",
            target="vqcore.builtin.estimators.straight_through:StraightThrough",
            summary="copies the gradient past the quantizer",
        ),
        ComponentSpec(
            name="transport",
            target="vqcore.builtin.estimators.transport:Transport",
            summary="carries the gradient from code to latent by a motion of the manifold",
        ),
        ComponentSpec(
            name="noise-substitution",
            target="vqcore.builtin.estimators.noise_substitution:NoiseSubstitution",
            summary="training replaces the error by noise of its length (NSVQ)",
        ),
        ComponentSpec(
            name="gumbel",
            target="vqcore.builtin.estimators.gumbel:Gumbel",
            config="vqcore.builtin.builtin_config:GumbelConfig",
            summary="training gives a soft choice among all codes (Gumbel-softmax)",
        ),
    ]


@hookimpl
def vq_regularizers() -> list[ComponentSpec]:
    """Entropy of code usage, decoder smoothness, orthogonal codes, and distances kept."""
    return [
        ComponentSpec(
            name="entropy",
            target="vqcore.builtin.regularizers.entropy:UsageEntropy",
            config="vqcore.builtin.builtin_config:EntropyConfig",
            summary="spreads usage over the codes",
        ),
        ComponentSpec(
            name="smoothness",
            target="vqcore.builtin.regularizers.smoothness:DecoderSmoothness",
            config="vqcore.builtin.builtin_config:SmoothnessConfig",
            summary="the decoder answers alike to a latent and its code",
        ),
        ComponentSpec(
            name="orthogonal",
            target="vqcore.builtin.regularizers.orthogonal:Orthogonality",
            config="vqcore.builtin.builtin_config:OrthogonalConfig",
            summary="turns codes away from each other",
        ),
        ComponentSpec(
            name="isometry",
            target="vqcore.builtin.regularizers.isometry:Isometry",
            config="vqcore.builtin.builtin_config:IsometryConfig",
            summary="distances of latents are in proportion to those of inputs",
        ),
    ]
