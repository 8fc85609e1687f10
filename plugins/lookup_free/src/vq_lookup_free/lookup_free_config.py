"""Options of the quantizers without a table of codes."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, NonNegativeFloat, PositiveFloat

from vqcore.plugin.component_config import ComponentConfig


class FSQConfig(ComponentConfig):
    """Options of finite scalar quantization."""

    levels: (
        Annotated[tuple[Annotated[int, Field(ge=2, le=2**16)], ...], Field(min_length=1)] | None
    ) = None
    """Values that each coordinate can take, one number a dimension; left out, chosen to fit codebook_size."""


class SignConfig(ComponentConfig):
    """What both quantizers by signs can be told."""

    commitment_weight: NonNegativeFloat = 0.25
    """Weight (beta) of the commitment term, which pulls the encoder towards its code."""
    entropy_weight: NonNegativeFloat = 0.1
    """Weight of the entropy term, which makes each token's bits certain and all codes used alike; 0 leaves it out."""
    diversity_weight: NonNegativeFloat = 1.0
    """Weight, within the entropy term, of equal usage beside certainty."""
    temperature: PositiveFloat = 0.2
    """Softness of the bits in the entropy term, relative to the square of a code's coordinate."""
    entropy_bits: Annotated[int, Field(ge=1, le=16)] = 8
    """Bits whose joint usage the entropy term looks at; with more bits than this, by groups of at most as many."""


class LFQConfig(SignConfig):
    """Options of lookup-free quantization."""


class BSQConfig(SignConfig):
    """Options of binary spherical quantization."""

    commitment_weight: NonNegativeFloat = 0.0
    """Weight (beta) of the commitment term; on the sphere no latent can leave its code far behind."""
