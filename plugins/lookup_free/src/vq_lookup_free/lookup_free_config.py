"""Options of the quantizers without a table of codes."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from vqcore.plugin.bounds import Scale, Weight
from vqcore.plugin.component_config import ActsIf, ComponentConfig

Level = Annotated[int, Field(ge=2, le=2**16)]


class FSQConfig(ComponentConfig):
    """Options of finite scalar quantization."""

    levels: Annotated[tuple[Level, ...], Field(min_length=1, max_length=62)] | None = None
    """Number of values of each coordinate; by default chosen from codebook_size."""


class SignConfig(ComponentConfig):
    """Options that LFQ and BSQ share."""

    commitment_weight: Weight = 0.25
    """Weight (beta) of the commitment loss, which pulls the encoder towards its code."""
    entropy_weight: Weight = 0.1
    """Weight of the entropy loss: certain bits of each token, equal use of all codes; 0 is off."""
    diversity_weight: Annotated[Weight, ActsIf("entropy_weight")] = 1.0
    """Weight of equal usage relative to certainty, within the entropy loss."""
    temperature: Annotated[Scale, ActsIf("entropy_weight")] = 0.2
    """Softness of the bits in the entropy loss, relative to the square of a code's coordinate."""
    entropy_bits: Annotated[int, Field(ge=1, le=16), ActsIf("entropy_weight")] = 8
    """Largest number of bits whose joint usage the entropy loss computes; more form groups."""


class LFQConfig(SignConfig):
    """Options of lookup-free quantization."""


class BSQConfig(SignConfig):
    """Options of binary spherical quantization."""

    commitment_weight: Weight = 0.0
    """Weight (beta) of the commitment loss; on the sphere no latent can be far from its code."""
