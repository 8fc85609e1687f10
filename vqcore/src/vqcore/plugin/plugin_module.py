"""A plugin's module: the rules that it follows, and what its hooks declare."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Sequence
from types import ModuleType
from typing import Any, TypeVar

from vqcore.errors import did_you_mean, shown
from vqcore.plugin import hooks
from vqcore.plugin.blame import described
from vqcore.plugin.component import ComponentSpec, PresetSpec, is_location

Spec = TypeVar("Spec", ComponentSpec, PresetSpec)
#: What implements a hook in a module: one function, or none.
Functions = Sequence[Callable[..., Any]]
HOOK_NAMES = frozenset(name for name in vars(hooks) if name.startswith("vq_"))


class Refused(Exception):
    """A plugin that breaks a rule of the interface, or whose module is not where it should be."""

    def __init__(self, status: str, reason: str) -> None:
        super().__init__(reason)
        self.status = status


def check_module(module: ModuleType) -> None:
    """Refuse a module without a valid ``VQ_API``, or with a hook that is not marked as one."""
    api = getattr(module, "VQ_API", None)
    if type(api) is not int:
        expected = f"expected VQ_API = {hooks.API_VERSION} in {module.__name__}"
        raise Refused("incompatible", f"VQ_API = {shown(api)}: {expected}")
    if api != hooks.API_VERSION and api not in hooks.ACCEPTED:
        fix = "upgrade vqcore" if api > hooks.API_VERSION else "upgrade the plugin"
        text = f"VQ_API = {api}: this vqcore supports version {hooks.API_VERSION}; {fix}"
        raise Refused("incompatible", text)
    for name in sorted(HOOK_NAMES & vars(module).keys()):
        function = vars(module)[name]
        if inspect.isfunction(function) and not _is_marked(function):
            raise Refused("error", f"{name} is not marked: decorate it with @vqcore.hookimpl")
    for name, function in vars(module).items():
        if inspect.isfunction(function) and _is_marked(function):
            _check_hook(name, function)


def _is_marked(function: Callable[..., Any]) -> bool:
    return hasattr(function, f"{hooks.PROJECT}_impl")


def _check_hook(name: str, function: Callable[..., Any]) -> None:
    """Refuse a marked function that is no hook, or takes an argument that its hook has not."""
    if name not in HOOK_NAMES:
        guess = did_you_mean(name, sorted(HOOK_NAMES)) or f"hooks: {', '.join(sorted(HOOK_NAMES))}"
        raise Refused("error", f"unknown hook {name!r}; {guess}")
    known = list(inspect.signature(getattr(hooks, name)).parameters)
    strange = [each for each in inspect.signature(function).parameters if each not in known]
    if strange:
        text = f"expected some of {', '.join(known)}" if known else "it has no arguments"
        raise Refused("error", f"{name} takes {', '.join(map(repr, strange))}: {text}")


def declared_specs(hook: str, functions: Functions, kind: type[Spec]) -> tuple[Spec, ...]:
    """The components or presets that a module declares by a hook.

    Raises:
        Refused: for a declaration of another kind, or a name that it has twice.
    """
    specs: list[Spec] = []
    for function in functions:
        for spec in _answer(hook, function, kind):
            if not isinstance(spec, kind):
                text = f"{hook} yields {shown(spec)}: expected a {kind.__name__}"
                raise Refused("error", text)
            specs.append(spec)
    names = [spec.name for spec in specs]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise Refused("error", f"{hook} names {', '.join(twice)} twice")
    return tuple(specs)


def _answer(hook: str, function: Callable[[], Any], kind: type) -> list[Any]:
    """What a hook returns, as a list.

    Raises:
        Refused: naming the hook, if it raises or returns anything else.
    """
    try:
        specs = function()
        if isinstance(specs, Iterable):
            return list(specs)
    except (Exception, SystemExit) as error:
        raise Refused("error", f"{hook}: {described(error)}") from error
    raise Refused("error", f"{hook} returns {shown(specs)}: expected a list of {kind.__name__}s")


def declared_settings(functions: Functions, plugin: str) -> str | None:
    """Where the model of a plugin's own settings is.

    Raises:
        Refused: for what is no location, or a plugin whose name no key path can have.
    """
    for function in functions:
        try:
            location = function()
        except (Exception, SystemExit) as error:
            raise Refused("error", f"vq_settings: {described(error)}") from error
        if not is_location(location):
            expected = "expected the location of a model, 'package.config:Model'"
            raise Refused("error", f"vq_settings returns {shown(location)}: {expected}")
        if not re.fullmatch(r"[\w-]+", plugin):
            expected = "expected letters, digits and hyphens, as in plugins.NAME.option"
            raise Refused("error", f"a plugin with settings is called {plugin!r}: {expected}")
        return str(location)
    return None
