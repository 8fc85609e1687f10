"""``vq train``: composes a pipeline from its options and trains it."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from vq.cli.arguments import plugin_rows
from vq.cli.settings import base_settings, given_settings
from vq.config.plugin_files import plugin_files, registry_for
from vq.config.presets import PRESETS
from vqcore.errors import UsageError

SAVING = ("checkpoint_every", "keep_checkpoints", "plugin_files")
WATCHING = ("log_every", "eval_every", "sample_every", "trackers")
#: Settings that ``--resume`` may change: they decide how long, on what and how watched a run is, not what it computes.
RESUMABLE = frozenset(("epochs", "max_steps", "device", "accumulate", *WATCHING, *SAVING))
PANEL_PARTS, PANEL_RUN, PANEL_CONFIG = "Components", "Run", "Config"


def _part(help_text: str) -> Any:
    return typer.Option(help=help_text, metavar="NAME", rich_help_panel=PANEL_PARTS)


def _flag(name: str, help_text: str) -> Any:
    return typer.Option(name, help=help_text, rich_help_panel=PANEL_PARTS)


def _run(help_text: str, metavar: str | None = None) -> Any:
    return typer.Option(help=help_text, metavar=metavar, rich_help_panel=PANEL_RUN)


def _config(help_text: str, *names: str, metavar: str | None = None) -> Any:
    return typer.Option(*names, help=help_text, metavar=metavar, rich_help_panel=PANEL_CONFIG)


def train(
    context: typer.Context,
    manifold: Annotated[str | None, _part("The space of latents and codes.")] = None,
    quantizer: Annotated[str | None, _part("How latents become codes.")] = None,
    estimator: Annotated[str | None, _part("How the gradient passes the quantizer.")] = None,
    regularizer: Annotated[list[str], _part("A further loss term. Repeatable.")] = [],  # noqa: B006
    dataset: Annotated[str | None, _part("The data set.")] = None,
    download: Annotated[
        bool | None, _flag("--download", "Download the data set if it is not there.")
    ] = None,
    strict: Annotated[
        bool | None, _flag("--strict", "Refuse a folder with broken pictures.")
    ] = None,
    backbone: Annotated[str | None, _part("The encoder and decoder.")] = None,
    bottleneck: Annotated[
        str | None, _part("vq, or without codes for comparison: none, gaussian.")
    ] = None,
    optimizer: Annotated[str | None, _part("The optimizer.")] = None,
    dim: Annotated[int | None, _run("Dimension of a latent.")] = None,
    codebook_size: Annotated[int | None, _run("Codes in each codebook.")] = None,
    epochs: Annotated[int | None, _run("Passes over the training split.")] = None,
    max_steps: Annotated[int | None, _run("End after this many steps.")] = None,
    batch_size: Annotated[int | None, _run("Samples in a step.")] = None,
    lr: Annotated[float | None, _run("Learning rate (optimizer.lr).")] = None,
    seed: Annotated[int | None, _run("Seed of every random draw.")] = None,
    device: Annotated[str | None, _run("auto, cpu, cuda, cuda:1.")] = None,
    precision: Annotated[str | None, _run("no, bf16 or fp16.")] = None,
    compile: Annotated[bool | None, _run("Compile encoder and decoder.")] = None,
    run_dir: Annotated[
        Path | None, _run("The run folder; runs/<time>-<names> by default.", "DIR")
    ] = None,
    resume: Annotated[Path | None, _run("Go on with an earlier run.", "RUN")] = None,
    preset: Annotated[
        str | None, _config(f"A paper's settings: {', '.join(PRESETS)}.", metavar="NAME")
    ] = None,
    config: Annotated[
        Path | None, _config("Settings from a YAML, TOML or JSON file.", metavar="FILE")
    ] = None,
    settings: Annotated[
        list[str], _config("Any setting, as a.b=value. Repeatable.", "--set", metavar="A.B=V")
    ] = [],  # noqa: B006
    plugin_file: Annotated[
        list[Path], _config("A plugin in a file of its own. Repeatable.", metavar="FILE")
    ] = [],  # noqa: B006
    dry_run: Annotated[bool, _config("Check the config and stop.", "--dry-run")] = False,
    print_config: Annotated[
        bool, _config("Print the resolved config and stop.", "--print-config")
    ] = False,
) -> None:
    """Train a vector-quantized autoencoder from any manifold, quantizer, estimator and regularizers.

    Any setting can be given as --a.b value, the same as --set a.b=value; vq show KIND NAME lists
    a component's. Precedence: defaults, --preset, --config, options, --set.
    """
    from vq.config.run_config import merge, resolve_config
    from vq.runs.folder import RunFolder

    if resume is not None and any(option is not None for option in (preset, config, run_dir)):
        other = "--preset, --config and --run-dir"
        raise UsageError(
            f"--resume goes on in its own folder with its own config: leave out {other}"
        )
    given = given_settings(context)  # every option that is a setting; the rest are arguments here
    base = _resumed_config(resume, given) if resume else base_settings(context)
    values = merge(base, given)
    registry = registry_for(plugin_files(values))
    config = resolve_config(values, registry)
    if print_config:
        import yaml

        sys.stdout.write(yaml.safe_dump(config.dump(), sort_keys=False, allow_unicode=True))
    elif dry_run:
        print(f"config is valid: {config.title()}")
    else:
        if run_dir is not None:
            RunFolder.check_free(run_dir)  # said before torch is imported
        from vq.training.launch import launch

        raise typer.Exit(launch(config, registry, plugin_rows(registry), run_dir, resume))


def _resumed_config(path: Path, given: Mapping[str, Any]) -> dict[str, Any]:
    from vq.config.run_config import merge, read_config
    from vq.runs.folder import RunFolder

    folder = RunFolder.open(path)
    folder.check_idle()
    base = read_config(folder.config)
    changed = sorted(
        key for key in given.keys() - RESUMABLE if merge(base, {key: given[key]}) != base
    )
    if changed:
        allowed = ", ".join(sorted(RESUMABLE))
        raise UsageError(
            f"--resume: {', '.join(changed)} cannot change in a run that has begun; these can: {allowed}"
        )
    return base
