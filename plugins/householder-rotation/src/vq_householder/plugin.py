"""Registers the estimator ``rotation``."""

from __future__ import annotations

from vqcore.plugin.component import ComponentSpec
from vqcore.plugin.hooks import hookimpl

VQ_API = 1


@hookimpl
def vq_estimators() -> list[ComponentSpec]:
    """The rotation trick."""
    return [
        ComponentSpec(
            name="rotation",
            target="vq_householder.estimator:Rotation",
            config="vq_householder.rotation_config:RotationConfig",
            summary="rotates and rescales the gradient as the latent turns into its code",
        )
    ]
