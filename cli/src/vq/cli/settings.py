"""From the words of a command line to settings: what every command that composes a pipeline reads alike."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import typer

from vqcore.errors import UsageError, did_you_mean

#: Options of ``vq train`` that set one setting each, by its key path.
FLAGS: Mapping[str, str] = {
    **{name: name for name in ("dataset", "backbone", "bottleneck", "manifold", "quantizer")},
    **{name: name for name in ("estimator", "optimizer")},
    **{
        name: name for name in ("dim", "codebook_size", "epochs", "max_steps", "batch_size", "seed")
    },
    **{name: name for name in ("device", "precision", "compile")},
    "lr": "optimizer.lr",
    **{name: f"dataset.{name}" for name in ("download", "strict")},
}


def given_settings(context: typer.Context) -> dict[str, Any]:
    """The settings that the options of ``vq train`` give, nested; ``--set`` and ``--a.b v`` win over the others.

    Raises:
        UsageError: for a word that is no option, or a setting that cannot be read.
    """
    from vq.config.run_config import assign, parse_value

    params = context.params
    flags = [
        (FLAGS[name], value)
        for name, value in params.items()
        if name in FLAGS and value is not None
    ]
    if params["regularizer"]:
        flags.append(("regularizers", {name: {} for name in params["regularizer"]}))
    if params["plugin_file"]:
        flags.append(
            ("plugin_files", [str(Path(file).resolve()) for file in params["plugin_file"]])
        )
    pairs = [_pair(text) for text in params["settings"]] + _dotted(context)
    return assign(flags + [(key, parse_value(value)) for key, value in pairs])


def base_settings(context: typer.Context) -> dict[str, Any]:
    """What the given settings are laid over: those of ``--config``, over those of ``--preset``.

    Raises:
        UsageError: if there is no such preset, or the file cannot be read.
    """
    from vq.config.presets import read_preset
    from vq.config.run_config import merge, read_config

    preset, config = context.params["preset"], context.params["config"]
    return merge(read_preset(preset) if preset else {}, read_config(Path(config)) if config else {})


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise UsageError(
            f"--set {text}: expected key=value, as in --set quantizer.commitment_weight=0.5"
        )
    return key, value


def _dotted(context: typer.Context) -> list[tuple[str, str]]:
    """``--a.b v`` and ``--a.b=v`` among the words that are no options of the command."""
    pairs, rest = [], list(context.args)
    while rest:
        word = rest.pop(0)
        name, equals, value = word.partition("=")
        if not name.startswith("--") or "." not in name:
            guess = did_you_mean(
                name, [option for each in context.command.params for option in each.opts]
            )
            raise UsageError(
                f"{word}: no such option or argument; {guess or 'see vq train --help'}"
            )
        if not equals:
            if not rest:
                raise UsageError(f"{name}: expected a value after it")
            value = rest.pop(0)
        pairs.append((name[2:], value))
    return pairs
