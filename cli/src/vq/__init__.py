"""vq: train vector-quantized autoencoders and use trained ones. Names are imported on first use."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vq.api import load, sweep, train
    from vq.data.in_memory import InMemoryDataset
    from vq.evaluation.evaluate_run import evaluate
    from vq.exports.write import export
    from vq.hub.load import from_pretrained
    from vq.hub.push import push
    from vq.models.autoencoder import VQModel
    from vq.runs.trained_run import TrainedRun, load_run
    from vq.sweeps.execute import SweepResult
    from vq.tokens.decode import decode
    from vq.tokens.encode import encode
    from vq_prior import prior, probe, sample
    from vq_report import compare, report

_MODULES = {
    "vq.api": "load sweep train",
    "vq.data.in_memory": "InMemoryDataset",
    "vq.evaluation.evaluate_run": "evaluate",
    "vq.exports.write": "export",
    "vq.hub.load": "from_pretrained",
    "vq.hub.push": "push",
    "vq.models.autoencoder": "VQModel",
    "vq.runs.trained_run": "TrainedRun load_run",
    "vq.sweeps.execute": "SweepResult",
    "vq.tokens.decode": "decode",
    "vq.tokens.encode": "encode",
    "vq_prior": "prior probe sample",
    "vq_report": "compare report",
}
_HOME = {name: module for module, names in _MODULES.items() for name in names.split()}

__all__ = [
    "InMemoryDataset", "SweepResult", "TrainedRun", "VQModel", "compare", "decode", "encode",
    "evaluate", "export", "from_pretrained", "load", "load_run", "prior", "probe", "push",
    "report", "sample", "sweep", "train",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'vq' has no attribute {name!r}")
    try:
        return getattr(import_module(_HOME[name]), name)
    except ModuleNotFoundError as error:
        if error.name not in ("vq_prior", "vq_report"):
            raise
        from vqcore.errors import ComponentError

        package = error.name.replace("_", "-")
        fix = f"install it with: pip install {package}"
        raise ComponentError(f"vq.{name} is part of the package {package}; {fix}") from error


def __dir__() -> list[str]:
    return __all__
