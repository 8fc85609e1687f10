"""Looking components up by name, validating their options and building them."""

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
from vqcore.plugin.loader import Loader, Plugin, describe, disabled_names

if TYPE_CHECKING:
    from vqcore.plugin.component_config import ComponentConfig, ComponentRef


@dataclass(frozen=True)
class Component:
    """A component chosen, its options validated and its own inner components resolved: ready to be built."""

    kind: str
    name: str
    spec: ComponentSpec
    package: str
    path: str
    options: ComponentConfig | None
    children: Mapping[str, Component] = field(default_factory=dict)

    def dump(self) -> dict[str, Any]:
        """Name and every option as plain values, as config.yaml shows them."""
        options = self.options.model_dump(mode="json") if self.options is not None else {}
        options |= {name: child.dump() for name, child in self.children.items()}
        return {"name": self.name, **options}


class Registry:
    """Every plugin found and every component they provide.

    Args:
        discover: load the installed plugins.
        files: plugin files to load beside them.
        disabled: plugins not to load; by default those that ``VQ_DISABLE_PLUGINS`` names.
    """

    def __init__(
        self,
        *,
        discover: bool = True,
        files: Iterable[Path] = (),
        disabled: Iterable[str] | None = None,
    ) -> None:
        names = disabled_names() if disabled is None else disabled
        loader = Loader(discover=discover, files=files, disabled=names)
        self.manager, self.plugins = loader.manager, loader.plugins
        self._mark_clashes()

    def _providers(self, kind: str, name: str) -> list[tuple[Plugin, ComponentSpec]]:
        return [(p, s) for p in self.plugins for s in p.provides.get(kind, ()) if s.name == name]

    def _mark_clashes(self) -> None:
        for kind in KINDS:
            for name in self.names(kind):
                owners = [plugin for plugin, _ in self._providers(kind, name)]
                for plugin in owners if len(owners) > 1 else ():
                    others = ", ".join(
                        sorted(other.package for other in owners if other is not plugin)
                    )
                    text = (
                        f"{kind} {name!r} is also provided by {others}; say {plugin.package}/{name}"
                    )
                    plugin.error = f"{plugin.error}; {text}" if plugin.error else text
                    plugin.status = "clash"

    def names(self, kind: str) -> list[str]:
        """The names of one kind of component, sorted, each once."""
        return sorted(
            {spec.name for plugin in self.plugins for spec in plugin.provides.get(kind, ())}
        )

    def unambiguous(self, kind: str, name: str, package: str) -> str:
        """The shortest name that means ``package``'s component: bare, or ``package/name`` where others claim it."""
        return f"{package}/{name}" if len(self._providers(kind, name)) > 1 else name

    def find(self, kind: str, name: str, path: str = "") -> tuple[Plugin, ComponentSpec]:
        """The plugin and spec that ``name`` or ``package/name`` means; ``path`` is where it was asked for.

        Raises:
            ComponentError: if nobody provides it (with the causes of plugins that failed to load), or two do.
        """
        owner, _, short = name.rpartition("/")
        found = [(p, s) for p, s in self._providers(kind, short) if not owner or p.is_called(owner)]
        if len(found) == 1:
            return found[0]
        if found:
            choices = " or ".join(f"{plugin.package}/{short}" for plugin, _ in found)
            raise ComponentError(
                f"{kind} {short!r} is provided by {len(found)} packages: say {choices}"
            )
        raise ComponentError(self._missing(kind, name, owner, path or kind))

    def _missing(self, kind: str, name: str, owner: str, path: str) -> str:
        known = self.names(kind)
        guess = did_you_mean(name, known)
        text = f"{path} = {name!r}: no plugin provides it; {guess + '; ' if guess else ''}"
        text += f"known: {', '.join(known) or 'none'}"
        suspects = [
            p
            for p in self.plugins
            if p.status not in ("ok", "clash") and (not owner or p.is_called(owner))
        ]
        for plugin in suspects:
            text += f"\n  plugin {plugin.plugin} of {plugin.package} is not loaded ({plugin.status}): {plugin.error}"
        return text

    def resolve(
        self, kind: str, choice: str | Mapping[str, Any] | ComponentRef, path: str = ""
    ) -> Component:
        """Validate a choice in two steps: the name, then the options against that component's model.

        Args:
            kind: one of ``vqcore.plugin.component.KINDS``.
            choice: a name, or a mapping of ``name`` and options.
            path: key path of the choice in the config, for messages; the kind by default.

        Raises:
            ComponentError: if the name is unknown or ambiguous, or its options cannot be imported.
            UsageError: if an option is unknown or has a value out of its range.
        """
        path = path or kind
        name, options = _split(choice, path)
        plugin, spec = self.find(kind, name, path)
        identity = (
            kind,
            self.unambiguous(kind, spec.name, plugin.package),
            spec,
            plugin.package,
            path,
        )
        if spec.config is None:
            if options:
                raise UsageError(
                    f"{path}.{next(iter(options))}: {kind} {spec.name!r} has no options"
                )
            return Component(*identity, None)
        model = _options_model(kind, spec)
        children = {}
        for key, child_kind in inner_kinds(model).items():
            info = model.model_fields[key]
            default = None if info.is_required() else info.get_default(call_default_factory=True)
            child = named(options.get(key), default)
            if child is None:
                raise UsageError(f"{path}.{key}: this setting is required")
            children[key] = self.resolve(child_kind, child, f"{path}.{key}")
        dumped = {key: child.dump() for key, child in children.items()}
        return Component(*identity, validate(model, options | dumped, path), children)

    def options(self, kind: str, name: str) -> list[dict[str, Any]]:
        """A component's options as plain values: name, type, default, required, description."""
        from vqcore.plugin.component_config import descriptions

        _, spec = self.find(kind, name)
        if spec.config is None:
            return []
        model = _options_model(kind, spec)
        required = {field for field, info in model.model_fields.items() if info.is_required()}
        schema, described = model.model_json_schema()["properties"], descriptions(model)
        return [
            {
                "name": field,
                "type": _type_name(schema[field]),
                "default": schema[field].get("default"),
                "required": field in required,
                "description": described.get(field) or schema[field].get("description", ""),
            }
            for field in model.model_fields
        ]

    def build(self, component: Component, **injected: Any) -> Any:
        """Import the component's class and construct it from its options and what the builder injects.

        Raises:
            ComponentError: if the class or something it needs cannot be imported, or its construction fails.
            SettingError: if an option does not fit what was injected, with the whole key path.
        """
        label = f"{component.kind} {component.spec.name!r}"
        absent = [module for module in component.spec.needs if not _is_there(module)]
        if absent:
            raise ComponentError(
                f"{label} needs {', '.join(absent)}: install what {component.package} documents"
            )
        target = _load(component.spec.target, component.kind, component.spec.name)
        options = component.options
        kwargs = (
            {name: getattr(options, name) for name in type(options).model_fields} if options else {}
        )
        kwargs |= {name: partial(self.build, child) for name, child in component.children.items()}
        try:
            return target(**kwargs, **injected)
        except SettingError as error:
            own = options is not None and error.setting.split(".")[0] in type(options).model_fields
            if not own:
                raise
            raise error.under(component.path) from error
        except VQError:
            raise
        except Exception as error:
            raise ComponentError(
                f"{label} of {component.package} cannot be built: {describe(error)}"
            ) from error


