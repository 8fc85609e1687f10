"""vqcore: interfaces, hooks, registry and one composable layer for vector-quantized autoencoders.

Everything here is imported on first use, so that declaring a plugin or listing components never imports torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vqcore.codebook.table import CodebookQuantizer
    from vqcore.interfaces.backbone import Backbone, LevelBackbone
    from vqcore.interfaces.dataset import DataSource, SampleSpec, Split
    from vqcore.interfaces.estimator import GradientEstimator
    from vqcore.interfaces.latent_batch import LatentBatch
    from vqcore.interfaces.manifold import Manifold
    from vqcore.interfaces.quantizer import Quantized, Quantizer
    from vqcore.interfaces.regularizer import Regularizer
    from vqcore.layer import VectorQuantizer
    from vqcore.plugin.component import ComponentSpec
    from vqcore.plugin.component_config import CodebookConfig, ComponentConfig, RegularizerConfig
    from vqcore.plugin.hooks import hookimpl
    from vqcore.plugin.registry import Registry

_HOME = {
    "Split": "interfaces.dataset",
    "SampleSpec": "interfaces.dataset",
    "LevelBackbone": "interfaces.backbone",
    "DataSource": "interfaces.dataset",
    "Backbone": "interfaces.backbone",
    "CodebookConfig": "plugin.component_config",
    "CodebookQuantizer": "codebook.table",
    "ComponentConfig": "plugin.component_config",
    "ComponentSpec": "plugin.component",
    "GradientEstimator": "interfaces.estimator",
    "LatentBatch": "interfaces.latent_batch",
    "Manifold": "interfaces.manifold",
    "Quantized": "interfaces.quantizer",
    "Quantizer": "interfaces.quantizer",
    "Registry": "plugin.registry",
    "Regularizer": "interfaces.regularizer",
    "RegularizerConfig": "plugin.component_config",
    "VectorQuantizer": "layer",
    "hookimpl": "plugin.hooks",
}

__all__ = [
    "Backbone",
    "CodebookConfig",
    "CodebookQuantizer",
    "ComponentConfig",
    "ComponentSpec",
    "DataSource",
    "GradientEstimator",
    "LatentBatch",
    "LevelBackbone",
    "Manifold",
    "Quantized",
    "Quantizer",
    "Registry",
    "Regularizer",
    "RegularizerConfig",
    "SampleSpec",
    "Split",
    "VectorQuantizer",
    "hookimpl",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'vqcore' has no attribute {name!r}")
    return getattr(importlib.import_module(f"vqcore.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__
