"""The settings: what differs from the defaults or between runs, and all of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from vq.config.merging import flatten
from vq.config.resolved_config import ResolvedConfig, resolve_config
from vq.config.run_config import RunConfig
from vq_report.compared_run import is_list_of_components, settings_by_path
from vq_report.comparison import Comparison
from vq_report.reported_run import ReportedRun
from vqcore.errors import VQError
from vqcore.plugin.component import SEVERAL
from vqcore.plugin.component_choice import in_order, inner_kinds
from vqcore.plugin.plugin_settings import settings_model
from vqcore.plugin.registry import Registry
from vqcore.plugin.report_section import Block, Section, Strong, Table, Text

#: What stands in the cell of a setting that a run does not have.
MISSING = "–"


def settings(runs: Sequence[ReportedRun], comparison: Comparison) -> Section:
    """One run: what differs from the defaults. Several: what differs between them."""
    problems = [f"{run.label}: {run.problem}" for run in runs if run.problem]
    blocks: list[Block] = [Text(f"{line}.") for each in problems for line in each.splitlines()]
    blocks += _changed(runs[0]) if len(runs) == 1 else _differing(runs, comparison)
    return Section("Settings", blocks)


def _differing(runs: Sequence[ReportedRun], comparison: Comparison) -> list[Block]:
    """Settings of all runs come first; options that only some runs have are in the folded rest."""
    all_settings = [run.settings for run in runs]
    keys = list(dict.fromkeys(key for each in all_settings for key in each))
    rows = [[key, *(_cell(each, key) for each in all_settings)] for key in keys]
    differing = [row for row in rows if row[0] in comparison.settings and MISSING not in row]
    labels = [run.label for run in runs]
    first = Table(["differs", *labels], differing) if differing else Text("No setting differs.")
    return [first, Table(["setting", *labels], rows, folded=f"All {len(rows)} settings")]


def _changed(run: ReportedRun) -> list[Block]:
    values, defaults = run.settings, _defaults(run)
    blocks: list[Block] = []
    changed: list[str] = []
    if defaults is not None:
        changed = [key for key in values if defaults.get(key, MISSING) != values[key]]
        rows = [[key, Strong(_cell(values, key)), _cell(defaults, key)] for key in changed]
        table = Table(["setting", "value", "default"], rows)
        blocks.append(table if changed else Text("Every setting is the default."))
    rows = [[key, (Strong if key in changed else str)(_cell(values, key))] for key in values]
    return [*blocks, Table(["setting", "value"], rows, folded=f"All {len(rows)} settings")]


def _defaults(run: ReportedRun) -> dict[str, Any] | None:
    """The default of each option given the run's components, and the default components.

    None if that cannot be resolved: a plugin is missing, or an option has no default.
    """
    if run.config is None or run.registry is None:
        return None
    try:
        options = settings_by_path(
            resolve_config(_names_only(run.config.dump()), run.registry).dump()
        )
        components = settings_by_path(resolve_config({}, run.registry).dump())
    except VQError:
        return None
    options |= {key: components[key] for key in (*inner_kinds(RunConfig), *SEVERAL)}
    for component in run.config.every_component:
        for option in in_order(type(component.options)) if component.options else ():
            options.pop(f"{component.path}.{option}", None)  # chosen, as the component is
    return options | _plugin_defaults(run.config, run.registry)


def _plugin_defaults(config: ResolvedConfig, registry: Registry) -> dict[str, Any]:
    """The defaults of the plugins that the run has settings for, as far as these are installed."""
    found = {}
    for name in config.plugins.dump():
        with suppress(VQError):
            found[name] = settings_model(registry, name)().model_dump(mode="json")
    return flatten({"plugins": found})


def _names_only(values: Mapping[str, Any]) -> dict[str, Any]:
    """The chosen components, inner ones included, without their options."""
    kept: dict[str, Any] = {"name": values["name"]} if "name" in values else {}
    for key, value in values.items():
        if isinstance(value, Mapping) and "name" in value:
            kept[key] = _names_only(value)
        elif is_list_of_components(value):
            kept[key] = list(map(_names_only, value))
    for key in values.keys() & SEVERAL:
        kept[key] = {name: {} for name in values[key]}
    return kept


def _cell(values: Mapping[str, Any], key: str) -> str:
    return as_text(values[key]) if key in values else MISSING


def as_text(value: Any) -> str:
    """A value as it is written in a config."""
    return value if isinstance(value, str) else json.dumps(value, default=str)
