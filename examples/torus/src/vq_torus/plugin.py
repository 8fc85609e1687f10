"""Registers the manifold ``torus``."""

from __future__ import annotations

from vqcore import ComponentSpec, hookimpl

VQ_API = 1


@hookimpl
def vq_manifolds() -> list[ComponentSpec]:
    """The manifolds of this plugin."""
    return [
        ComponentSpec(
            name="torus",
            target="vq_torus.torus:Torus",
            config="vq_torus.config:TorusConfig",
            summary="a circle for each dimension: coordinates that wrap",
        )
    ]
