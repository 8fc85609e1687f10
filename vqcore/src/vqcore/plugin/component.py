"""How a plugin declares a component: its name and where to find it, with nothing imported yet."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from vqcore.plugin.deprecation import FormerName

#: Every kind of component, and the hook that collects it.
KINDS: dict[str, str] = {
    "manifold": "vq_manifolds",
    "quantizer": "vq_quantizers",
    "estimator": "vq_estimators",
    "regularizer": "vq_regularizers",
    "loss": "vq_losses",
    "optimizer": "vq_optimizers",
    "dataset": "vq_datasets",
    "backbone": "vq_backbones",
}

#: The interface of each kind: what a component is an instance of when it is built.
INTERFACES: dict[str, str] = {
    "manifold": "vqcore:Manifold",
    "quantizer": "vqcore:Quantizer",
    "estimator": "vqcore:GradientEstimator",
    "regularizer": "vqcore:Regularizer",
    "loss": "vqcore:Loss",
    "optimizer": "torch.optim:Optimizer",
    "dataset": "vqcore:DataSource",
    "backbone": "vqcore:Backbone",
}

#: What several of a kind are called, as in ``vq show losses``.
PLURALS: dict[str, str] = {kind: hook.removeprefix("vq_") for kind, hook in KINDS.items()}
#: The settings of a run that hold any number of components, by name, and the kind of these.
SEVERAL: dict[str, str] = {PLURALS[kind]: kind for kind in ("regularizer", "loss")}
#: The setting of a run that holds components of a kind.
SETTINGS: dict[str, str] = {kind: kind for kind in KINDS} | {k: key for key, k in SEVERAL.items()}

_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_LOCATION = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


def is_location(text: object) -> bool:
    """Whether a text says where to find something: ``package.module:Name``."""
    return isinstance(text, str) and _LOCATION.fullmatch(text) is not None


@dataclass(frozen=True, kw_only=True)
class ComponentSpec:
    """One component of a plugin.

    Attributes:
        name: what users write, lower case with hyphens: ``poincare``.
        target: ``package.module:Class``, imported only when the component is built.
        config: ``package.config:Model`` of its options, in a module that imports no torch; None if
            it has no options.
        summary: one line for ``vq list-plugins``.
        needs: modules that must be importable to build it, beyond the package's own dependencies.
        former_names: what it was called before; such a name works, with a warning.

    Raises:
        ValueError: if the name or a location is malformed, the summary is empty, or ``needs`` is
            not a tuple.
    """

    name: str
    target: str
    config: str | None = None
    summary: str
    needs: tuple[str, ...] = ()
    former_names: tuple[FormerName, ...] = ()

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            expected = "expected lower-case words joined by hyphens"
            raise ValueError(f"component name {self.name!r}: {expected}")
        for field, location in (("target", self.target), ("config", self.config)):
            left_out = field == "config" and location is None
            if not left_out and not is_location(location):
                expected = "expected 'package.module:Name'"
                raise ValueError(f"{self.name}: {field} = {location!r}: {expected}")
        if not self.summary.strip():
            raise ValueError(f"{self.name}: expected a summary of one line")
        needs: object = self.needs  # a string would be a sequence of names too
        if not isinstance(needs, tuple):
            expected = "expected a tuple of module names"
            raise ValueError(f"{self.name}: needs = {needs!r}: {expected}")


@dataclass(frozen=True, kw_only=True)
class PresetSpec:
    """Settings of a run by a name, as ``vq train --preset`` takes it.

    Attributes:
        name: what users write, lower case with hyphens: ``vq-vae``.
        file: a config file with these settings.
        summary: one line for ``vq show presets``.

    Raises:
        ValueError: if the name is malformed or the summary is empty.
    """

    name: str
    file: Path
    summary: str

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            expected = "expected lower-case words joined by hyphens"
            raise ValueError(f"preset name {self.name!r}: {expected}")
        if not self.summary.strip():
            raise ValueError(f"{self.name}: expected a summary of one line")
