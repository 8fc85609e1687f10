"""``vq train``: composes a pipeline from its options and trains it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vq.cli.arguments import PluginFiles, TrustPlugins, option
from vq.cli.console import ConsoleHandler, print_yaml, say, shown_by
from vq.cli.settings import given_settings
from vq.config.presets import PRESETS
from vqcore.errors import UsageError

if TYPE_CHECKING:
    from vq.config.resolved_config import ResolvedConfig
    from vqcore.plugin.registry import Registry


def _part(help_text: str) -> Any:
    return option(help_text, metavar="NAME")


def train(
    context: typer.Context,
    manifold: Annotated[str | None, _part("The space of latents and codes.")] = None,
    quantizer: Annotated[str | None, _part("How latents become codes.")] = None,
    estimator: Annotated[str | None, _part("How the gradient passes the quantizer.")] = None,
    regularizer: Annotated[list[str], _part("A further loss term. Repeatable.")] = [],  # noqa: B006
    dataset: Annotated[str | None, _part("The data set.")] = None,
    download: Annotated[
        bool | None, option("Download the data set if it is not there.", "--download")
    ] = None,
    strict: Annotated[
        bool | None, option("Refuse a folder with broken images.", "--strict")
    ] = None,
    backbone: Annotated[str | None, _part("The encoder and decoder.")] = None,
    bottleneck: Annotated[
        str | None, _part("vq, or without codes, for comparison: none, gaussian.")
    ] = None,
    optimizer: Annotated[str | None, _part("The optimizer.")] = None,
    dim: Annotated[int | None, option("Dimension of a latent.")] = None,
    codebook_size: Annotated[int | None, option("Codes in each codebook.")] = None,
    epochs: Annotated[int | None, option("Passes over the training split.")] = None,
    max_steps: Annotated[int | None, option("End after this many steps.")] = None,
    batch_size: Annotated[int | None, option("Samples in a step.")] = None,
    lr: Annotated[float | None, option("Learning rate (optimizer.lr).")] = None,
    seed: Annotated[int | None, option("Seed of every random draw.")] = None,
    device: Annotated[str | None, option("auto, cpu, cuda, cuda:1.")] = None,
    precision: Annotated[str | None, option("no (float32), tf32, bf16 or fp16.")] = None,
    compile: Annotated[bool | None, option("Compile the training step.")] = None,
    cuda_graph: Annotated[bool | None, option("On a GPU, record the step and replay it.")] = None,
    run_dir: Annotated[
        Path | None, option("The run folder; runs/<time>-<names> by default.", metavar="DIR")
    ] = None,
    resume: Annotated[Path | None, option("Resume an earlier run.", metavar="RUN")] = None,
    preset: Annotated[
        str | None, option(f"A paper's settings: {', '.join(PRESETS)}.", metavar="NAME")
    ] = None,
    config: Annotated[
        Path | None, option("Settings from a YAML, TOML or JSON file.", metavar="FILE")
    ] = None,
    settings: Annotated[
        list[str], option("Any setting, as a.b=value. Repeatable.", "--set", metavar="A.B=V")
    ] = [],  # noqa: B006
    plugin_file: PluginFiles = [],  # noqa: B006
    trust_plugins: TrustPlugins = False,
    dry_run: Annotated[bool, option("Check the config and stop.", "--dry-run")] = False,
    print_config: Annotated[
        bool, option("Print the resolved config and stop.", "--print-config")
    ] = False,
) -> None:
    """Train a vector-quantized autoencoder.

    Any manifold, quantizer, gradient estimator and set of regularizers go together. Any setting can
    be given as --a.b value, the same as --set a.b=value; vq show KIND NAME lists a component's.
    Precedence: defaults, --preset, --config, options, --set.
    """
    from vq.composition import base_values, compose
    from vq.runs.folder import RunFolder

    if resume is not None and any(option is not None for option in (preset, config, run_dir)):
        others = "--preset, --config and --run-dir"
        raise UsageError(f"--resume uses the folder and the config of its run: leave out {others}")
    base = base_values(preset, config)
    given = given_settings(context)
    resolved, registry = compose(given, base=base, resume=resume, trust_plugins=trust_plugins)
    if print_config:
        print_yaml(resolved.dump())
    elif dry_run:
        say(f"config is valid: {resolved.title()}")
    else:
        if run_dir is not None:
            RunFolder.check_free(run_dir)  # reported before torch is imported
        _train(resolved, registry, run_dir, resume)


def _train(
    config: "ResolvedConfig", registry: "Registry", run_dir: Path | None, resume: Path | None
) -> None:
    from vq.progress import TrainingProgress
    from vq.terminal import Terminal
    from vq.training.launch import launch

    console = Terminal()
    with shown_by(ConsoleHandler(console)), TrainingProgress(console) as progress:
        finished = launch(config, registry, run_dir=run_dir, resume=resume, callbacks=[progress])
    if finished.signal is not None:
        raise typer.Exit(128 + finished.signal)
