"""Options of the regularizer ``homology``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt

from vqcore.plugin.component_config import RegularizerConfig

Fraction = Annotated[float, Field(ge=0, le=1)]


class HomologyConfig(RegularizerConfig):
    """Options of persistent homology."""

    weight: NonNegativeFloat = 0.02
    """Factor of this term in the loss; at 0 the term is not evaluated."""
    points: Literal["latents", "quantized", "codebook"] = "latents"
    """The cloud: latents of the batch, the codes that the batch uses, or all codes (HC-VQ)."""
    gather: bool = True
    """In distributed training, sample the cloud from all ranks instead of from each alone."""
    h0_target: PositiveFloat = 1.0
    """H0 deaths below this value, relative to the cloud's RMS spread, are penalised."""
    h0_form: Literal["each", "mean"] = "each"
    """Compare each H0 death with the target, or only their mean."""
    h0_weight: NonNegativeFloat = 1.0
    """Weight of the H0 deaths."""
    h0_entropy_target: Fraction = 1.0
    """Normalised persistent entropy of the H0 deaths; 1 means that all deaths are equal."""
    h0_entropy_weight: NonNegativeFloat = 0.0
    """Weight of the H0 entropy."""
    h1_target: NonNegativeFloat = 0.5
    """Soft count of loops per point of the cloud."""
    h1_weight: NonNegativeFloat = 0.0
    """Weight of the soft count; above 0 the first search imports a backend."""
    h1_total_target: PositiveFloat = 0.1
    """Total persistence of the loops per point, relative to the cloud's RMS spread."""
    h1_total_weight: NonNegativeFloat = 0.0
    """Weight of the total persistence; above 0 the first search imports a backend."""
    h1_entropy_target: Fraction = 1.0
    """Normalised persistent entropy of the loops; 1 means that all lifetimes are equal."""
    h1_entropy_weight: NonNegativeFloat = 0.0
    """Weight of the H1 entropy; above 0 the first search imports a backend."""
    h1_alive_target: PositiveFloat = 0.3
    """Loops alive at distance alive_scale, per point."""
    h1_alive_weight: NonNegativeFloat = 0.0
    """Weight of the loops alive; above 0 the first search imports a backend."""
    alive_scale: PositiveFloat = 0.5
    """Distance at which h1_alive counts loops, relative to the cloud's RMS spread."""
    strength: Literal["constant", "entropy-ratio"] = "constant"
    """Multiply the term by 1, or by HC-VQ's |1 - S(Q)/S(X)| of code and input entropies."""
    period: PositiveInt = 200
    """Steps over which the entropies are averaged; their ratio applies in the next period."""
    entropy: Literal["usage", "paper"] = "usage"
    """Entropy of code usage, or HC-VQ's formula, which does not detect a collapse."""
    refresh: Annotated[int, Field(ge=1, le=10)] = 10
    """Steps between pair searches of a codebook; latents are searched on every step."""
    edge_quantile: Annotated[float, Field(gt=0, le=1)] = 0.1
    """Share of the edges, shortest first, searched for loops; up to 128 points use all."""
    max_points: Annotated[int, Field(ge=4)] | None = None
    """Largest cloud, sampled at random; None is 256 of a batch or 1024 of a codebook."""
    backend: Literal["auto", "giotto-ph", "gudhi"] = "auto"
    """Library that finds loops; auto is giotto-ph (AGPLv3) if installed, else gudhi (MIT)."""
    wait: Literal["auto", "always", "never"] = "auto"
    """Wait for codebook searches; auto waits on a CPU and in torch's deterministic mode."""
