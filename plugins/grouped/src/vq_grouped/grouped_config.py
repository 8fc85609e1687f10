"""Options of the grouped and residual quantizers."""

from __future__ import annotations

from typing import Annotated, Literal

from vqcore.plugin.bounds import Depth, Share
from vqcore.plugin.component_config import ActsIf, ComponentConfig, ComponentRef, QuantizerRef


class GroupedConfig(ComponentConfig):
    """Options of the grouped quantizer."""

    inner: QuantizerRef = ComponentRef(name="vqcore/codebook")
    """The quantizer of each group, with its own options."""
    groups: Depth = 2
    """Number of groups; it divides dim."""
    shared: bool = False
    """One codebook for all groups (hyperbolic VQ-VAE) instead of one each."""


class ResidualConfig(ComponentConfig):
    """Options of the residual quantizer."""

    inner: QuantizerRef = ComponentRef(name="vqcore/codebook")
    """The quantizer of each stage, with its own options."""
    stages: Depth = 4
    """Number of stages; each quantizes the residual of the previous ones."""
    shared: bool = False
    """One codebook for all stages instead of one each."""
    residuals: Literal["tangent", "manifold"] = "tangent"
    """Add and subtract in the tangent space, or by translations of points (Moebius addition)."""
    stage_dropout: Annotated[Share, ActsIf("stages", above=1)] = 0.0
    """Share of training steps that use the first n stages only, n uniform in 1 to stages - 1."""
