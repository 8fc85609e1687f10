"""Builds every component once, to find the broken ones."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib import metadata
from typing import Any

from vqcore.errors import ComponentError, VQError
from vqcore.plugin.component import KINDS, ComponentSpec
from vqcore.plugin.loader import Plugin
from vqcore.plugin.registry import Component, Registry

_DIM, _CODES, _CLASSES = 16, 8, 3
#: Samples that a backbone or a loss may be for, the first ones in messages: pictures, vectors,
#: signals, volumes, graphs.
_SHAPES = ((1, 8, 8), (3, 64, 64), (64,), (1, 64), (1, 8, 8, 8), (8, 8))


def broken_components(registry: Registry, kind: str | None = None) -> list[str]:
    """A message for each component that cannot be resolved or built with its defaults."""
    failures = []
    for each, plugin, spec in _provided(registry, kind):
        label = f"{each} {spec.name!r} of {plugin.package}"
        try:
            chosen = registry.resolve(each, f"{plugin.package}/{spec.name}")
            if each in ("backbone", "loss"):
                _build_for_any_shape(registry, chosen)
            else:
                registry.build(chosen, **_injected(registry, each))
        except ComponentError as error:
            failures.append(str(error))
        except VQError as error:
            if each not in ("dataset", "loss"):  # missing data and weights do not make it broken
                failures.append(f"{label}: {error}")
    return failures


def notes(registry: Registry, kind: str | None = None) -> list[str]:
    """What does not stop a plugin and should be mended; called before torch is imported."""
    found = [
        f"plugin {plugin.plugin} of {plugin.package} {note}"
        for plugin in registry.plugins
        for note in (*plugin.notes, *_unmet(plugin))
    ]
    for each, plugin, spec in _provided(registry, kind):
        without_torch = "torch" not in sys.modules
        try:
            registry.resolve(each, f"{plugin.package}/{spec.name}")
        except VQError:
            continue  # broken, which ``broken_components`` reports
        if without_torch and "torch" in sys.modules and plugin.version != "file":
            label = f"{each} {spec.name!r} of {plugin.package}"
            found.append(f"{label}: importing {spec.config} imports torch, which slows dry runs")
    return found


def _provided(registry: Registry, kind: str | None) -> Iterator[tuple[str, Plugin, ComponentSpec]]:
    for each in [kind] if kind else KINDS:
        for plugin in registry.plugins:
            for spec in plugin.provides.get(each, ()):
                yield each, plugin, spec


def _unmet(plugin: Plugin) -> Iterator[str]:
    """The requirements of a plugin's package that what is installed does not meet."""
    from packaging.requirements import InvalidRequirement, Requirement

    try:
        required = metadata.requires(plugin.package) or ()
    except metadata.PackageNotFoundError:  # a plugin file
        return
    for text in required:
        try:
            requirement = Requirement(text)
        except InvalidRequirement:
            continue
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            found = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            yield f"requires {text}, which is not installed"
            continue
        if not requirement.specifier.contains(found, prereleases=True):
            yield f"requires {text}, and {found} is installed"


def _build_for_any_shape(registry: Registry, chosen: Component) -> None:
    """Build a backbone or a loss for the first kind of samples that it takes.

    Raises:
        VQError: what it answers to pictures, if it takes none.
    """
    from vqcore.interfaces.dataset import SampleSpec

    refusals = []
    for shape in _SHAPES:
        injected: dict[str, Any] = {"shape": shape, "dim": _DIM}
        if getattr(registry.target(chosen), "emits", "samples") == "logits":
            injected["classes"] = _CLASSES
        if chosen.kind == "loss":
            injected = {"samples": SampleSpec(shape, (0.0, 1.0))}
        try:
            registry.build(chosen, **injected)
            return
        except VQError as error:
            refusals.append(error)
    raise refusals[0]


def _injected(registry: Registry, kind: str) -> dict[str, Any]:
    """What the builder injects into a component of this kind."""
    import torch
    from torch import nn

    if kind == "optimizer":
        return {"params": [nn.Parameter(torch.zeros(2, 2))]}
    if kind not in ("quantizer", "estimator"):
        return {}
    manifold = registry.build(registry.resolve("manifold", "vqcore/euclidean"))
    sizes = {"dim": _DIM, "codebook_size": _CODES} if kind == "quantizer" else {}
    return {"manifold": manifold, **sizes}
