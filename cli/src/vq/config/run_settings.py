"""The settings of a run as a list, for options, help, ``vq show run`` and the docs. Torch-free."""

from __future__ import annotations

import pkgutil
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from vqcore.plugin.declared import Declared, declared
from vqcore.plugin.registry import Registry

_MODEL = "vq.config.run_config:RunConfig"
#: The groups, in the order of ``RunConfig``, each by its first setting there.
GROUPS = {
    "dataset": "Data",
    "backbone": "Model",
    "optimizer": "Optimization",
    "device": "Hardware",
    "log_every": "Output",
}
#: Options of components that have an option of their own on the command line, and their models.
SHORTCUTS = {
    "dataset": {
        "download": "vq.data.dataset_config:DownloadConfig",
        "strict": "vq.data.dataset_config:ImageFolderConfig",
    },
    "optimizer": {"lr": "vq.training.optimizer_config:AdamWConfig"},
}


@dataclass(frozen=True)
class Setting:
    """A setting with an option of ``vq train``.

    Attributes:
        key: its key path, as in ``optimizer.lr``.
        group: where it is listed.
        model: location of the options model that declares it.
        declared: as it is declared there.
    """

    key: str
    group: str
    model: str
    declared: Declared

    @property
    def is_list(self) -> bool:
        """Whether the option may be repeated, each time with one item."""
        return self.declared.type.startswith(("list", "dict"))

    @property
    def is_section(self) -> bool:
        """Whether each key in it has an option, as ``--plugins.NAME.KEY``, and it has none."""
        return self.key == "plugins"

    @property
    def option(self) -> str:
        """The option, as in ``--codebook-size``; of a list, in the singular."""
        if self.is_section:
            return f"--{self.key}.NAME.KEY"
        name = self.declared.name.replace("_", "-")
        return f"--{re.sub('(?<=s)es$|s$', '', name) if self.is_list else name}"


@cache
def run_settings() -> tuple[Setting, ...]:
    """Every setting of a run, in groups. Neither pydantic nor a model is imported."""
    return tuple(_settings())


def _settings() -> Iterator[Setting]:
    group = ""
    for name, field in declared(_MODEL).items():
        group = GROUPS.get(name, group)
        yield Setting(name, group, _MODEL, field)
        for option, model in SHORTCUTS.get(name, {}).items():
            yield Setting(f"{name}.{option}", group, model, declared(model)[option])


def setting_rows(registry: Registry) -> list[dict[str, Any]]:
    """Every setting as plain values: those of ``option_rows``, with key path, option and group."""
    from vqcore.plugin.option_rows import option_rows

    models = {setting.model for setting in run_settings()}
    rows = {model: option_rows(pkgutil.resolve_name(model)) for model in models}
    found = []
    for setting in run_settings():
        (row,) = [row for row in rows[setting.model] if row["name"] == setting.declared.name]
        kind, _, option = setting.key.rpartition(".")
        if kind and (owners := registry.owners(kind, option)) != registry.names(kind):
            row["acts_with"] = [f"{kind} = {' or '.join(owners)}"]
        found.append(row | {"name": setting.key, "option": setting.option, "group": setting.group})
    return found


def default_in_words(row: Mapping[str, Any]) -> str:
    """The default in a row of ``option_rows``, as a config file has it; of a component its name."""
    value = row["default"]
    if row["required"]:
        return "required"
    if isinstance(value, dict) and "name" in value:
        return str(value["name"]).rpartition("/")[2]
    if value in ({}, []):
        return "none"
    if isinstance(value, list) and isinstance(value[0], dict):
        return ",".join(default_in_words({**row, "default": each}) for each in value)
    return (
        str(value).lower() if isinstance(value, bool) else "null" if value is None else str(value)
    )
