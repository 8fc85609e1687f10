"""Settings with the names of today, so that a source is laid over another. Torch-free."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from vq.config.merging import bare, by_name
from vq.config.run_config import RunConfig
from vqcore.errors import VQError, shown_key
from vqcore.plugin.component import SEVERAL, ComponentSpec
from vqcore.plugin.component_choice import inner_kinds
from vqcore.plugin.component_config import ComponentConfig, ComponentRef
from vqcore.plugin.deprecation import with_new_names
from vqcore.plugin.importing import options_model
from vqcore.plugin.plugin_settings import settings_model
from vqcore.plugin.registry import Registry


def with_names_of_today(
    values: Mapping[str, Any],
    registry: Registry,
    base: Mapping[str, Any] | None = None,
    *,
    warn: bool = True,
) -> dict[str, Any]:
    """Plain settings with new names in place of former ones. What is unknown stays as it is.

    Args:
        values: settings of one source.
        registry: where components come from.
        base: what they will be laid over, with its names of today: it has the components that
            options are given for without a name.
        warn: tell the user of former names.

    Raises:
        UsageError: if an option is given under both names, with different values.
    """
    renaming, base = _Renaming(registry, warn), base or {}
    values = with_new_names(RunConfig, values, "", warn=warn)
    found = dict(values)
    for key, kind in inner_kinds(RunConfig).items():
        if key in values:
            below = base.get(key) or RunConfig.model_fields[key].default
            found[key] = renaming.choice(kind, values[key], below, key)
    for key in values.keys() & SEVERAL:
        found[key] = renaming.several(key, by_name(key, values[key]), by_name(key, base.get(key)))
    if isinstance(values.get("plugins"), Mapping):
        found["plugins"] = {
            name: renaming.of_plugin(name, options) for name, options in values["plugins"].items()
        }
    return found


@dataclass(frozen=True)
class _Renaming:
    registry: Registry
    warn: bool

    def choice(self, kind: str, choice: Any, base: Any, path: str) -> Any:
        """A choice of a component; ``base`` is the one that it will be laid over."""
        given = {"name": choice} if isinstance(choice, str) else choice
        below = _plain(base)
        if not isinstance(given, Mapping):
            return choice
        name = given.get("name", below.get("name"))
        spec = self._spec(kind, name)
        if not isinstance(name, str) or spec is None:
            return choice
        if bare(below.get("name")) != spec.name:
            below = {}
        renamed = {**given, "name": _renamed(name, spec)} if "name" in given else dict(given)
        renamed = self._options(kind, spec, renamed, below, path)
        return renamed["name"] if isinstance(choice, str) else renamed

    def several(self, key: str, chosen: Any, base: Any) -> Any:
        """Components of a setting that holds several, by name."""
        if not isinstance(chosen, Mapping):
            return chosen
        below = {bare(name): options for name, options in (base or {}).items()}
        found: dict[Any, Any] = {}
        for name, options in chosen.items():
            spec = self._spec(SEVERAL[key], name)
            if spec is None:
                found[name] = options
                continue
            new, path = _renamed(name, spec), shown_key(f"{key}.{bare(name)}")
            new = name if new in chosen else new  # given under both, which is refused
            known = below.get(spec.name) or {}
            found[new] = self._options(SEVERAL[key], spec, options, known, path)
        return found

    def of_plugin(self, name: str, options: Any) -> Any:
        """The settings of a plugin."""
        if isinstance(name, str) and isinstance(options, Mapping):
            with suppress(VQError):
                model = settings_model(self.registry, name)
                return with_new_names(model, options, f"plugins.{name}", warn=self.warn)
        return options

    def _spec(self, kind: str, name: Any) -> ComponentSpec | None:
        if isinstance(name, str):
            with suppress(VQError):
                return self.registry.find(kind, name.partition(":")[0])[1]
        return None

    def _options(
        self, kind: str, spec: ComponentSpec, options: Any, base: Mapping[str, Any], path: str
    ) -> Any:
        model = self._model(kind, spec)
        if model is None or not isinstance(options, Mapping):
            return options
        found = with_new_names(model, options, path, warn=self.warn)
        for many in (False, True):
            choose = self._each if many else self.choice
            for key, inner in inner_kinds(model, many=many).items():
                if key in found:
                    default = model.model_fields[key].get_default(call_default_factory=True)
                    below = base.get(key) or default
                    found[key] = choose(inner, found[key], below, f"{path}.{key}")
        return found

    def _each(self, kind: str, chosen: Any, base: Any, path: str) -> Any:
        """Several choices of one option: in a list, or by their places or names."""
        if isinstance(chosen, list | tuple):
            chosen = list(enumerate(chosen))
            return [self.choice(kind, choice, None, f"{path}.{at}") for at, choice in chosen]
        if not isinstance(chosen, Mapping):
            return chosen
        base = base.split(",") if isinstance(base, str) else base
        below = dict(base if isinstance(base, Mapping) else enumerate(base or ()))
        below = {str(at): choice for at, choice in below.items()}
        return {
            at: self.choice(kind, choice, below.get(str(at)), f"{path}.{at}")
            for at, choice in chosen.items()
        }

    def _model(self, kind: str, spec: ComponentSpec) -> type[ComponentConfig] | None:
        with suppress(VQError):
            return options_model(kind, spec.name, spec.config) if spec.config else None
        return None


def _renamed(name: str, spec: ComponentSpec) -> str:
    owner, slash, former = name.rpartition("/")
    _, colon, size = former.partition(":")  # of a factor
    return f"{owner}{slash}{spec.name}{colon}{size}"


def _plain(choice: Any) -> Mapping[str, Any]:
    """A choice as a mapping of name and options."""
    if isinstance(choice, ComponentRef):
        return {"name": choice.name, **choice.options}
    if isinstance(choice, str):
        return {"name": choice}
    return choice if isinstance(choice, Mapping) else {}
