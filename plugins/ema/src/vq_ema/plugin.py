"""Registers the quantizer ``ema``."""

from __future__ import annotations

from vqcore.component import ComponentSpec
from vqcore.hooks import hookimpl

VQ_API = 1


@hookimpl
def vq_quantizers() -> list[ComponentSpec]:
    """The EMA codebook."""
    return [
        ComponentSpec(
            name="ema",
            target="vq_ema.quantizer:EMACodebook",
            config="vq_ema.config:EMAConfig",
            summary="one codebook learned by exponential moving averages",
        )
    ]
