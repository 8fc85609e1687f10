"""The built-in components, registered as any plugin's are."""

from __future__ import annotations

from vqcore.plugin.component import ComponentSpec
from vqcore.plugin.hooks import hookimpl

VQ_API = 1


def _spec(name: str, target: str, config: str | None, summary: str) -> ComponentSpec:
    return ComponentSpec(
        name=name,
        target=f"vqcore.builtin.{target}",
        config=f"vqcore.builtin.builtin_config:{config}" if config else None,
        summary=summary,
    )


@hookimpl
def vq_manifolds() -> list[ComponentSpec]:
    """Flat space, the sphere, and products of manifolds."""
    flat = "flat space, nearest code by squared distance"
    sphere = "the sphere, nearest code by cosine"
    product = "a product of manifolds of any kinds and curvatures, each with its own dimensions"
    return [
        _spec("euclidean", "manifolds.euclidean:Euclidean", None, flat),
        _spec("sphere", "manifolds.sphere:Sphere", "SphereConfig", sphere),
        _spec("product", "manifolds.product:Product", "ProductConfig", product),
    ]


@hookimpl
def vq_quantizers() -> list[ComponentSpec]:
    """A codebook learned by gradients, one behind a learned matrix, and a frozen one."""
    learned = "one codebook learned by gradients (VQ-VAE)"
    simvq = "a frozen random codebook transformed by one learned matrix (SimVQ)"
    frozen = "nearest by angle in a frozen random projection, for its indices (BEST-RQ)"
    projection = "quantizers.random_projection:RandomProjection"
    return [
        _spec(
            "codebook", "quantizers.codebook:GradientCodebook", "GradientCodebookConfig", learned
        ),
        _spec("simvq", "quantizers.simvq:SimVQ", "SimVQConfig", simvq),
        _spec("random-projection", projection, "RandomProjectionConfig", frozen),
    ]


@hookimpl
def vq_estimators() -> list[ComponentSpec]:
    """Straight-through, its isometric form, noise substitution and Gumbel-softmax."""
    straight = "copies the gradient past the quantizer"
    transport = "transports the gradient from code to latent by an isometry of the manifold"
    noise = "replaces the quantization error in training by noise of its length (NSVQ)"
    gumbel = "a soft choice among all codes in training (Gumbel-softmax)"
    return [
        _spec("straight-through", "estimators.straight_through:StraightThrough", None, straight),
        _spec("transport", "estimators.transport:Transport", None, transport),
        _spec("noise-substitution", "estimators.noise_substitution:NoiseSubstitution", None, noise),
        _spec("gumbel", "estimators.gumbel:Gumbel", "GumbelConfig", gumbel),
    ]


@hookimpl
def vq_regularizers() -> list[ComponentSpec]:
    """Entropy of code usage, decoder smoothness, orthogonality of codes, and isometry."""
    entropy = "spreads usage evenly over the codes"
    smooth = "makes the decoder's output for a latent and for its code equal"
    orthogonal = "makes the directions of codes orthogonal"
    isometry = "keeps distances between latents proportional to those between inputs"
    smoothness = "regularizers.smoothness:DecoderSmoothness"
    return [
        _spec("entropy", "regularizers.entropy:UsageEntropy", "EntropyConfig", entropy),
        _spec("smoothness", smoothness, "SmoothnessConfig", smooth),
        _spec(
            "orthogonal", "regularizers.orthogonal:Orthogonality", "OrthogonalConfig", orthogonal
        ),
        _spec("isometry", "regularizers.isometry:Isometry", "IsometryConfig", isometry),
    ]


@hookimpl
def vq_losses() -> list[ComponentSpec]:
    """Errors, cross-entropies, structural similarity, distance of spectra, links of a hierarchy."""
    bernoulli = "cross-entropy of values in [0, 1], of which the decoder emits logits"
    labels = "cross-entropy of the classes of samples, of which the backbone emits logits"
    ssim = "structural dissimilarity of images in a Gaussian window"
    links = "links of a hierarchy against unrelated nodes, of which the decoder emits logits"
    spectral = "distance of spectra at several resolutions, for audio"
    return [
        _spec("mse", "losses.mse:SquaredError", "LossConfig", "mean squared error"),
        _spec("l1", "losses.l1:AbsoluteError", "LossConfig", "mean absolute error"),
        _spec("bernoulli", "losses.bernoulli:CrossEntropy", "LossConfig", bernoulli),
        _spec("cross-entropy", "losses.cross_entropy:LabelCrossEntropy", "LossConfig", labels),
        _spec("ssim", "losses.ssim:StructuralDissimilarity", "LossConfig", ssim),
        _spec("spectral", "losses.spectral:SpectralDistance", "SpectralConfig", spectral),
        _spec("links", "losses.links:Links", "LossConfig", links),
    ]
