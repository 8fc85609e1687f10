"""The registry: looking components up by name, validating their options and building them."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vqcore.errors import ComponentError, SettingError, UsageError, VQError, did_you_mean
from vqcore.plugin.component import KINDS, ComponentSpec
from vqcore.plugin.loader import Loader, Plugin, describe_error, disabled_names
from vqcore.plugin.validation import inner_kinds, named, split_choice, type_in_words, validate

if TYPE_CHECKING:
    from vqcore.plugin.component_config import ComponentConfig, ComponentRef


@dataclass(frozen=True)
class Component:
    """A component ready to be built: options validated, inner components resolved.

    Attributes:
        kind: one of ``vqcore.plugin.component.KINDS``.
        name: the shortest name that means it, ``package/name`` if another package has the same.
        spec: the plugin's declaration.
        package: the package that provides it.
        path: key path of the choice in the config.
        options: an instance of the component's options model, or None if it has none.
        children: inner components by the option that chooses them.
    """

    kind: str
    name: str
    spec: ComponentSpec
    package: str
    path: str
    options: ComponentConfig | None
    children: Mapping[str, Component] = field(default_factory=dict)

    def dump(self) -> dict[str, Any]:
        """Name and every option as plain values, as in config.yaml."""
        options = self.options.model_dump(mode="json") if self.options is not None else {}
        options |= {name: child.dump() for name, child in self.children.items()}
        return {"name": self.name, **options}


class Registry:
    """Every plugin found and every component they provide.

    Args:
        discover: load the installed plugins.
        files: plugin files to load in addition.
        disabled: plugins not to load; by default those that ``VQ_DISABLE_PLUGINS`` names.
        loader: instead of these, a loader that has loaded the plugins.
    """

    def __init__(
        self,
        *,
        discover: bool = True,
        files: Iterable[Path] = (),
        disabled: Iterable[str] | None = None,
        loader: Loader | None = None,
    ) -> None:
        names = disabled_names() if disabled is None else disabled
        loader = loader or Loader(discover=discover, files=files, disabled=names)
        self.manager = loader.manager
        self.plugins = loader.plugins
        for kind in KINDS:
            for name in self.names(kind):
                self._mark_clash(kind, name)

    def _mark_clash(self, kind: str, name: str) -> None:
        owners = [plugin for plugin, _ in self._providers(kind, name)]
        for plugin in owners if len(owners) > 1 else ():
            others = ", ".join(sorted(other.package for other in owners if other is not plugin))
            fix = f"use {plugin.package}/{name}"
            text = f"{kind} {name!r} is also provided by {others}; {fix}"
            plugin.error = f"{plugin.error}; {text}" if plugin.error else text
            plugin.status = "clash"

    def _providers(self, kind: str, name: str) -> list[tuple[Plugin, ComponentSpec]]:
        return [(p, s) for p in self.plugins for s in p.provides.get(kind, ()) if s.name == name]

    # -- names ---------------------------------------------------------------

    def names(self, kind: str) -> list[str]:
        """The names of one kind of component, sorted, each once."""
        return sorted({spec.name for p in self.plugins for spec in p.provides.get(kind, ())})

    def unambiguous(self, kind: str, name: str, package: str) -> str:
        """The shortest name of ``package``'s component: ``package/name`` if others claim it too."""
        return f"{package}/{name}" if len(self._providers(kind, name)) > 1 else name

    def find(self, kind: str, name: str, path: str = "") -> tuple[Plugin, ComponentSpec]:
        """The plugin and spec that ``name`` or ``package/name`` means.

        Messages start with ``path``, the key path of the setting; by default the kind.

        Raises:
            ComponentError: if no plugin provides it (with the causes of plugins that failed to
                load), or several do.
        """
        owner, _, short = name.rpartition("/")
        found = [(p, s) for p, s in self._providers(kind, short) if not owner or p.is_called(owner)]
        if not found:
            raise ComponentError(self._missing(kind, name, owner, path or kind))
        if len(found) > 1:
            choices = " or ".join(f"{plugin.package}/{short}" for plugin, _ in found)
            text = f"{kind} {short!r} is provided by {len(found)} packages: use {choices}"
            raise ComponentError(text)
        return found[0]

    def _missing(self, kind: str, name: str, owner: str, path: str) -> str:
        known = self.names(kind)
        guess = did_you_mean(name, known)
        text = f"{path} = {name!r}: no plugin provides it; {guess + '; ' if guess else ''}"
        text += f"known: {', '.join(known) or 'none'}"
        for plugin in self.plugins:
            failed = plugin.status not in ("ok", "clash")
            if failed and (not owner or plugin.is_called(owner)):
                label = f"plugin {plugin.plugin} of {plugin.package}"
                text += f"\n  {label} is not loaded ({plugin.status}): {plugin.error}"
        return text

    # -- options -------------------------------------------------------------

    def resolve(
        self, kind: str, choice: str | Mapping[str, Any] | ComponentRef, path: str = ""
    ) -> Component:
        """Validate a choice in two steps: the name, then the options against the component's model.

        The choice is a name, or a mapping of ``name`` and options; ``path`` is as for ``find``.

        Raises:
            ComponentError: if the name is unknown or ambiguous, or its options cannot be imported.
            UsageError: if an option is unknown or has an invalid value.
        """
        path = path or kind
        asked, options = split_choice(choice, path)
        plugin, spec = self.find(kind, asked, path)
        name = self.unambiguous(kind, spec.name, plugin.package)
        if spec.config is None:
            if options:
                text = f"{kind} {spec.name!r} has no options"
                raise UsageError(f"{path}.{next(iter(options))}: {text}")
            return Component(kind, name, spec, plugin.package, path, None)
        model = _options_model(kind, spec.name, spec.config)
        children = {}
        for key, child_kind in inner_kinds(model).items():
            info = model.model_fields[key]
            default = None if info.is_required() else info.get_default(call_default_factory=True)
            child = named(options.get(key), default)
            if child is None:
                raise UsageError(f"{path}.{key}: this setting is required")
            children[key] = self.resolve(child_kind, child, f"{path}.{key}")
        options |= {key: child.dump() for key, child in children.items()}
        validated = validate(model, options, path)
        return Component(kind, name, spec, plugin.package, path, validated, children)

    def options(self, kind: str, name: str) -> list[dict[str, Any]]:
        """A component's options as plain values: name, type, default, required, description."""
        from vqcore.plugin.component_config import descriptions

        _, spec = self.find(kind, name)
        if spec.config is None:
            return []
        model = _options_model(kind, spec.name, spec.config)
        schema = model.model_json_schema()["properties"]
        described = descriptions(model)
        return [
            {
                "name": field,
                "type": type_in_words(schema[field]),
                "default": schema[field].get("default"),
                "required": info.is_required(),
                "description": described.get(field) or schema[field].get("description", ""),
            }
            for field, info in model.model_fields.items()
        ]

    # -- building ------------------------------------------------------------

    def build(self, component: Component, **injected: Any) -> Any:
        """Import the component's class and construct it from its options and what is injected.

        Raises:
            ComponentError: if the class or a module it needs cannot be imported, or its
                construction fails.
            SettingError: if an option does not fit what is injected, with the whole key path.
        """
        spec, options = component.spec, component.options
        label = f"{component.kind} {spec.name!r}"
        absent = [module for module in spec.needs if not _is_there(module)]
        if absent:
            fix = f"install what {component.package} documents"
            raise ComponentError(f"{label} needs {', '.join(absent)}: {fix}")
        target = _load(spec.target, component.kind, spec.name)
        fields = type(options).model_fields if options is not None else {}
        kwargs = {name: getattr(options, name) for name in fields}
        kwargs |= {name: partial(self.build, child) for name, child in component.children.items()}
        try:
            return target(**kwargs, **injected)
        except SettingError as error:
            if error.setting.split(".")[0] not in fields:
                raise
            raise error.under(component.path) from error
        except VQError:
            raise
        except Exception as error:
            text = f"{label} of {component.package} cannot be built: {describe_error(error)}"
            raise ComponentError(text) from error


@cache
def default_registry() -> Registry:
    """The registry of the installed plugins, loaded once per process."""
    return Registry()


def _is_there(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except Exception:  # a parent that is missing, is not a package, or cannot be imported
        return False


def _options_model(kind: str, name: str, location: str) -> type[ComponentConfig]:
    """The model of a component's options, imported."""
    from vqcore.plugin.component_config import ComponentConfig

    model = _load(location, kind, name)
    if not (isinstance(model, type) and issubclass(model, ComponentConfig)):
        text = f"{location} is not a vqcore.ComponentConfig"
        raise ComponentError(f"{kind} {name!r} is broken: {text}")
    return model


def _load(location: str, kind: str, name: str) -> Any:
    module, _, attribute = location.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # also SystemExit: a plugin must not end the program
        text = f"{location} cannot be imported: {describe_error(error)}"
        raise ComponentError(f"{kind} {name!r} is broken: {text}") from error
