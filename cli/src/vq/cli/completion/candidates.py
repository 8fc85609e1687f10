"""What may stand at the cursor: commands, options, their values, arguments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import typer.main

from vq.cli.app import TAKES_SETTINGS, build_app
from vq.cli.completion.install import FOR_A_SHELL
from vq.cli.completion.keys import Keys, chosen
from vq.cli.completion.line import Words, command_at, read_words, split_option
from vq.cli.completion.names import Candidate, files, prefixed, run_folders
from vq.cli.completion.scripts import SHELLS
from vq.cli.global_options import GlobalOptions
from vq.cli.settings import FLAGS
from vqcore.plugin.registry import Registry

#: How Click calls the types of paths.
_PATHS = ("path", "file", "directory", "filename")


def candidates(registry: Registry, words: Sequence[str], incomplete: str) -> list[Candidate]:
    """What may stand where ``incomplete`` is being typed, after these words of a command line."""
    group: Any = typer.main.get_command(build_app(registry, GlobalOptions.read(words).command))
    at = command_at(words, _options(group))
    command = group.commands.get(words[at]) if at < len(words) else group
    if command is None:
        return []
    if command is group and words and words[-1] in FOR_A_SHELL and not incomplete.startswith("-"):
        return [(shell, "") for shell in SHELLS if shell.startswith(incomplete)]
    found = _Place(registry, group, command, list(words[at + 1 :] if at < len(words) else words))
    return [each for each in found.candidates(incomplete) if each[0].startswith(incomplete)]


def _options(command: Any) -> dict[str, Any]:
    return {
        name: each
        for each in command.params
        if each.param_type_name == "option"
        for name in (*each.opts, *each.secondary_opts)
    }


class _Place:
    """A place on the command line of a command."""

    def __init__(self, registry: Registry, group: Any, command: Any, words: list[str]) -> None:
        self._registry, self._group, self._command = registry, group, command
        self._options = _options(command)
        self._settings: Mapping[str, str] = {}
        if command.name in TAKES_SETTINGS:
            train = _options(group.commands["train"])
            self._options = train | self._options
            self._settings = {
                name: FLAGS[each.name] for name, each in train.items() if each.name in FLAGS
            }
        self._words: Words = read_words(words, self._options)

    def candidates(self, incomplete: str) -> list[Candidate]:
        """What may stand here."""
        if self._words.pending:
            return self._values(self._words.pending, incomplete)
        name, value = split_option(incomplete)
        if value is not None and not self._words.bare:
            joint = incomplete.removesuffix(value)
            return prefixed(joint, self._values(name, value))
        if incomplete.startswith("-") and not self._words.bare:
            return self._names(incomplete)
        if self._command is self._group:
            return self._commands()
        return self._arguments(incomplete)

    def _commands(self) -> list[Candidate]:
        commands = self._group.commands.values()
        return [(each.name, each.get_short_help_str(200)) for each in commands if not each.hidden]

    def _names(self, incomplete: str) -> list[Candidate]:
        """The options, and key paths once there is a dot, or an option whose key path goes on."""
        found = [(name, each.help or "") for name, each in self._options.items() if not each.hidden]
        if not self._settings:
            return found
        path = incomplete.removeprefix("--")
        if "." in path:
            return prefixed("--", self._keys.names(path))
        longer = [each for each in self._keys.names(path) if each[0].endswith(".")]
        return found + prefixed("--", longer)

    def _values(self, name: str, incomplete: str) -> list[Candidate]:
        """Values of an option; in a sweep, the one after the last comma."""
        if name == "--set":
            key, equals, value = incomplete.partition("=")
            if equals:
                return prefixed(f"{key}=", self._of_key(key, value))
            keys = self._keys.names(incomplete)
            return [(f"{key}{'' if key.endswith('.') else '='}", about) for key, about in keys]
        if name in self._settings or "." in name:
            return self._of_key(self._settings.get(name, name[2:]), incomplete)
        param = self._options.get(name)
        return self._of_param(param, incomplete) if param else []

    def _of_key(self, key: str, incomplete: str) -> list[Candidate]:
        if self._command.name != "sweep":
            return self._keys.values(key, incomplete)
        before, comma, last = incomplete.rpartition(",")
        return prefixed(before + comma, self._keys.values(key, last))

    def _arguments(self, incomplete: str) -> list[Candidate]:
        params = [each for each in self._command.params if each.param_type_name == "argument"]
        index = len(self._words.arguments)
        if params and params[-1].nargs == -1:
            index = min(index, len(params) - 1)
        return self._of_param(params[index], incomplete) if index < len(params) else []

    def _of_param(self, param: Any, incomplete: str) -> list[Candidate]:
        """What a parameter itself says: its choices, its ``autocompletion``, that it is a path.

        A metavar ``RUN`` stands for run folders, in the commands of plugins too.
        """
        if (param.metavar or "").removesuffix("...") == "RUN":
            return run_folders(incomplete)
        # options are left out: their callbacks act, at each TAB
        arguments = ["--", *self._words.arguments]
        with self._command.make_context(
            self._command.name, arguments, parent=None, resilient_parsing=True
        ) as context:
            items = param.shell_complete(context, incomplete)
        if param.type.name in _PATHS or any(each.type in ("file", "dir") for each in items):
            return files(incomplete)
        return [(each.value, each.help or "") for each in items]

    @cached_property
    def _keys(self) -> Keys:
        return Keys(self._registry, chosen(self._words.given, self._settings))
