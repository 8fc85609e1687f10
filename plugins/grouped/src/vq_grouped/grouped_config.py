"""Options of the grouped and residual quantizers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from vqcore.errors import SettingError
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

    def inner_dims(self, dim: int) -> Mapping[str, int]:
        """See ``ComponentConfig.inner_dims``."""
        return {"inner": group_dim(dim, self.groups)}


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

    def inner_dims(self, dim: int) -> Mapping[str, int]:
        """See ``ComponentConfig.inner_dims``."""
        return {"inner": dim}


def group_dim(dim: int, groups: int) -> int:
    """The dimensions of each of ``groups`` equal parts of ``dim``.

    Raises:
        SettingError: if there are none.
    """
    if dim % groups:
        divisors = ", ".join(str(g) for g in range(1, dim + 1) if dim % g == 0)
        fix = f"choose one of {divisors}"
        raise SettingError("groups", groups, f"a divisor of dim = {dim}", fix)
    return dim // groups
