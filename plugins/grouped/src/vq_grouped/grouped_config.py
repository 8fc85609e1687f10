"""Options of the grouped and residual quantizers."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveInt

from vqcore.plugin.component_config import ComponentConfig, ComponentRef, QuantizerRef


class GroupedConfig(ComponentConfig):
    """Options of the grouped quantizer."""

    inner: QuantizerRef = ComponentRef(name="vqcore/codebook")
    """The quantizer of each group, with its own options."""
    groups: PositiveInt = 2
    """Number of groups; it divides dim."""
    shared: bool = False
    """One codebook for all groups (hyperbolic VQ-VAE) instead of one each."""


class ResidualConfig(ComponentConfig):
    """Options of the residual quantizer."""

    inner: QuantizerRef = ComponentRef(name="vqcore/codebook")
    """The quantizer of each stage, with its own options."""
    stages: PositiveInt = 4
    """Number of stages; each quantizes what the ones before it left over."""
    shared: bool = False
    """One codebook for all stages instead of one each."""
    residuals: Literal["tangent", "manifold"] = "tangent"
    """Subtract and add in the tangent space at the origin, or by the manifold's translations (Moebius addition)."""
    stage_dropout: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Share of training steps that use a random number of the first stages only."""
