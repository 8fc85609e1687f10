"""Options of the built-in components."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt

from vqcore.plugin.component_config import (
    CodebookConfig,
    ComponentConfig,
    CurvedConfig,
    RegularizerConfig,
)


class SphereConfig(CurvedConfig):
    """Options of the sphere."""

    max_angle: Annotated[float, Field(gt=0, lt=3.1)] = 1.5
    """Largest angle (radians) between the origin and a latent; longer tangent vectors are clipped to it."""


class GradientCodebookConfig(CodebookConfig):
    """Options of the codebook learned by gradients."""

    codebook_weight: NonNegativeFloat = 1.0
    """Weight of the codebook term, which pulls codes towards their latents."""
    affine_lr: NonNegativeFloat = 0.0
    """Learning rate, relative to the optimizer's, of a scale and shift that all codes share; 0 has none."""
    synchronized: NonNegativeFloat = 0.0
    """Weight of the decoder's gradient on the chosen codes, beside the codebook term."""


class SimVQConfig(CodebookConfig):
    """Options of the frozen codebook behind a learned matrix."""

    codebook_weight: NonNegativeFloat = 1.0
    """Weight of the codebook term, which pulls codes towards their latents by the matrix."""
    init: Literal["normal", "uniform", "wrapped-normal", "data", "kmeans"] = "normal"
    """Where codes start, with the first training batch: around the origin, around the latents, or on them."""


class RandomProjectionConfig(ComponentConfig):
    """Options of the random-projection quantizer."""

    code_dim: PositiveInt | None = None
    """Dimensions of the projection that is searched, at most dim; left out, 16 or dim where that is less."""
    commitment_weight: NonNegativeFloat = 0.25
    """Weight (beta) of the commitment term, which pulls the encoder towards its code."""


class GumbelConfig(ComponentConfig):
    """Options of the Gumbel-softmax relaxation."""

    temperature: PositiveFloat = 1.0
    """Softness of the choice, relative to the mean squared distance from a latent to its own code."""
    noise: bool = True
    """Draw Gumbel noise; without it the choice is a function of the latent alone."""


class EntropyConfig(RegularizerConfig):
    """Options of the entropy of code usage."""

    weight: NonNegativeFloat = 0.1
    """Factor of this term in the loss; at 0 the term is not evaluated."""
    temperature: PositiveFloat = 1.0
    """Softness of the assignment, relative to the mean squared distance from a latent to its own code."""
    max_tokens: PositiveInt = 1024
    """Tokens that one evaluation looks at, evenly spaced over the batch."""


class SmoothnessConfig(RegularizerConfig):
    """Options of decoder smoothness."""

    weight: NonNegativeFloat = 0.1
    """Factor of this term in the loss; at 0 the term is not evaluated."""


class OrthogonalConfig(RegularizerConfig):
    """Options of the orthogonality of codes."""

    max_codes: Annotated[int, Field(ge=2)] = 1024
    """Codes that one evaluation looks at, drawn anew on each step."""
    active_only: bool = False
    """Look only at codes that the step uses."""


class IsometryConfig(RegularizerConfig):
    """Options of the distances kept between inputs and latents."""

    weight: NonNegativeFloat = 0.1
    """Factor of this term in the loss; at 0 the term is not evaluated."""
    reference: Literal["euclidean", "squared"] = "euclidean"
    """Distance of inputs: euclidean, or its square, which for zeros and ones is the Hamming distance."""
    max_samples: Annotated[int, Field(ge=2)] = 128
    """Samples that one evaluation looks at, evenly spaced over the batch."""
