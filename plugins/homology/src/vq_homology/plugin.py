"""Registers the regularizer ``homology``."""

from __future__ import annotations

from vqcore.component import ComponentSpec
from vqcore.hooks import hookimpl

VQ_API = 1


@hookimpl
def vq_regularizers() -> list[ComponentSpec]:
    """Persistent homology of the codebook."""
    return [
        ComponentSpec(
            name="homology",
            target="vq_homology.regularizer:Homology",
            config="vq_homology.config:HomologyConfig",
            summary="keeps codes apart (H0) and sets how many loops they form (H1)",
        )
    ]
