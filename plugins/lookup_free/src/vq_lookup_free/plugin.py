"""Registers the quantizers ``fsq``, ``lfq`` and ``bsq``."""

from __future__ import annotations

from vqcore.plugin.component import ComponentSpec
from vqcore.plugin.hooks import hookimpl

VQ_API = 1


@hookimpl
def vq_quantizers() -> list[ComponentSpec]:
    """FSQ, LFQ and BSQ."""
    return [
        ComponentSpec(
            name="fsq",
            target="vq_lookup_free.fsq:FSQ",
            config="vq_lookup_free.lookup_free_config:FSQConfig",
            summary="rounds each coordinate to a few levels (FSQ)",
        ),
        ComponentSpec(
            name="lfq",
            target="vq_lookup_free.lfq:LFQ",
            config="vq_lookup_free.lookup_free_config:LFQConfig",
            summary="the sign of each coordinate, one bit each (LFQ, MAGVIT-v2)",
        ),
        ComponentSpec(
            name="bsq",
            target="vq_lookup_free.bsq:BSQ",
            config="vq_lookup_free.lookup_free_config:BSQConfig",
            summary="the signs of a vector on the unit sphere (BSQ)",
        ),
    ]
