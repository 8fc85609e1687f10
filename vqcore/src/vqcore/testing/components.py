"""A registered component as the case of its conformance class, for checks without a test file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn

from vqcore.builtin.manifolds.euclidean import Euclidean
from vqcore.errors import VQError
from vqcore.interfaces.dataset import SampleSpec
from vqcore.plugin.registry import Component, Registry
from vqcore.testing.backbone import CLASSES, BackboneConformance
from vqcore.testing.dataset import DatasetConformance
from vqcore.testing.estimator import EstimatorConformance
from vqcore.testing.loss import LossConformance
from vqcore.testing.manifold import ManifoldConformance
from vqcore.testing.optimizer import OptimizerConformance
from vqcore.testing.quantizer import QuantizerConformance
from vqcore.testing.regularizer import RegularizerConformance

#: Samples that a backbone or a loss may be for, the first ones in messages: pictures, vectors,
#: signals, volumes, graphs.
SHAPES = ((1, 8, 8), (3, 16, 24), (64,), (1, 64), (1, 8, 8, 8), (8, 8), (3, 64, 64))
#: Sizes D and K that a quantizer may be for.
SIZES = ((8, 16), (4, 16), (9, 27), (8, 256))
#: Shapes of samples that a backbone is checked on, at most.
MOST_SHAPES = 2


def injected(kind: str, emits: str = "samples") -> list[dict[str, Any]]:
    """What a builder may pass besides options: one mapping, or several sizes and shapes."""
    if kind == "backbone":
        classes = {"classes": CLASSES} if emits == "logits" else {}
        return [{"shape": shape, "dim": 8, **classes} for shape in SHAPES]
    if kind == "loss":
        return [{"samples": SampleSpec(shape, (0.0, 1.0))} for shape in SHAPES]
    if kind == "quantizer":
        space = Euclidean()
        return [{"dim": dim, "codebook_size": size, "manifold": space} for dim, size in SIZES]
    usual: dict[str, dict[str, Any]] = {
        "estimator": {"manifold": Euclidean()},
        "optimizer": {"params": [nn.Parameter(torch.zeros(3))]},
    }
    return [usual.get(kind, {})]


def fitting(registry: Registry, chosen: Component) -> Iterator[dict[str, Any]]:
    """What of ``injected`` a component can be built with.

    Raises:
        VQError: what it answers to the first, if it can be built with none.
    """
    emits = getattr(registry.target(chosen), "emits", "samples")
    refusals, fits = [], False
    for given in injected(chosen.kind, emits):
        try:
            registry.build(chosen, **given)
        except VQError as error:
            refusals.append(error)
        else:
            fits = True
            yield given
    if not fits:
        raise refusals[0]


def component_case(
    registry: Registry, kind: str, name: str, options: Mapping[str, Any] | None = None
) -> Any:
    """An instance of the conformance class of a component's kind, for ``violations``.

    Args:
        registry: where the component is.
        kind, name: of the component.
        options: of the component, over its defaults.

    Raises:
        VQError: if it cannot be built, as without its files.
    """
    choice = {"name": name, **(options or {})}
    chosen = registry.resolve(kind, choice)
    fits = [given for given, _ in zip(fitting(registry, chosen), range(MOST_SHAPES), strict=False)]

    def made(_self: Any, *arguments: Any, **given: Any) -> Any:
        """Build it; what is not passed by name is the only thing that is injected."""
        only = dict(zip(injected(kind)[0], arguments, strict=True)) if arguments else {}
        if kind in _TAKE_OPTIONS:
            passed = fits[0] if kind == "loss" else {}
            return registry.build(registry.resolve(kind, choice | given), **passed)
        return registry.build(chosen, **only, **given)

    attributes: dict[str, Any] = {"make": made}
    if kind == "backbone":
        attributes["shapes"] = [given["shape"] for given in fits]
        attributes["emits"] = registry.target(chosen).emits
    elif kind == "loss":
        attributes["samples"] = fits[0]["samples"]
    elif kind == "quantizer":
        attributes |= {name: fits[0][name] for name in ("dim", "codebook_size")}
    case = type("Case", (CASES[kind],), attributes)()
    if kind == "dataset":
        for split in ("train", "test"):
            case.make().split(split)
    return case


_TAKE_OPTIONS = ("regularizer", "loss", "dataset")
#: The conformance class of each kind.
CASES: dict[str, type] = {
    "manifold": ManifoldConformance,
    "quantizer": QuantizerConformance,
    "estimator": EstimatorConformance,
    "regularizer": RegularizerConformance,
    "loss": LossConformance,
    "optimizer": OptimizerConformance,
    "dataset": DatasetConformance,
    "backbone": BackboneConformance,
}
