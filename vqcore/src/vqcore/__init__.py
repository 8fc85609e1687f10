"""vqcore: interfaces, hooks, registry and one composable layer for vector-quantized autoencoders.

Everything here is imported on first use, so that declaring a plugin or listing components never imports torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vqcore.bottleneck import VectorQuantizer
    from vqcore.codebook import CodebookQuantizer
    from vqcore.component import ComponentSpec
    from vqcore.config import CodebookConfig, ComponentConfig, RegularizerConfig
    from vqcore.estimator import GradientEstimator
    from vqcore.hooks import hookimpl
    from vqcore.latent import LatentBatch
    from vqcore.manifold import Manifold
    from vqcore.quantizer import Quantized, Quantizer
    from vqcore.registry import Registry
    from vqcore.regularizer import Regularizer

_HOME = {
    "CodebookConfig": "config",
    "CodebookQuantizer": "codebook",
    "ComponentConfig": "config",
    "ComponentSpec": "component",
    "GradientEstimator": "estimator",
    "LatentBatch": "latent",
    "Manifold": "manifold",
    "Quantized": "quantizer",
    "Quantizer": "quantizer",
    "Registry": "registry",
    "Regularizer": "regularizer",
    "RegularizerConfig": "config",
    "VectorQuantizer": "bottleneck",
    "hookimpl": "hooks",
}

__all__ = [
    "CodebookConfig",
    "CodebookQuantizer",
    "ComponentConfig",
    "ComponentSpec",
    "GradientEstimator",
    "LatentBatch",
    "Manifold",
    "Quantized",
    "Quantizer",
    "Registry",
    "Regularizer",
    "RegularizerConfig",
    "VectorQuantizer",
    "hookimpl",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'vqcore' has no attribute {name!r}")
    return getattr(importlib.import_module(f"vqcore.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__
