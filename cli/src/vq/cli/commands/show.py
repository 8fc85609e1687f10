"""``vq show``: settings of a run, components of a kind, options of a component, plugins."""

from typing import Annotated, Any

from vq.cli.about_plugin import about_plugin, plugins_by_name
from vq.cli.arguments import AsJson, PluginFiles, argument
from vq.cli.completion.names import shown_names, shown_things
from vq.cli.console import print_json
from vq.config.plugin_files import registry_for
from vq.config.presets import presets, read_preset
from vq.config.run_settings import run_settings, setting_rows
from vq.config.setting_hints import hint, unknown_setting
from vqcore.errors import UsageError, did_you_mean, shown_key
from vqcore.plugin.component import KINDS, PLURALS, SETTINGS, SEVERAL
from vqcore.plugin.registry import Registry


def show(
    what: Annotated[
        str | None,
        argument(f"run, a kind ({', '.join(KINDS)}), or a component.", "WHAT", shown_things),
    ] = None,
    name: Annotated[
        str | None, argument("A component of the kind, or a setting of a run.", "NAME", shown_names)
    ] = None,
    as_json: AsJson = False,
    plugin_file: PluginFiles = [],  # noqa: B006 - typer copies it
) -> None:
    """Show the settings of a run, presets, or components and their options.

    vq show run lists the settings, vq show quantizers the quantizers, and vq show quantizer ema, or
    vq show ema, the options of one; vq show decay an option of all that have it. A component may
    have its package before it: package/name. vq show presets lists presets, and the name of
    one shows its settings; vq show plugins and vq show plugin NAME do so for plugins.
    """
    view, about = _view(registry_for(plugin_file), what, name)
    if as_json:
        print_json(about)
    else:
        from vq.cli import show_tables
        from vq.terminal import Terminal

        Terminal().print(getattr(show_tables, view)(about))


def _view(registry: Registry, what: str | None, name: str | None) -> tuple[str, Any]:
    """The function of ``show_tables`` that shows what is asked for, and its argument."""
    if what is None:
        names = {kind: registry.names(kind) for kind in KINDS}
        plugins = sorted(plugins_by_name(registry))
        return "overview", {**names, "preset": list(presets(registry)), "plugin": plugins}
    if what == "run" and name is None:
        return "settings", setting_rows(registry)
    if what in ("preset", "presets"):
        found = _presets(registry) if name is None else read_preset(name, registry)
        return ("components" if name is None else "preset"), found
    if what in ("plugin", "plugins"):
        if name is not None:
            return "plugin", about_plugin(registry, name)
        return "plugins", [row for _, row in plugins_by_name(registry).values()]
    kind = _kind(what)
    if kind and name is None:
        return "components", _components(registry, kind)
    if what == "run" or (name is None and _setting(what)):
        return "settings", _one_setting(registry, name or what)
    if name is None:
        options = [] if _kinds_with(registry, what) else _options(registry, what)
        if options:
            return "options", options
        if not _kinds_with(registry, what) and _is_preset(registry, what):
            return "preset", read_preset(what, registry)
        return "component", _component(registry, *_find(registry, what))
    if not kind:
        guess = did_you_mean(what, ("run", *KINDS, *PLURALS.values()))
        expected = guess or f"expected run or one of {', '.join(KINDS)}"
        raise UsageError(f"{shown_key(what)}: no kind of component; {expected}")
    return "component", _component(registry, kind, name)


def _kind(word: str) -> str:
    """The kind that a word means, in the singular or plural; empty if it is none."""
    return next((kind for kind in KINDS if word in (kind, PLURALS[kind])), "")


def _setting(name: str) -> str:
    """The key path of the setting that a key path or an option means; empty if it is none."""
    option = f"--{name.replace('_', '-')}"
    found = (each.key for each in run_settings() if each.key == name or each.option == option)
    return next(found, "")


def _one_setting(registry: Registry, name: str) -> list[dict[str, Any]]:
    key = _setting(name)
    if not key:
        raise UsageError(unknown_setting(name))
    return [row for row in setting_rows(registry) if row["name"] == key]


def _components(registry: Registry, kind: str) -> list[dict[str, Any]]:
    """The components of a kind."""
    found = [
        {
            "name": registry.unambiguous(kind, spec.name, plugin.package),
            "package": plugin.package,
            "summary": spec.summary,
        }
        for plugin in registry.plugins
        for spec in plugin.provides.get(kind, ())
    ]
    return sorted(found, key=lambda row: row["name"])


def _presets(registry: Registry) -> list[dict[str, Any]]:
    """The presets, as the components of a kind."""
    return [
        {"name": name, "package": plugin.package, "summary": spec.summary}
        for name, (plugin, spec) in presets(registry).items()
    ]


def _is_preset(registry: Registry, name: str) -> bool:
    short = name.rpartition("/")[2]
    return any(spec.name == short for _, spec in presets(registry).values())


def _options(registry: Registry, path: str) -> list[dict[str, Any]]:
    """The options with this name, or this key path, of all components that have it."""
    *place, name = path.replace("-", "_").split(".")
    return [
        {"component": f"{kind} {owner}", "key": f"{_key(kind, owner)}.{name}", **row}
        for kind in KINDS
        if not place or kind == _kind(place[0])
        for owner in registry.owners(kind, name)
        for row in registry.options(kind, owner)
        if row["name"] == name
    ]


def _key(kind: str, name: str) -> str:
    """Where the options of a component are in a config."""
    setting = SETTINGS[kind]
    return f"{setting}.{name}" if setting in SEVERAL else setting


def _kinds_with(registry: Registry, name: str) -> list[str]:
    """The kinds that have a component of this name."""
    short = name.rpartition("/")[2]
    return [kind for kind in KINDS if short in registry.names(kind)]


def _find(registry: Registry, name: str) -> tuple[str, str]:
    """The kind and the name of a component that is given by its name alone."""
    kinds = _kinds_with(registry, name)
    if len(kinds) > 1:
        fix = " or ".join(f"vq show {kind} {name}" for kind in kinds)
        raise UsageError(f"{shown_key(name)}: a name of {' and '.join(kinds)}; use {fix}")
    if not kinds:
        names = [
            "presets",
            *presets(registry),
            *(each for kind in KINDS for each in registry.names(kind)),
        ]
        short = name.rpartition("/")[2]
        guess = did_you_mean(short, ["run", *KINDS, *PLURALS.values(), *names]) or hint(name)
        guess = guess or "vq show lists what there is"
        raise UsageError(f"{shown_key(name)}: no kind, component, preset or setting; {guess}")
    return kinds[0], name


def _component(registry: Registry, kind: str, name: str) -> dict[str, Any]:
    """A component with its options."""
    plugin, spec = registry.find(kind, name)
    return {
        "kind": kind,
        "name": spec.name,
        "summary": spec.summary,
        "plugin": plugin.plugin,
        "package": plugin.package,
        "target": spec.target,
        "options": registry.options(kind, name),
    }
