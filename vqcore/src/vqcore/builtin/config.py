"""Options of the built-in components."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt

from vqcore.config import CodebookConfig, ComponentConfig, RegularizerConfig


class SphereConfig(ComponentConfig):
    """Options of the sphere."""

    curvature: PositiveFloat = 1.0
    """Sectional curvature k; the radius of the sphere is 1/sqrt(k)."""
    gain: PositiveFloat = 1.0
    """Latents are scaled by gain/sqrt(D) before they are read as tangent vectors."""
    max_angle: Annotated[float, Field(gt=0, lt=3.1)] = 1.5
    """Largest angle (radians) between the origin and a latent; longer tangent vectors are clipped to it."""


class GradientCodebookConfig(CodebookConfig):
    """Options of the codebook learned by gradients."""

    codebook_weight: NonNegativeFloat = 1.0
    """Weight of the codebook term, which pulls codes towards their latents."""


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
