"""Reads settings from a command line, for every command that composes a pipeline."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import typer

from vqcore.errors import UsageError, did_you_mean, shown_key

_SETTINGS = (
    "dataset backbone bottleneck manifold quantizer estimator optimizer dim codebook_size epochs "
    "max_steps batch_size seed device precision compile cuda_graph"
)
#: Options of ``vq train`` that set one setting each, by its key path.
FLAGS: Mapping[str, str] = {
    **{name: name for name in _SETTINGS.split()},
    "lr": "optimizer.lr",
    "download": "dataset.download",
    "strict": "dataset.strict",
}


def given_settings(context: typer.Context) -> dict[str, Any]:
    """The settings given as options of ``vq train``, nested.

    ``--set`` and ``--a.b v`` take precedence over the other options.

    Raises:
        UsageError: for an unknown option, or a setting that cannot be parsed.
    """
    from vq.config.config_file import parse_value
    from vq.config.merging import assign
    from vq.config.plugin_files import absolute_files

    params = context.params
    flags = [(key, params[name]) for name, key in FLAGS.items() if params[name] is not None]
    if params["regularizer"]:
        flags.append(("regularizers", list(params["regularizer"])))
    if params["plugin_file"]:
        flags.append(("plugin_files", absolute_files(params["plugin_file"])))
    pairs = [_pair(text) for text in params["settings"]] + _dotted(context)
    return assign(flags + [(key, parse_value(value)) for key, value in pairs])


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        example = "--set quantizer.commitment_weight=0.5"
        raise UsageError(f"--set {shown_key(text)}: expected key=value, as in {example}")
    return key, value


def _dotted(context: typer.Context) -> list[tuple[str, str]]:
    """``--a.b v`` and ``--a.b=v`` among the arguments that are no options of the command."""
    pairs = []
    rest = iter(context.args)
    for word in rest:
        name, equals, value = word.partition("=")
        if not name.startswith("--") or "." not in name:
            options = [option for each in context.command.params for option in each.opts]
            guess = did_you_mean(name, options) or "see vq train --help"
            raise UsageError(f"{shown_key(word)}: no such option or argument; {guess}")
        if not equals:
            found = next(rest, None)
            if found is None:
                raise UsageError(f"{shown_key(name)}: expected a value after it")
            value = found
        pairs.append((name[2:], value))
    return pairs
