"""A prior over the codes of a trained run, samples from it, and linear probes of the codes.

``prior``, ``sample`` and ``probe`` are imported on first use, because they import torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vq_prior.linear_probe import probe
    from vq_prior.sampling import sample
    from vq_prior.training import prior

__all__ = ["prior", "probe", "sample"]

_MODULES = {"prior": "training", "probe": "linear_probe", "sample": "sampling"}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'vq_prior' has no attribute {name!r}")
    return getattr(import_module(f"vq_prior.{_MODULES[name]}"), name)
