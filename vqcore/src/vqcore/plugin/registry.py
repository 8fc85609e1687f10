"""The registry: looking components up by name, validating their options and building them."""

from __future__ import annotations

import copy
import pkgutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vqcore.errors import (
    ComponentError,
    SettingError,
    UsageError,
    VQError,
    did_you_mean,
    shown,
    shown_key,
)
from vqcore.plugin.blame import described
from vqcore.plugin.component import INTERFACES, KINDS, ComponentSpec
from vqcore.plugin.component_choice import (
    in_order,
    inner_choices,
    is_module,
    sizes_apart,
    split_choice,
)
from vqcore.plugin.deprecation import FormerName, warn_of_former_name, with_new_names
from vqcore.plugin.importing import absent_modules, load, options_model
from vqcore.plugin.loader import Loader, Plugin, disabled_names, owner_of
from vqcore.plugin.plugin_record import PluginRecord
from vqcore.plugin.resolved_component import Component, by_option
from vqcore.plugin.validation import validate

if TYPE_CHECKING:
    from vqcore.plugin.component_config import ComponentConfig, ComponentRef

#: Most components inside one another.
DEEPEST = 16


class Registry:
    """Every plugin found and every component they provide.

    Args:
        discover: load the installed plugins.
        files: plugin files to load in addition.
        disabled: plugins not to load; by default those that ``VQ_DISABLE_PLUGINS`` names.
        loader: instead of these, a loader that has loaded the plugins.
    """

    #: Decides between packages that provide the same name, and explains which one is missing.
    record: PluginRecord = PluginRecord()

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
            fix = f"use {owner_of(plugin.package)}/{name}"
            text = f"{kind} {name!r} is also provided by {others}; {fix}"
            plugin.error = f"{plugin.error}; {text}" if plugin.error else text
            plugin.status = "clash"

    def _providers(self, kind: str, name: str) -> list[tuple[Plugin, ComponentSpec]]:
        """Who has a component of this name; if there is none, of this former name."""
        every = [(p, s) for p in self.plugins for s in p.provides.get(kind, ())]
        named = [each for each in every if each[1].name == name]
        return named or [each for each in every if former_name(each[1], name)]

    # -- names ---------------------------------------------------------------

    def names(self, kind: str) -> list[str]:
        """The names of one kind of component, sorted, each once."""
        return sorted({spec.name for p in self.plugins for spec in p.provides.get(kind, ())})

    def unambiguous(self, kind: str, name: str, package: str) -> str:
        """The shortest name of ``package``'s component: ``package/name`` if others claim it too."""
        return f"{owner_of(package)}/{name}" if len(self._providers(kind, name)) > 1 else name

    def with_record(self, record: PluginRecord) -> Registry:
        """The same plugins, for names that a folder with this record holds."""
        recording = copy.copy(self)
        recording.record = record
        return recording

    def find(self, kind: str, name: str, path: str = "") -> tuple[Plugin, ComponentSpec]:
        """The plugin and spec that ``name`` or ``package/name`` means.

        Of several packages that provide it, the one in ``record`` is meant. Messages start with
        ``path``, the key path of the setting; by default the kind.

        Raises:
            ComponentError: if no plugin provides it (with the causes of plugins that failed to
                load), or several do.
        """
        owner, _, short = name.rpartition("/")
        found = self._providers(kind, short)
        if owner:
            called = [each for each in found if each[0].is_called(owner)]
            # a plugin may be named like another's package, which then wins
            found = [each for each in called if each[0].owns(owner)] or called
        else:
            found = self.record.among(found, kind, short)
        if not found:
            raise ComponentError(self._missing(kind, name, owner, path or kind))
        if len(found) > 1:
            choices = " or ".join(f"{owner_of(plugin.package)}/{short}" for plugin, _ in found)
            text = f"{kind} {short!r} is provided by {len(found)} packages: use {choices}"
            raise ComponentError("\n  ".join([text, *self.recorded_lines(kind, short)]))
        former = former_name(found[0][1], short)
        if former and (kind, name) not in self.record.providers:
            new = f"{kind} {found[0][1].name!r}"
            warn_of_former_name(f"{kind} {short!r}", new, former.gone_in)
        return found[0]

    def recorded_lines(self, kind: str, name: str) -> list[str]:
        """What the record says of a component, or of a plugin, that is not found."""
        return self.record.explain(self.plugins, kind, name)

    def _missing(self, kind: str, name: str, owner: str, path: str) -> str:
        known = self.names(kind)
        there = not owner or any(plugin.is_called(owner) for plugin in self.plugins)
        short = name.rpartition("/")[2]
        others = [each for each in KINDS if short in self.names(each) and each != kind]
        guess = did_you_mean(short, known) if there else ""
        guess = f"it is a name of another kind: {', '.join(others)}" if others else guess
        text = f"{path} = {shown(name)}: no plugin provides it; {guess + '; ' if guess else ''}"
        text += f"known: {', '.join(known) or 'none'}"
        for plugin in self.plugins:
            failed = plugin.status not in ("ok", "clash")
            if failed and (not owner or plugin.is_called(owner)):
                label = f"plugin {plugin.plugin} of {plugin.package}"
                text += f"\n  {label} is not loaded ({plugin.status}): {plugin.error}"
        return "\n  ".join([text, *self.recorded_lines(kind, name)])

    # -- options -------------------------------------------------------------

    def resolve(
        self, kind: str, choice: str | Mapping[str, Any] | ComponentRef, path: str = ""
    ) -> Component:
        """Validate a choice in two steps: the name, then the options against the component's model.

        The choice is a name, or a mapping of ``name`` and options; ``path`` is as for ``find``.

        Raises:
            ComponentError: if the name is unknown or ambiguous, or its options cannot be imported.
            UsageError: if an option is unknown or has an invalid value, or for components nested
                more than ``DEEPEST`` deep.
        """
        return self._resolve(kind, choice, path or kind, 1)

    def _resolve(
        self, kind: str, choice: str | Mapping[str, Any] | ComponentRef, path: str, depth: int
    ) -> Component:
        if depth > DEEPEST:
            fix = "does one contain itself by default?"
            raise UsageError(f"{path}: components nested more than {DEEPEST} deep; {fix}")
        asked, options = split_choice(choice, path)
        plugin, spec = self.find(kind, asked, path)
        name = self.unambiguous(kind, spec.name, plugin.package)
        if spec.config is None:
            if options:
                text = f"{kind} {spec.name!r} has no options"
                raise UsageError(f"{path}.{shown_key(str(next(iter(options))))}: {text}")
            return Component(kind, name, spec, plugin.package, path, None)
        model = options_model(kind, spec.name, spec.config)
        options = with_new_names(model, options, path, warn=not self.record.providers)
        options = sizes_apart(model, options, path)
        children = dict(self._children(model, options, path, depth + 1))
        options |= by_option(model, {key: child.dump() for key, child in children.items()})
        validated = validate(model, options, path, partial(self._option_hint, kind, model))
        return Component(kind, name, spec, plugin.package, path, validated, children)

    def _children(
        self, model: type[ComponentConfig], options: Mapping[str, Any], path: str, depth: int
    ) -> Iterator[tuple[str, Component]]:
        """Inner components by their keys. Those in an order, each built once, may be objects."""
        ordered = in_order(model)
        for key, kind, choice in inner_choices(model, options, path):
            place = f"{path}.{shown_key(key)}"
            if is_module(choice) and key.partition(".")[0] in ordered:
                yield key, _given(kind, choice, place)
            else:
                yield key, self._resolve(kind, choice, place, depth)

    def _option_hint(self, kind: str, model: type[ComponentConfig], option: str) -> str:
        """A hint for an option that a component lacks: other components of its kind may have it."""
        guess, owners = did_you_mean(option, model.model_fields), self.owners(kind, option)
        owned = f"an option of {', '.join(owners)}" if owners else ""
        if owned and not guess and (several := in_order(model)):
            owned += f"; for one of {several[0]}: {several[0]}.0.{option}"
        return f"{guess} ({owned})" if guess and owned else guess or owned

    def options(self, kind: str, name: str) -> list[dict[str, Any]]:
        """A component's options as plain values, see ``option_rows``."""
        from vqcore.plugin.option_rows import option_rows

        _, spec = self.find(kind, name)
        return option_rows(options_model(kind, spec.name, spec.config)) if spec.config else []

    def owners(self, kind: str, option: str) -> list[str]:
        """The components of a kind that have an option; broken and ambiguous ones are left out."""
        found = []
        for name in self.names(kind):
            with suppress(VQError):
                if any(row["name"] == option for row in self.options(kind, name)):
                    found.append(name)
        return found

    # -- building ------------------------------------------------------------

    def target(self, component: Component) -> Any:
        """What makes a component: its class, imported.

        Raises:
            ComponentError: if it, or a module that it needs, cannot be imported.
        """
        spec = component.spec
        if absent := absent_modules(spec):
            what, fix = ", ".join(absent), f"install what {component.package} documents"
            raise ComponentError(f"{component.kind} {spec.name!r} needs {what}: {fix}")
        return load(spec.target, component.kind, spec.name)

    def build(self, component: Component, **injected: Any) -> Any:
        """Import the component's class and construct it from its options and what is injected.

        Raises:
            ComponentError: if the class or a module it needs cannot be imported, its construction
                fails, or what it makes is of another kind.
            SettingError: if an option does not fit what is injected, with the whole key path.
        """
        if component.made is not None:
            return _checked(component)
        spec, options = component.spec, component.options
        label, target = f"{component.kind} {spec.name!r}", self.target(component)
        fields = options.constructor_options() if options is not None else []
        kwargs = {name: getattr(options, name) for name in fields}
        kwargs |= component.inner(lambda child: partial(self.build, child))
        try:
            made = target(**kwargs, **injected)
        except SettingError as error:
            if error.setting.split(".")[0] not in fields:
                raise
            raise error.under(component.path) from error
        except VQError:
            raise
        except Exception as error:
            text = f"{label} of {component.package} cannot be built: {described(error)}"
            raise ComponentError(text) from error
        interface = INTERFACES[component.kind]
        if not isinstance(made, pkgutil.resolve_name(interface)):
            name, found = interface.replace(":", "."), type(made).__name__
            text = f"{spec.target} makes a {found}: expected a {name}"
            raise ComponentError(f"{label} of {component.package} is broken: {text}")
        return made


def _given(kind: str, made: Any, path: str) -> Component:
    """An object as a component, as a factor of a product may be in Python."""
    spec = ComponentSpec(name="object", target=f"{__name__}:Registry", summary="an object")
    return Component(kind, "object", spec, type(made).__module__, path, None, made=made)


def _checked(component: Component) -> Any:
    """An object that was given as a component, if it is one of its kind."""
    interface = INTERFACES[component.kind]
    if not isinstance(component.made, pkgutil.resolve_name(interface)):
        expected = f"a name, or a {interface.replace(':', '.')}"
        raise SettingError(component.path, type(component.made).__name__, expected)
    return component.made


@cache
def default_registry() -> Registry:
    """The registry of the installed plugins, loaded once per process."""
    return Registry()


def former_name(spec: ComponentSpec, name: str) -> FormerName | None:
    """The former name of a component, if this is one."""
    return next((each for each in spec.former_names if each.name == name), None)
