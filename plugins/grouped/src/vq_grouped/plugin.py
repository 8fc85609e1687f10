"""Registers the quantizers ``grouped`` and ``residual``."""

from __future__ import annotations

from vqcore.plugin.component import ComponentSpec
from vqcore.plugin.hooks import hookimpl

VQ_API = 1


@hookimpl
def vq_quantizers() -> list[ComponentSpec]:
    """The grouped and the residual quantizer."""
    return [
        ComponentSpec(
            name="grouped",
            target="vq_grouped.grouped:Grouped",
            config="vq_grouped.grouped_config:GroupedConfig",
            summary="splits the latent into groups, each with its own quantizer",
        ),
        ComponentSpec(
            name="residual",
            target="vq_grouped.residual:Residual",
            config="vq_grouped.grouped_config:ResidualConfig",
            summary="quantizes in stages, each the residual of the previous one",
        ),
    ]
