"""Builds every component once, to find the broken ones."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from vqcore.errors import ComponentError, VQError
from vqcore.plugin.component import KINDS
from vqcore.plugin.registry import Registry

_SHAPE, _DIM, _CODES = (1, 8, 8), 16, 8


def broken_components(registry: Registry, kind: str | None = None) -> list[str]:
    """A message for each component that cannot be resolved or built with its defaults."""
    failures = []
    for each in [kind] if kind else KINDS:
        provided = [(p, s) for p in registry.plugins for s in p.provides.get(each, ())]
        for plugin, spec in provided:
            try:
                chosen = registry.resolve(each, f"{plugin.package}/{spec.name}")
                registry.build(chosen, **_injected(registry, each))
            except ComponentError as error:
                failures.append(str(error))
            except VQError as error:
                if each != "dataset":  # missing data do not make the component broken
                    failures.append(f"{each} {spec.name!r} of {plugin.package}: {error}")
    return failures


def _injected(registry: Registry, kind: str) -> dict[str, Any]:
    """What the builder injects into a component of this kind."""
    if kind == "backbone":
        return {"shape": _SHAPE, "dim": _DIM}
    if kind == "optimizer":
        return {"params": [nn.Parameter(torch.zeros(2, 2))]}
    if kind not in ("quantizer", "estimator"):
        return {}
    manifold = registry.build(registry.resolve("manifold", "vqcore/euclidean"))
    sizes = {"dim": _DIM, "codebook_size": _CODES} if kind == "quantizer" else {}
    return {"manifold": manifold, **sizes}
