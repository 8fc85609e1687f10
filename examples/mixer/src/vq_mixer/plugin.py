"""Registers the backbone ``mixer``."""

from __future__ import annotations

from vqcore import ComponentSpec, hookimpl

VQ_API = 1


@hookimpl
def vq_backbones() -> list[ComponentSpec]:
    """The backbones of this plugin."""
    return [
        ComponentSpec(
            name="mixer",
            target="vq_mixer.backbone:Mixer",
            config="vq_mixer.config:MixerConfig",
            summary="MLPs over the patches and over the channels of images or signals",
        )
    ]
