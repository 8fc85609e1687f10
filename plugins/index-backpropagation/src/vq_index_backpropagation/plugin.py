"""Registers the estimator ``index-backpropagation``."""

from __future__ import annotations

from vqcore.plugin.component import ComponentSpec
from vqcore.plugin.hooks import hookimpl

VQ_API = 1


@hookimpl
def vq_estimators() -> list[ComponentSpec]:
    """Index backpropagation."""
    return [
        ComponentSpec(
            name="index-backpropagation",
            target="vq_index_backpropagation.estimator:IndexBackpropagation",
            config="vq_index_backpropagation.index_config:IndexBackpropagationConfig",
            summary="passes the gradient to all codes through a softmax over them (IBQ)",
        )
    ]
