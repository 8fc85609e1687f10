"""Options of the regularizer ``homology``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat

from vqcore.config import RegularizerConfig


class HomologyConfig(RegularizerConfig):
    """Options of persistent homology."""

    weight: NonNegativeFloat = 0.02
    """Factor of this term in the loss; at 0 the term is not evaluated."""
    points: Literal["latents", "codebook"] = "latents"
    """The cloud: latents of the batch, which raises perplexity, or the codes, as in HC-VQ, which rather lowers it."""
    h0_target: PositiveFloat = 1.0
    """H0 death, relative to the cloud's RMS spread, that deaths below it are pulled to."""
    h0_form: Literal["each", "mean"] = "each"
    """Whether each death is held against the target, or only their mean."""
    h0_weight: NonNegativeFloat = 1.0
    """Share of the H0 term."""
    h1_target: NonNegativeFloat = 0.0
    """Number of loops that the soft count is pulled to, per point of the cloud."""
    h1_weight: NonNegativeFloat = 0.0
    """Share of the H1 term, off because nothing was gained by it; above 0 the first search imports a backend."""
    refresh: Annotated[int, Field(ge=1, le=10)] = 10
    """Steps between two searches for the pairs of a codebook; latents are new on every step and always searched."""
    edge_quantile: Annotated[float, Field(gt=0, le=1)] = 0.1
    """Share of the edges, shortest first, in which loops are looked for; clouds of up to 128 points use all."""
    max_points: Annotated[int, Field(ge=4)] | None = None
    """Points in the cloud at most, the rest left out at random; None is 256 latents or 1024 codes."""
    backend: Literal["auto", "giotto-ph", "gudhi"] = "auto"
    """Library that finds the loops; auto is giotto-ph (AGPLv3) where it is installed, else gudhi (MIT)."""
