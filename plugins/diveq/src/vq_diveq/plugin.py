"""Registers the estimator ``diveq``."""

from __future__ import annotations

from vqcore.plugin.component import ComponentSpec
from vqcore.plugin.hooks import hookimpl

VQ_API = 1


@hookimpl
def vq_estimators() -> list[ComponentSpec]:
    """DiVeQ."""
    return [
        ComponentSpec(
            name="diveq",
            target="vq_diveq.estimator:DiVeQ",
            config="vq_diveq.diveq_config:DiVeQConfig",
            summary="splits the gradient: along the error to the code, the rest to the latent",
        )
    ]
