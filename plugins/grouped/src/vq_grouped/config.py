"""Options of the grouped and residual quantizers."""

from __future__ import annotations

from pydantic import PositiveInt

from vqcore.config import ComponentConfig, ComponentRef, component


class GroupedConfig(ComponentConfig):
    """Options of the grouped quantizer."""

    inner: component("quantizer") = ComponentRef(name="vqcore/codebook")
    """The quantizer of each group, with its own options."""
    groups: PositiveInt = 2
    """Number of groups; it divides dim."""
    shared: bool = False
    """One codebook for all groups (hyperbolic VQ-VAE) instead of one each."""


class ResidualConfig(ComponentConfig):
    """Options of the residual quantizer."""

    inner: component("quantizer") = ComponentRef(name="vqcore/codebook")
    """The quantizer of each stage, with its own options."""
    stages: PositiveInt = 4
    """Number of stages; each quantizes what the ones before it left over."""
