"""Key paths of a run's settings and their values, with what a command line has chosen so far."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

from vq.cli.completion.names import Candidate, component_names, files, prefixed, run_folders
from vq.config.config_file import read_config
from vq.config.presets import read_preset
from vq.config.run_settings import run_settings
from vqcore.errors import VQError
from vqcore.plugin.component import KINDS, SEVERAL
from vqcore.plugin.declared import Declared, declared
from vqcore.plugin.registry import Registry

#: Values of settings that are text, and what they stand for.
_KNOWN = {
    "device": {"auto": "a GPU if there is one", "cpu": "", "cuda": ""},
    "trackers": {"tensorboard": "", "wandb": ""},
}
#: Settings whose value is a path, whatever their type.
_FILES = ("plugin_files", "eval_lpips", "eval_fid")


class Keys:
    """The settings of a run and the options of the components that a command line chooses.

    Args:
        registry: the plugins.
        chosen: values by key path, as text; of a component its name.
    """

    def __init__(self, registry: Registry, chosen: Mapping[str, str]) -> None:
        self._registry, self._chosen = registry, chosen

    @cached_property
    def _settings(self) -> dict[str, Declared]:
        return {each.key: each.declared for each in run_settings() if "." not in each.key}

    def names(self, incomplete: str) -> list[Candidate]:
        """The key paths that go on from a start; with a dot where more of the path follows."""
        parent = incomplete.rpartition(".")[0]
        place = f"{parent}." if parent else ""
        found = []
        for name, option in self._below(parent).items():
            path = place + name
            several = path in (*SEVERAL, "plugins") or parent in (*SEVERAL, "plugins")
            if not several:
                found.append((path, option.description))
            follows = self._below(path) if several else path == incomplete and _kind(option)
            if follows:
                found.append((f"{path}.", option.description))
        return found

    def values(self, path: str, incomplete: str) -> list[Candidate]:
        """The values that a setting may have, where they can be listed."""
        parent, _, name = path.rpartition(".")
        option = self._below(parent).get(name)
        if path in SEVERAL:
            return component_names(self._registry, SEVERAL[path])
        if option is None:
            return []
        if path in _FILES or re.search(r"\bPath\b|\bOnDisk\b", option.type):
            return files(incomplete)
        if path == "init_from":
            return run_folders(incomplete)
        if path in _KNOWN:
            return list(_KNOWN[path].items())
        if kind := _kind(option):
            before, comma, _ = incomplete.rpartition(",") if _in_order(option) else ("", "", "")
            return prefixed(before + comma, component_names(self._registry, kind))
        words = choices(option.type)
        words += ["true", "false"] if re.search(r"\bbool\b", option.type) else []
        words += ["null"] if words and "None" in option.type else []
        return [(word, "the default" if word == option.default else "") for word in words]

    def _below(self, path: str) -> dict[str, Declared]:
        """What may follow a key path and a dot."""
        if not path:
            return self._settings
        parent, _, name = path.rpartition(".")
        if path in SEVERAL:
            names = component_names(self._registry, SEVERAL[path])
            return {each: Declared(each, "", "", about) for each, about in names}
        if path == "plugins":
            with_settings = [each for each in self._registry.plugins if each.settings]
            return {each.plugin: Declared(each.plugin, "", "", "") for each in with_settings}
        if parent in SEVERAL:
            return self._options(SEVERAL[parent], name)
        if parent == "plugins":
            found = (each.settings for each in self._registry.plugins if each.plugin == name)
            model = next(filter(None, found), None)
            return declared(model) if model else {}
        option = self._below(parent).get(name)
        kind = _kind(option) if option else ""
        if not option or not kind:
            return {}
        chosen = self._chosen.get(path) or option.default
        if _in_order(option):
            factors = enumerate(each.partition(":")[0] for each in chosen.split(","))  # with sizes
            return {f"{i}": Declared(f"{i}", f"{kind.capitalize()}Ref", n, n) for i, n in factors}
        of_name = Declared("name", f"{kind.capitalize()}Ref", option.default, f"Which {kind}.")
        return {"name": of_name, **self._options(kind, chosen)}

    def _options(self, kind: str, name: str) -> dict[str, Declared]:
        with suppress(VQError):  # an unknown or ambiguous one
            _, spec = self._registry.find(kind, name)
            return declared(spec.config) if spec.config else {}
        return {}


def chosen(given: Sequence[tuple[str, str]], flags: Mapping[str, str]) -> dict[str, str]:
    """Values by key path: of a preset, a config file, options and ``--set``, the last of each.

    What cannot be read is left out. ``flags`` are the key paths that options set.
    """
    found: dict[str, str] = {}
    for source, read in (("--preset", read_preset), ("--config", _read_file)):
        for option, value in given:
            if option == source:
                with suppress(VQError):
                    found |= flattened(read(value))
    found |= {flags[option]: value for option, value in given if option in flags}
    pairs = [value.partition("=") for option, value in given if option == "--set"]
    pairs += [(option[2:], "=", value) for option, value in given if "." in option]
    return found | {key.removesuffix(".name"): value for key, _, value in pairs}


def _read_file(name: str) -> dict[str, Any]:
    # reading a pipe would take what is meant for the command
    return read_config(Path(name)) if Path(name).is_file() else {}


def _kind(option: Declared) -> str:
    """The kind of component that an option chooses; empty if it chooses none."""
    found = re.search(r"\b([A-Z]\w*)Ref\b|\b(Manifold)Refs\b", option.type)
    kind = (found[1] or found[2]).lower() if found else ""
    return kind if kind in KINDS else ""


def _in_order(option: Declared) -> bool:
    """Whether an option chooses several components, separated by commas."""
    return "ManifoldRefs" in option.type


def choices(annotation: str) -> list[str]:
    """The words of a ``Literal`` in a type."""
    literal = re.search(r"Literal\[(.*?)\]", annotation)
    return re.findall(r"'(.*?)'", literal[1]) if literal else []


def flattened(values: Mapping[str, Any], path: str = "") -> dict[str, str]:
    """Nested values as text by key path; of components, their names stand for them."""
    found: dict[str, str] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            found |= flattened(value, f"{path}{key}.")
        elif isinstance(value, list):
            names = [each.get("name") if isinstance(each, Mapping) else each for each in value]
            found[f"{path}{key}"] = ",".join(map(str, names))
        else:
            found[f"{path}{key}".removesuffix(".name")] = str(value)
    return found
