"""Options of the regularizer ``homology``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt

from vqcore.plugin.component_config import RegularizerConfig

Share = Annotated[float, Field(ge=0, le=1)]


class HomologyConfig(RegularizerConfig):
    """Options of persistent homology."""

    weight: NonNegativeFloat = 0.02
    """Factor of this term in the loss; at 0 the term is not evaluated."""
    points: Literal["latents", "quantized", "codebook"] = "latents"
    """The cloud: latents of the batch, which raises perplexity, the codes that it uses, or all codes, as in HC-VQ."""
    gather: bool = True
    """Where several processes train, take the batch's points from all of them, not from each alone."""
    h0_target: PositiveFloat = 1.0
    """H0 death, relative to the cloud's RMS spread, that deaths below it are pulled to."""
    h0_form: Literal["each", "mean"] = "each"
    """Whether each death is held against the target, or only their mean."""
    h0_weight: NonNegativeFloat = 1.0
    """Share of the H0 term."""
    h0_entropy_target: Share = 1.0
    """Persistent entropy of the H0 deaths, as a share of the most it can be: 1 where all deaths are equal."""
    h0_entropy_weight: NonNegativeFloat = 0.0
    """Share of its term."""
    h1_target: NonNegativeFloat = 0.5
    """Number of loops that the soft count is pulled to, per point of the cloud."""
    h1_weight: NonNegativeFloat = 0.0
    """Share of the H1 term, off because nothing was gained by it; above 0 the first search imports a backend."""
    h1_total_target: PositiveFloat = 0.1
    """Total persistence of the loops, relative to the cloud's RMS spread, per point."""
    h1_total_weight: NonNegativeFloat = 0.0
    """Share of its term; above 0 the first search imports a backend."""
    h1_entropy_target: Share = 1.0
    """Persistent entropy of the loops, as a share of the most it can be: 1 where all live equally long."""
    h1_entropy_weight: NonNegativeFloat = 0.0
    """Share of its term; above 0 the first search imports a backend."""
    h1_alive_target: PositiveFloat = 0.3
    """Number of loops alive at the distance that alive_scale says, per point."""
    h1_alive_weight: NonNegativeFloat = 0.0
    """Share of its term; above 0 the first search imports a backend."""
    alive_scale: PositiveFloat = 0.5
    """Distance at which h1_alive counts loops, relative to the cloud's RMS spread."""
    strength: Literal["constant", "entropy-ratio"] = "constant"
    """Whether the term is multiplied by |1 - S(Q)/S(X)|, the ratio of the entropies of codes and inputs (HC-VQ)."""
    period: PositiveInt = 200
    """Steps over which the entropies of strength are averaged, and for which their ratio then serves; 1 until then."""
    entropy: Literal["usage", "paper"] = "usage"
    """Entropy that strength is made of: of code usage, or by HC-VQ's own formula, which does not see a collapse."""
    refresh: Annotated[int, Field(ge=1, le=10)] = 10
    """Steps between two searches for the pairs of a codebook; latents are new on every step and always searched."""
    edge_quantile: Annotated[float, Field(gt=0, le=1)] = 0.1
    """Share of the edges, shortest first, in which loops are looked for; clouds of up to 128 points use all."""
    max_points: Annotated[int, Field(ge=4)] | None = None
    """Points in the cloud at most, the rest left out at random; None is 256 of a batch or 1024 of a codebook."""
    backend: Literal["auto", "giotto-ph", "gudhi"] = "auto"
    """Library that finds the loops; auto is giotto-ph (AGPLv3) where it is installed, else gudhi (MIT)."""
    wait: Literal["auto", "always", "never"] = "auto"
    """Whether steps wait for the search of a codebook; auto does on a CPU and where torch is to be deterministic."""