@cache
def default_registry() -> Registry:
    """The registry of the installed plugins, loaded once per process."""
    return Registry()


def inner_kinds(model: type[ComponentConfig]) -> dict[str, str]:
    """The fields of an options model that choose another component, with the kind each chooses."""
    from vqcore.plugin.component_config import OfKind

    marks = {
        name: [m for m in info.metadata if isinstance(m, OfKind)]
        for name, info in model.model_fields.items()
    }
    return {name: found[0].kind for name, found in marks.items() if found}


def named(choice: Any, default: str | ComponentRef | None) -> Any:
    """A choice of a component in which options without a name are laid over the default one's."""
    if choice is None:
        return default
    if default is None or not isinstance(choice, Mapping) or "name" in choice:
        return choice
    name, options = _split(default, "default")
    return {"name": name, **options, **choice}


def validate(model: Any, values: Mapping[str, Any], path: str) -> Any:
    """Validate plain values against a pydantic model.

    Raises:
        UsageError: one line for each problem: whole key path, value, what was expected.
    """
    from pydantic import ValidationError

    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        lines = [_explain(model, problem, path) for problem in error.errors(include_url=False)]
        raise UsageError("\n".join(lines)) from error


def _explain(model: Any, problem: Mapping[str, Any], path: str) -> str:
    key = ".".join(str(part) for part in ([path] if path else []) + list(problem["loc"]))
    if problem["type"] == "extra_forbidden":
        known = list(model.model_fields)
        guess = did_you_mean(str(problem["loc"][-1]), known) if len(problem["loc"]) == 1 else ""
        return f"{key}: unknown setting; {guess or 'expected one of ' + ', '.join(known)}"
    if problem["type"] == "missing":
        return f"{key}: this setting is required"
    expected = problem["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    field_info = model.model_fields.get(str(problem["loc"][0])) if problem["loc"] else None
    default = (
        f" (default {field_info.default!r})" if field_info and not field_info.is_required() else ""
    )
    return f"{key} = {problem['input']!r}: expected {expected}{default}"


_LIMITS = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "exclusiveMaximum": "<"}


