"""vqcore: interfaces, hooks, registry and one composable layer for vector-quantized autoencoders.

Names are imported on first use, so that declaring a plugin or listing components imports no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vqcore.codebook.table import CodebookQuantizer
    from vqcore.data.dataset_split import DatasetSplit
    from vqcore.data.image_source import ImageSource
    from vqcore.data.partition import train_test_indices
    from vqcore.data.tensor_split import SubsetSplit, TensorSplit
    from vqcore.errors import ComponentError, RunError, SettingError, UsageError, VQError
    from vqcore.interfaces.backbone import Backbone, LevelBackbone
    from vqcore.interfaces.dataset import DataSource, SampleSpec, Split
    from vqcore.interfaces.estimator import GradientEstimator
    from vqcore.interfaces.latent_batch import LatentBatch
    from vqcore.interfaces.loss import Loss, LossBatch, TrainedLoss
    from vqcore.interfaces.manifold import Manifold
    from vqcore.interfaces.output import Output
    from vqcore.interfaces.quantizer import CodeAssignment, Quantized, Quantizer
    from vqcore.interfaces.regularizer import Regularizer
    from vqcore.layer import VectorQuantizer
    from vqcore.plugin.component import ComponentSpec, PresetSpec
    from vqcore.plugin.component_config import (
        ActsIf,
        BackboneRef,
        CodebookConfig,
        ComponentConfig,
        ComponentRef,
        CurvedConfig,
        DatasetRef,
        DatasetRefs,
        EstimatorRef,
        LossConfig,
        ManifoldRef,
        ManifoldRefs,
        OnDisk,
        OptimizerRef,
        QuantizerRef,
        RegularizerConfig,
        Shorthand,
        SizesIn,
    )
    from vqcore.plugin.hooks import hookimpl
    from vqcore.plugin.registry import Registry, default_registry

_MODULES = {
    "codebook.table": "CodebookQuantizer",
    "data.dataset_split": "DatasetSplit",
    "data.image_source": "ImageSource",
    "data.partition": "train_test_indices",
    "data.tensor_split": "SubsetSplit TensorSplit",
    "errors": "ComponentError RunError SettingError UsageError VQError",
    "interfaces.backbone": "Backbone LevelBackbone",
    "interfaces.dataset": "DataSource SampleSpec Split",
    "interfaces.estimator": "GradientEstimator",
    "interfaces.latent_batch": "LatentBatch",
    "interfaces.loss": "Loss LossBatch TrainedLoss",
    "interfaces.manifold": "Manifold",
    "interfaces.output": "Output",
    "interfaces.quantizer": "CodeAssignment Quantized Quantizer",
    "interfaces.regularizer": "Regularizer",
    "layer": "VectorQuantizer",
    "plugin.component": "ComponentSpec PresetSpec",
    "plugin.component_config": "ActsIf BackboneRef CodebookConfig ComponentConfig ComponentRef "
    "CurvedConfig DatasetRef DatasetRefs EstimatorRef LossConfig ManifoldRef ManifoldRefs OnDisk "
    "OptimizerRef QuantizerRef RegularizerConfig Shorthand SizesIn",
    "plugin.hooks": "hookimpl",
    "plugin.registry": "Registry default_registry",
}
_HOME = {name: module for module, names in _MODULES.items() for name in names.split()}

__all__ = [
    "ActsIf", "Backbone", "BackboneRef", "CodeAssignment", "CodebookConfig",
    "CodebookQuantizer", "ComponentConfig", "ComponentError", "ComponentRef", "ComponentSpec",
    "CurvedConfig", "DataSource", "DatasetRef", "DatasetRefs", "DatasetSplit", "EstimatorRef",
    "GradientEstimator", "ImageSource", "LatentBatch", "LevelBackbone", "Loss",
    "LossBatch", "LossConfig", "Manifold", "ManifoldRef", "ManifoldRefs", "OnDisk", "OptimizerRef",
    "Output", "PresetSpec", "Quantized", "Quantizer", "QuantizerRef", "Registry", "Regularizer",
    "RegularizerConfig", "RunError", "SampleSpec", "SettingError", "Shorthand", "SizesIn", "Split",
    "SubsetSplit", "TensorSplit", "TrainedLoss", "UsageError", "VQError", "VectorQuantizer",
    "default_registry", "hookimpl", "train_test_indices",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'vqcore' has no attribute {name!r}")
    return getattr(importlib.import_module(f"vqcore.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__
