"""What a plugin declares about each component it provides: a name and where to find it, nothing imported yet."""

from __future__ import annotations

import re
from dataclasses import dataclass

#: Every kind of component, and the hook that collects it.
KINDS: dict[str, str] = {
    "manifold": "vq_manifolds",
    "quantizer": "vq_quantizers",
    "estimator": "vq_estimators",
    "regularizer": "vq_regularizers",
    "optimizer": "vq_optimizers",
    "dataset": "vq_datasets",
    "backbone": "vq_backbones",
}

_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_LOCATION = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


@dataclass(frozen=True, kw_only=True)
class ComponentSpec:
    """One component as its plugin declares it.

    Attributes:
        name: what users write, lower case with hyphens: ``poincare``.
        target: ``package.module:Class``, imported only when the component is built.
        config: ``package.config:Model`` of its options (a torch-free module), or None where it has none.
        summary: one line for ``vq list-plugins``.
        needs: modules beyond the package's own dependencies that must be importable for it to be built.

    Raises:
        ValueError: if the name or a location is malformed, or the summary is empty, or ``needs`` is no tuple.
    """

    name: str
    target: str
    config: str | None = None
    summary: str
    needs: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError(
                f"component name {self.name!r}: expected lower-case words joined by hyphens"
            )
        for field, location in (("target", self.target), ("config", self.config)):
            left_out = field == "config" and location is None
            if not left_out and not _LOCATION.fullmatch(str(location)):
                raise ValueError(
                    f"{self.name}: {field} = {location!r}: expected 'package.module:Name'"
                )
        if not self.summary.strip():
            raise ValueError(f"{self.name}: expected a summary of one line")
        if not isinstance(self.needs, tuple):
            raise ValueError(
                f"{self.name}: needs = {self.needs!r}: expected a tuple of module names"
            )
