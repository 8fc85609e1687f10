"""Settings on a command line: an option for each, for every command that composes a pipeline."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any, TypeVar

import typer

from vq.cli.arguments import option
from vq.cli.option_hints import option_hint
from vq.config.run_settings import Setting, run_settings
from vqcore.errors import UsageError, shown_key

_Command = TypeVar("_Command", bound=Callable[..., None])
#: What stands for a value in help, by what is in the type of a setting.
_METAVARS = {
    r"Ref\b": "NAME", r"^dict": "NAME", r"\bstr\b": "TEXT", r"\bfloat\b": "X",
    r"\b(Rate|Weight|Decay|Share)\b": "X", "": "N",
}  # fmt: skip

#: Shorter names of options.
_ALIASES = {"max_steps": ("--steps",)}


def _parameter(setting: Setting) -> str:
    return setting.option.removeprefix("--").replace("-", "_")


_WITH_OPTION = [setting for setting in run_settings() if not setting.is_section]
#: Options of ``vq train`` that set one setting each, by their parameter: its key path.
FLAGS: Mapping[str, str] = {_parameter(setting): setting.key for setting in _WITH_OPTION}


def takes_settings(command: _Command) -> _Command:
    """A command whose ``**settings`` are an option for every setting of a run, before its own."""
    own = inspect.signature(command, eval_str=True).parameters.values()
    made = [_option(setting) for setting in _WITH_OPTION]
    options = [*made, *(each for each in own if each.kind is each.KEYWORD_ONLY)]
    given = [each for each in own if each.kind is each.POSITIONAL_OR_KEYWORD]
    command.__signature__ = inspect.Signature([*given, *options])  # type: ignore[attr-defined]
    return command


def _option(setting: Setting) -> inspect.Parameter:
    """An option whose value is read and checked with the config; without one it is None."""
    about, name = setting.declared, setting.option
    is_flag = re.match(r"(Annotated\[)?bool\b", about.type)
    if is_flag:
        name = f"{name}/--no-{name.removeprefix('--')}"
    default = f"  [default: {about.default}]" if about.default else ""
    text = about.description + (" Repeatable." if setting.is_list else "") + default
    names = [name, *_ALIASES.get(setting.key, ())]
    info = option(text, *names, metavar=None if is_flag else _metavar(about.type))
    info.rich_help_panel = setting.group
    kind: Any = list[str] if setting.is_list else bool | None if is_flag else str | None
    return inspect.Parameter(
        _parameter(setting),
        inspect.Parameter.KEYWORD_ONLY,
        default=[] if setting.is_list else None,
        annotation=Annotated[kind, info],
    )


def _metavar(annotation: str) -> str:
    choices = re.search(r"Literal\[(.*?)\]", annotation)
    if choices:
        return "|".join(re.findall(r"'(.*?)'", choices[1]))
    return next(name for found, name in _METAVARS.items() if re.search(found, annotation))


def given_settings(context: typer.Context) -> dict[str, Any]:
    """The settings given as options of ``vq train``, nested.

    ``--set`` and ``--a.b v`` take precedence over the other options.

    Raises:
        UsageError: for an unknown option, or a setting that cannot be parsed.
    """
    from vq.config.config_file import parse_value
    from vq.config.merging import assign
    from vq.config.plugin_files import absolute_files

    given = {key: context.params[name] for name, key in FLAGS.items()}
    given["plugin_files"] = absolute_files(given["plugin_files"])
    flags = [
        (key, parse_value(value) if isinstance(value, str) and value else value)
        for key, value in given.items()
        if value not in (None, [], ())  # click gives tuples, too
    ]
    pairs = [pair(text) for text in context.params["assignments"]] + _dotted(context)
    return assign(flags + [(key, parse_value(value)) for key, value in pairs])


def pair(text: str) -> tuple[str, str]:
    """Key path and value of ``key=value``."""
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
            hint = option_hint(name, options)
            raise UsageError(f"{shown_key(word)}: no such option or argument; {hint}")
        if not equals:
            found = next(rest, None)
            if found is None:
                raise UsageError(f"{shown_key(name)}: expected a value after it")
            value = found
        pairs.append((name[2:], value))
    return pairs