def _type_name(schema: Mapping[str, Any]) -> str:
    """A JSON schema in a few words: ``number >= 0``, ``a | b``, ``list of string``."""
    if "enum" in schema:
        return " | ".join(str(value) for value in schema["enum"])
    if "anyOf" in schema:
        return " or ".join(_type_name(each) for each in schema["anyOf"])
    if "$ref" in schema or "allOf" in schema:
        return "component"
    name = str(schema.get("type", schema.get("const", "any")))
    if name == "array":
        return f"list of {_type_name(schema['items'])}" if "items" in schema else "list"
    limits = ", ".join(f"{sign} {schema[key]}" for key, sign in _LIMITS.items() if key in schema)
    return f"{name} {limits}".strip()


def _split(choice: Any, path: str) -> tuple[str, dict[str, Any]]:
    if isinstance(choice, str):
        return choice, {}
    from vqcore.plugin.component_config import ComponentRef

    if not isinstance(choice, Mapping | ComponentRef):
        raise UsageError(
            f"{path} = {choice!r}: expected the name of a component, or a mapping of name and options"
        )
    options = (
        dict(choice) if isinstance(choice, Mapping) else {"name": choice.name, **choice.options}
    )
    name = options.pop("name", None)
    if not isinstance(name, str):
        raise UsageError(f"{path}.name = {name!r}: expected the name of a component")
    return name, options


def _is_there(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except Exception:  # a parent that is not there, is no package, or cannot be imported
        return False


def _options_model(kind: str, spec: ComponentSpec) -> type[ComponentConfig]:
    """The model of a component's options, imported."""
    from vqcore.plugin.component_config import ComponentConfig

    model = _load(spec.config, kind, spec.name)
    if not (isinstance(model, type) and issubclass(model, ComponentConfig)):
        raise ComponentError(
            f"{kind} {spec.name!r} is broken: {spec.config} is no vqcore.ComponentConfig"
        )
    return model


def _load(location: str, kind: str, name: str) -> Any:
    module, _, attribute = location.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # also SystemExit, as when a plugin module is listed
        raise ComponentError(
            f"{kind} {name!r} is broken: {location} cannot be imported: {describe(error)}"
        ) from error
