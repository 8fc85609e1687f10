"""Where a setting is that somebody looks for under another name or in another place. Torch-free."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from vq.config.run_settings import run_settings
from vqcore.errors import VQError, did_you_mean, shown_key
from vqcore.plugin.component import KINDS, SETTINGS, SEVERAL
from vqcore.plugin.other_names import our_names
from vqcore.plugin.plugin_settings import settings_model, with_settings
from vqcore.plugin.registry import Registry, default_registry

#: Most suggestions in a hint.
_MOST = 3


@dataclass(frozen=True)
class Suggestion:
    """A setting that may be meant.

    Attributes:
        key: its key path.
        option: how a command line has it, as in ``--quantizer.decay`` or ``--quantizer ema``.
        value: the component that it may be set to, if that is meant.
        owners: components that have it, where the default one of their kind lacks it.
    """

    key: str
    option: str
    value: str = ""
    owners: tuple[str, ...] = ()

    def note(self, text: str) -> str:
        """A text for this suggestion, with its owners."""
        return f"{text} (of {', '.join(self.owners)})" if self.owners else text


def unknown_setting(path: str) -> str:
    """A message for a key path that starts with no setting of a run."""
    guess = hint(path.partition(".")[0]) or "vq show run lists all settings"
    return f"{shown_key(path)}: unknown setting; {guess}"


def hint(name: str) -> str:
    """Where what somebody calls ``name`` is among the settings; empty if it is nowhere."""
    found = [
        each.note(repr(f"{each.key}={each.value}" if each.value else each.key))
        for each in suggestions(name)
    ]
    known = [setting.key for setting in run_settings()]
    return meant(found) or did_you_mean(name, known)


def meant(found: list[str]) -> str:
    """``did you mean a or b?``, empty without suggestions."""
    return f"did you mean {' or '.join(found[:_MOST])}?" if found else ""


def suggestions(name: str, registry: Registry | None = None) -> list[Suggestion]:
    """The settings, components and options of components with this name, here or elsewhere."""
    name = name.lstrip("-").replace("-", "_").lower()
    registry = registry or default_registry()
    found = [each for ours in (name, *our_names(name)) for each in _called(ours, registry)]
    return list(dict.fromkeys(found))


def _called(name: str, registry: Registry) -> Iterator[Suggestion]:
    settings = {setting.declared.name: setting for setting in run_settings()}
    if name in settings:
        yield Suggestion(settings[name].key, settings[name].option)
        return
    for kind in KINDS:
        component = name.replace("_", "-")
        if component in registry.names(kind):
            yield Suggestion(SETTINGS[kind], f"--{kind} {component}", component)
    for kind in KINDS:
        owners = registry.owners(kind, name)
        if owners:
            place = SETTINGS[kind]
            key = f"{place}.NAME.{name}" if place in SEVERAL else f"{place}.{name}"
            default = settings[kind].declared.default if kind in settings else owners[0]
            yield Suggestion(key, f"--{key}", "", () if default in owners else tuple(owners))
    for plugin in with_settings(registry):
        with suppress(VQError):
            if name in settings_model(registry, plugin).model_fields:
                yield Suggestion(f"plugins.{plugin}.{name}", f"--plugins.{plugin}.{name}")
