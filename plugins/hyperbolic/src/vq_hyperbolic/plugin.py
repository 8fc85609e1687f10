"""Registers the manifolds ``poincare`` and ``lorentz`` and the optimizer ``riemannian-adam``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from vqcore.plugin.component import ComponentSpec
from vqcore.plugin.hooks import hookimpl

VQ_API = 1


@hookimpl
def vq_manifolds() -> list[ComponentSpec]:
    """Two models of the same hyperbolic space."""
    return [
        ComponentSpec(
            name="poincare",
            target="vq_hyperbolic.poincare:Poincare",
            config="vq_hyperbolic.hyperbolic_config:PoincareConfig",
            summary="hyperbolic space as the Poincare ball, D coordinates a point",
        ),
        ComponentSpec(
            name="lorentz",
            target="vq_hyperbolic.lorentz:Lorentz",
            config="vq_hyperbolic.hyperbolic_config:HyperbolicConfig",
            summary="hyperbolic space as the Lorentz hyperboloid, D+1 coordinates a point",
        ),
    ]


@hookimpl
def vq_optimizers() -> list[ComponentSpec]:
    """Adam that keeps Riemannian codes on their manifold."""
    return [
        ComponentSpec(
            name="riemannian-adam",
            target="vq_hyperbolic.optimizer:riemannian_adam",
            config="vq_hyperbolic.hyperbolic_config:RiemannianAdamConfig",
            summary="Adam, Riemannian for codes stored as points (codes=riemannian)",
        )
    ]


@hookimpl
def vq_check_config(config: Any) -> Iterator[str]:
    """Codes stored as points need the optimizer that uses their metric; float32 ends early."""
    from vq_hyperbolic.hyperbolic_config import HyperbolicConfig

    manifold, optimizer = config.components["manifold"], config.components["optimizer"]
    options = manifold.options
    riemannian = isinstance(options, HyperbolicConfig) and options.codes == "riemannian"
    if riemannian and optimizer.spec.name != "riemannian-adam":
        yield (
            "manifold.codes = 'riemannian': expected optimizer riemannian-adam, found "
            f"{optimizer.name}: it would move points as flat vectors; set "
            "--optimizer riemannian-adam, or manifold.codes to tangent"
        )
    yield from _too_far(config, manifold)


def _too_far(config: Any, manifold: Any) -> Iterator[str]:
    """Radii beyond the run's precision, of a manifold and of the factors of a product."""
    from vq_hyperbolic.hyperbolic_config import (
        FLOAT32_REACH,
        FLOAT64_REACH,
        HyperbolicConfig,
        shown_limit,
    )

    for factor in manifold.children.values():
        yield from _too_far(config, factor)
    options = manifold.options
    if not isinstance(options, HyperbolicConfig):
        return
    double = config.settings.precision == "float64"
    reach, kind = (FLOAT64_REACH, "float64") if double else (FLOAT32_REACH, "float32")
    farthest = reach / options.curvature**0.5
    if options.max_radius > farthest:
        fix = "lower it" if double else "lower it, or set precision to float64"
        yield (
            f"{manifold.path}.max_radius = {options.max_radius}: expected at most "
            f"{shown_limit(farthest)} in {kind} at curvature {options.curvature:g}; {fix}"
        )
