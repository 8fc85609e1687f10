"""Registers the quantizer ``ema``."""

from __future__ import annotations

from vqcore.plugin.component import ComponentSpec
from vqcore.plugin.hooks import hookimpl

VQ_API = 1


@hookimpl
def vq_quantizers() -> list[ComponentSpec]:
    """The EMA codebook."""
    return [
        ComponentSpec(
            name="ema",
            target="vq_ema.quantizer:EMACodebook",
            config="vq_ema.ema_config:EMAConfig",
            summary="one codebook learned by exponential moving averages",
        )
    ]
