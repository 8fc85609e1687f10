"""Registers the quantizer ``tree``."""

from __future__ import annotations

from vqcore import ComponentSpec, hookimpl

VQ_API = 1


@hookimpl
def vq_quantizers() -> list[ComponentSpec]:
    """The quantizers of this plugin."""
    return [
        ComponentSpec(
            name="tree",
            target="vq_tree_search.quantizer:TreeCodebook",
            config="vq_tree_search.config:TreeCodebookConfig",
            summary="a large codebook, searched in a tree of centroids: log K distances, not K",
        )
    ]
