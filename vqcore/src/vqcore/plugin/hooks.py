"""Every hook that a plugin may implement. Mark an implementation with ``@hookimpl``.

The first ten declare what a plugin provides: components, settings by name, and settings of its
own. The rest follow a run from its config to its report. No answer depends on the order of the
plugins, and no mathematics lives here: that is what the interfaces are for.

The methods of a callback have the names and arguments of ``vq_run_start``, ``vq_metrics``,
``vq_step_end``, ``vq_log`` and ``vq_run_end``. Where several processes train one model, the main
process alone calls these hooks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal

import pluggy

if TYPE_CHECKING:
    from torch import Tensor

    from vqcore.plugin.component import ComponentSpec, PresetSpec
    from vqcore.plugin.protocols import CommandApp, ReportedRun, ResolvedConfig, TrainingRun
    from vqcore.plugin.report_section import Section

#: The version of this interface. A plugin states the one it was written for: ``VQ_API = 1``.
API_VERSION = 1
#: Earlier versions that are accepted for a while, each with the vqcore that will refuse it.
ACCEPTED: dict[int, str] = {}
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
    """The estimators this plugin provides: targets are ``vqcore.GradientEstimator`` classes."""


@hookspec
def vq_regularizers() -> Iterable[ComponentSpec]:  # type: ignore[empty-body]
    """The regularizers this plugin provides: targets are ``vqcore.Regularizer`` classes."""


@hookspec
def vq_losses() -> Iterable[ComponentSpec]:  # type: ignore[empty-body]
    """The losses this plugin provides: targets are ``vqcore.Loss`` classes."""


@hookspec
def vq_optimizers() -> Iterable[ComponentSpec]:  # type: ignore[empty-body]
    """The optimizers this plugin provides: targets return one for the argument ``params``."""


@hookspec
def vq_datasets() -> Iterable[ComponentSpec]:  # type: ignore[empty-body]
    """The data sets this plugin provides: targets are ``vqcore.DataSource`` classes."""


@hookspec
def vq_backbones() -> Iterable[ComponentSpec]:  # type: ignore[empty-body]
    """The backbones this plugin provides: targets are ``vqcore.Backbone`` classes."""


@hookspec
def vq_presets() -> Iterable[PresetSpec]:  # type: ignore[empty-body]
    """The presets this plugin provides: settings of a run by a name."""


@hookspec
def vq_settings() -> str:  # type: ignore[empty-body]
    """The plugin's own settings: ``package.config:Model``, a ``vqcore.ComponentConfig``.

    Users write them as ``plugins.NAME.option``, where NAME is what the plugin's entry point is
    called. Hooks read ``run.config.plugins["NAME"]``, an instance of the model. Every option has a
    default, so that a run need not set any.
    """


@hookspec
def vq_check_config(config: ResolvedConfig) -> Iterable[str]:  # type: ignore[empty-body]
    """Problems with a resolved config, one sentence each; any of them refuses the run.

    A ``SettingError`` is such a problem too. Any other exception refuses the run as well, since
    nobody knows then whether the config is valid.
    """


@hookspec
def vq_run_start(run: TrainingRun) -> None:
    """A run is set up and its folder written; its first step comes next."""


@hookspec
def vq_metrics(run: TrainingRun, batch: Tensor) -> Mapping[str, float]:  # type: ignore[empty-body]
    """Further metrics for a line of metrics.jsonl, collected on log steps.

    ``batch`` holds training samples of this step. A name that the run itself logs on any line
    (``loss``, ``test_...``) or that another plugin has already is refused.
    """


@hookspec
def vq_step_end(run: TrainingRun, step: int, losses: Mapping[str, Tensor]) -> None:
    """A training step is complete.

    ``losses`` holds detached scalars on the device: reading one synchronises.
    """


@hookspec
def vq_log(run: TrainingRun, metrics: Mapping[str, Any]) -> None:
    """A line of metrics.jsonl is written, on log steps: ``metrics`` holds it."""


@hookspec
def vq_run_end(run: TrainingRun, status: Literal["done", "failed", "interrupted"]) -> None:
    """The run is over. Unless it failed, its checkpoint and summary.json are written.

    Called once, also where another hook of the plugin, another plugin or training failed.
    """


@hookspec
def vq_report(run: ReportedRun) -> Iterable[Section]:  # type: ignore[empty-body]
    """Sections of ``vq report`` on a run that was found in its folder."""


@hookspec
def vq_commands(app: CommandApp) -> None:
    """Add commands to the Typer ``app`` of ``vq``."""
