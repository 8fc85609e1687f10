"""Registers the loss ``focal-frequency``."""

from __future__ import annotations

from vqcore import ComponentSpec, hookimpl

VQ_API = 1


@hookimpl
def vq_losses() -> list[ComponentSpec]:
    """The losses of this plugin."""
    return [
        ComponentSpec(
            name="focal-frequency",
            target="vq_focal_frequency.loss:FocalFrequency",
            config="vq_focal_frequency.config:FocalFrequencyConfig",
            summary="squared error of Fourier coefficients, most of it from the worst ones",
        )
    ]
