"""Names of what there is, as candidates: (text, description). Functions for ``autocompletion``."""

from __future__ import annotations

import os
import time
from pathlib import Path

import typer

from vqcore.plugin.component import KINDS, PLURALS
from vqcore.plugin.registry import Registry, default_registry

Candidate = tuple[str, str]
#: Where runs are written by default, those of sweeps too.
_RUNS = ("runs/*", "sweeps/*/runs/*")


def component_names(registry: Registry, kind: str) -> list[Candidate]:
    """The components of a kind; with the package where several have one name."""
    return [
        (registry.unambiguous(kind, spec.name, plugin.package), spec.summary)
        for plugin in registry.plugins
        for spec in plugin.provides.get(kind, ())
    ]


def kinds() -> list[Candidate]:
    """The kinds of components."""
    return [(kind, "") for kind in KINDS]


def preset_names() -> list[Candidate]:
    """The presets."""
    from vq.config.presets import presets

    return [(name, spec.summary) for name, (_, spec) in presets().items()]


def plugin_switches() -> list[Candidate]:
    """What turns a plugin off."""
    plugins = default_registry().plugins
    return [(f"no:{each.plugin}", f"{each.package} {each.version}") for each in plugins]


def plugin_names(incomplete: str) -> list[Candidate]:
    """The plugins, and where a path begins, plugin files."""
    found = [(each.plugin, each.package) for each in default_registry().plugins]
    return found + (files(incomplete) if incomplete.startswith((".", "/", "~")) else [])


def shown_things() -> list[Candidate]:
    """The first argument of ``vq show``."""
    registry = default_registry()
    found = [("run", "the settings of a run"), ("plugin", "a plugin")]
    found += [("preset", "the settings of a preset"), ("presets", "settings by a name")]
    for kind in KINDS:
        found += [(PLURALS[kind], f"every {kind}"), (kind, f"the options of a {kind}")]
        found += component_names(registry, kind)
    return found + preset_names()


def shown_names(ctx: typer.Context) -> list[Candidate]:
    """The second argument of ``vq show``, by the first."""
    what = ctx.params.get("what")
    if what in ("preset", "presets"):
        return preset_names()
    if what in ("plugin", "plugins"):
        return plugin_names("")
    if what == "run":
        from vq.config.run_settings import run_settings

        return [(each.key, each.declared.description) for each in run_settings()]
    kind = next((kind for kind in KINDS if what in (kind, PLURALS[kind])), "")
    return component_names(default_registry(), kind) if kind else []


def run_folders(incomplete: str) -> list[Candidate]:
    """Run folders: where they are by default, and where a path leads, with folders on its way.

    Where nothing is a run folder, any folder.
    """
    on_the_way = files(incomplete, folders=True)
    folders = [Path(text) for text, _ in on_the_way]
    if not incomplete.startswith(("/", ".", "~")):
        folders += [path for pattern in _RUNS for path in Path().glob(pattern)]
    runs = {str(path): path for path in folders if _is_run(path.expanduser())}
    named = [(text, _written(path)) for text, path in runs.items() if text.startswith(incomplete)]
    if "/" in incomplete or not named:
        named += [each for each in on_the_way if each[0].rstrip("/") not in runs]
    return named


def _is_run(path: Path) -> bool:
    return (path / "config.yaml").is_file()


def _written(path: Path) -> str:
    try:
        return time.strftime("%Y-%m-%d %H:%M", time.localtime(path.expanduser().stat().st_mtime))
    except OSError:  # removed just now
        return ""


def files(incomplete: str, *, folders: bool = False) -> list[Candidate]:
    """The files and folders that a path may lead to, or folders alone; these end in a slash."""
    place, _, start = incomplete.rpartition("/")
    place = f"{place}/" if "/" in incomplete else ""
    try:
        entries = sorted(os.scandir(os.path.expanduser(place) or "."), key=lambda each: each.name)
    except OSError:
        return []
    found = []
    for entry in entries:
        hidden = entry.name.startswith(".") and not start.startswith(".")
        if entry.name.startswith(start) and not hidden:
            is_folder = entry.is_dir()
            if is_folder or not folders:
                found.append((f"{place}{entry.name}{'/' if is_folder else ''}", ""))
    return found


def prefixed(prefix: str, candidates: list[Candidate]) -> list[Candidate]:
    """The same with something before each."""
    return [(prefix + text, about) for text, about in candidates]
