"""Options of the regularizer ``homology``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from vqcore.plugin.bounds import Scale, Share, Steps, Weight
from vqcore.plugin.component_config import ActsIf, RegularizerConfig

_TABLE = ActsIf("points", ("codebook",))
_BY_RATIO = ActsIf("strength", ("entropy-ratio",))
_LOOPS = tuple(ActsIf(f"{name}_weight") for name in ("h1", "h1_total", "h1_entropy", "h1_alive"))


class HomologyConfig(RegularizerConfig):
    """Options of persistent homology."""

    weight: Weight = 0.02
    """Factor of this term in the loss; at 0 the term is not evaluated."""
    points: Literal["latents", "quantized", "codebook"] = "latents"
    """The cloud: latents of the batch, the codes that the batch uses, or all codes (HC-VQ)."""
    gather: Annotated[bool, ActsIf("points", ("latents", "quantized"))] = True
    """In distributed training, sample the cloud from all ranks instead of from each alone."""
    h0_target: Annotated[Scale, ActsIf("h0_weight")] = 1.0
    """H0 deaths below this value, relative to the cloud's RMS spread, are penalised."""
    h0_form: Annotated[Literal["each", "mean"], ActsIf("h0_weight")] = "each"
    """Compare each H0 death with the target, or only their mean."""
    h0_weight: Weight = 1.0
    """Weight of the H0 deaths."""
    h0_entropy_target: Annotated[Share, ActsIf("h0_entropy_weight")] = 1.0
    """Normalised persistent entropy of the H0 deaths; 1 means that all deaths are equal."""
    h0_entropy_weight: Weight = 0.0
    """Weight of the H0 entropy."""
    h1_target: Annotated[Weight, ActsIf("h1_weight")] = 0.5
    """Soft count of loops per point of the cloud."""
    h1_weight: Weight = 0.0
    """Weight of the soft count; above 0 the first search imports a backend."""
    h1_total_target: Annotated[Scale, ActsIf("h1_total_weight")] = 0.1
    """Total persistence of the loops per point, relative to the cloud's RMS spread."""
    h1_total_weight: Weight = 0.0
    """Weight of the total persistence; above 0 the first search imports a backend."""
    h1_entropy_target: Annotated[Share, ActsIf("h1_entropy_weight")] = 1.0
    """Normalised persistent entropy of the loops; 1 means that all lifetimes are equal."""
    h1_entropy_weight: Weight = 0.0
    """Weight of the H1 entropy; above 0 the first search imports a backend."""
    h1_alive_target: Annotated[Scale, ActsIf("h1_alive_weight")] = 0.3
    """Loops alive at distance alive_scale, per point."""
    h1_alive_weight: Weight = 0.0
    """Weight of the loops alive; above 0 the first search imports a backend."""
    alive_scale: Annotated[Scale, ActsIf("h1_alive_weight")] = 0.5
    """Distance at which h1_alive counts loops, relative to the cloud's RMS spread."""
    strength: Literal["constant", "entropy-ratio"] = "constant"
    """Multiply the term by 1, or by HC-VQ's |1 - S(Q)/S(X)| of code and input entropies."""
    period: Annotated[Steps, _BY_RATIO] = 200
    """Steps over which the entropies are averaged; their ratio applies in the next period."""
    entropy: Annotated[Literal["usage", "paper"], _BY_RATIO] = "usage"
    """Entropy of code usage, or HC-VQ's formula, which does not detect a collapse."""
    refresh: Annotated[int, Field(ge=1, le=10), _TABLE] = 10
    """Steps between pair searches of a codebook; latents are searched on every step."""
    edge_quantile: Annotated[float, Field(gt=0, le=1), *_LOOPS] = 0.1
    """Share of the edges, shortest first, searched for loops; up to 128 points use all."""
    max_points: Annotated[int, Field(ge=4, le=2**16)] | None = None
    """Largest cloud, sampled at random; None is 256 of a batch or 1024 of a codebook."""
    backend: Annotated[Literal["auto", "giotto-ph", "gudhi"], *_LOOPS] = "auto"
    """Library that finds loops; auto is giotto-ph (AGPLv3) if installed, else gudhi (MIT)."""
    wait: Annotated[Literal["auto", "always", "never"], _TABLE] = "auto"
    """Wait for codebook searches; auto waits on a CPU and in torch's deterministic mode."""
