"""``vq train``: composes a pipeline from its options and trains it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vq.cli.arguments import TrustPlugins, option
from vq.cli.completion.names import preset_names
from vq.cli.console import ConsoleHandler, print_yaml, say, shown_by, talking
from vq.cli.settings import given_settings, takes_settings
from vqcore.errors import UsageError

if TYPE_CHECKING:
    from vq.config.resolved_config import ResolvedConfig
    from vqcore.plugin.registry import Registry


@takes_settings
def train(
    context: typer.Context,
    *,
    run_dir: Annotated[
        Path | None, option("The run folder; runs/<time>-<names> by default.", metavar="DIR")
    ] = None,
    resume: Annotated[Path | None, option("Resume an earlier run.", metavar="RUN")] = None,
    preset: Annotated[
        str | None,
        option("Settings by name, see vq show presets.", metavar="NAME", candidates=preset_names),
    ] = None,
    config: Annotated[
        Path | None, option("Settings from a YAML, TOML or JSON file.", metavar="FILE")
    ] = None,
    assignments: Annotated[
        list[str], option("Any setting, as a.b=value. Repeatable.", "--set", metavar="A.B=V")
    ] = [],  # noqa: B006
    trust_plugins: TrustPlugins = False,
    dry_run: Annotated[bool, option("Check the config and stop.", "--dry-run")] = False,
    print_config: Annotated[
        bool, option("Print the resolved config and stop.", "--print-config")
    ] = False,
    quiet: Annotated[bool, option("Print warnings and errors alone.", "--quiet")] = False,
    **settings: Any,
) -> None:
    """Train a vector-quantized autoencoder.

    Any manifold, quantizer, gradient estimator and set of regularizers go together. vq show run
    says more of each setting, vq show quantizer ema lists the options of a component: give them as
    --quantizer.decay 0.9. Precedence: defaults, --preset, --config, options, --set.
    """
    from vq.composition import base_values, compose
    from vq.runs.folder import RunFolder

    if resume is not None and any(option is not None for option in (preset, config, run_dir)):
        others = "--preset, --config and --run-dir"
        raise UsageError(f"--resume uses the folder and the config of its run: leave out {others}")
    given = given_settings(context)
    base = base_values(preset, config, given=given)
    resolved, registry = compose(
        given, base=base, resume=resume, trust_plugins=trust_plugins, check=not print_config
    )
    if print_config:
        print_yaml(resolved.dump())
    elif dry_run:
        say(f"config is valid: {resolved.title()}")
    else:
        if run_dir is not None:
            RunFolder.check_free(run_dir)  # reported before torch is imported
        _train(resolved, registry, run_dir, resume, quiet)


def _train(
    config: "ResolvedConfig",
    registry: "Registry",
    run_dir: Path | None,
    resume: Path | None,
    quiet: bool,
) -> None:
    from vq.progress import working
    from vq.terminal import Terminal

    with shown_by(ConsoleHandler()) if quiet else talking(Terminal(), at_once=True) as display:
        with working("loading PyTorch"):
            from vq.training.callbacks.show_progress import ShowProgress
            from vq.training.launch import launch

        callbacks = [ShowProgress(display)] if display else []
        finished = launch(config, registry, run_dir=run_dir, resume=resume, callbacks=callbacks)
    if finished.signal is not None:
        raise typer.Exit(128 + finished.signal)
