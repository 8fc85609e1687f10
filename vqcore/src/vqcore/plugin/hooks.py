"""The whole map of the hooks: what a plugin may implement. Mark an implementation with ``@hookimpl``.

The first seven say which components a plugin provides. The rest follow a run from its config to its end. No hook
returns a value that depends on the order of the plugins, and no mathematics lives here: that is what the interfaces
Manifold, Quantizer, Regularizer and GradientEstimator are for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Literal

import pluggy

if TYPE_CHECKING:
    from torch import Tensor

    from vqcore.plugin.component import ComponentSpec
    from vqcore.plugin.protocols import CommandApp, ReportedRun, ResolvedConfig, TrainingRun
    from vqcore.plugin.report_section import Section

#: The version of this interface. A plugin module states the one it was written for as ``VQ_API = 1``.
API_VERSION = 1
PROJECT = "vqcore"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def vq_manifolds() -> Iterable[ComponentSpec]:  # type: ignore[empty-body]
    """The manifolds this plugin provides: targets are ``vqcore.Manifold`` classes."""


@hookspec
def vq_quantizers() -> Iterable[ComponentSpec]:  # type: ignore[empty-body]
    """The quantizers this plugin provides: targets are ``vqcore.Quantizer`` classes."""


@hookspec
def vq_estimators() -> Iterable[ComponentSpec]:  # type: ignore[empty-body]
    """The gradient estimators this plugin provides: targets are ``vqcore.GradientEstimator`` classes."""


@hookspec
def vq_regularizers() -> Iterable[ComponentSpec]:  # type: ignore[empty-body]
    """The regularizers this plugin provides: targets are ``vqcore.Regularizer`` classes."""


@hookspec
def vq_optimizers() -> Iterable[ComponentSpec]:  # type: ignore[empty-body]
    """The optimizers this plugin provides: targets take ``params`` and return a ``torch.optim.Optimizer``."""


@hookspec
def vq_datasets() -> Iterable[ComponentSpec]:  # type: ignore[empty-body]
    """The data sets this plugin provides: targets are ``vq.data.DataSource`` classes."""


@hookspec
def vq_backbones() -> Iterable[ComponentSpec]:  # type: ignore[empty-body]
    """The encoder and decoder pairs this plugin provides: targets are ``vq.models.backbones.Backbone`` classes."""


@hookspec
def vq_check_config(config: ResolvedConfig) -> Iterable[str]:  # type: ignore[empty-body]
    """Problems with a run's resolved config, one sentence each; any of them refuses the run (exit code 2)."""


@hookspec
def vq_run_start(run: TrainingRun) -> None:
    """A run is set up and takes its first step next. ``run`` has config, model, device, folder and step."""


@hookspec
def vq_metrics(run: TrainingRun, batch: Tensor) -> Mapping[str, float]:  # type: ignore[empty-body]
    """Extra figures for a line of metrics.jsonl, asked for on logging steps only."""


@hookspec
def vq_step_end(run: TrainingRun, step: int, losses: Mapping[str, Tensor]) -> None:
    """A training step is complete. ``losses`` holds detached scalars on the device: reading one synchronises."""


@hookspec
def vq_log(run: TrainingRun, metrics: Mapping[str, float]) -> None:
    """A line of metrics.jsonl is complete, on logging steps only: ``metrics`` holds it."""


@hookspec
def vq_run_end(run: TrainingRun, status: Literal["done", "failed", "interrupted"]) -> None:
    """The run is over: ``status`` is ``done``, ``failed`` or ``interrupted``."""


@hookspec
def vq_report(run: ReportedRun) -> Iterable[Section]:  # type: ignore[empty-body]
    """Sections of ``vq report`` on a run that was found in its folder. ``run`` has config, folder, metrics and step."""


@hookspec
def vq_commands(app: CommandApp) -> None:
    """Add commands to the Typer ``app`` of ``vq``."""
