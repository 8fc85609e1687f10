"""What was asked for: the settings that are not the defaults, those that tell runs apart, and all of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from vq.config.run_config import RunConfig, resolve_config
from vq_report.comparison import Comparison, flat
from vq_report.reported_run import ReportedRun
from vqcore.errors import VQError
from vqcore.plugin.registry import inner_kinds
from vqcore.plugin.report_section import Block, Section, Strong, Table, Text

ABSENT = "–"


def settings(runs: Sequence[ReportedRun], comparison: Comparison) -> Section:
    """One run: what differs from the defaults. Several: what differs between them. All the rest is folded."""
    blocks: list[Block] = [Text(f"{run.label}: {run.problem}.") for run in runs if run.problem]
    return Section(
        "Settings",
        blocks + (_of_one(runs[0]) if len(runs) == 1 else _differences(runs, comparison)),
    )


def _differences(runs: Sequence[ReportedRun], comparison: Comparison) -> list[Block]:
    """Those that all runs have stand first; options of a component that only some chose are in the folded rest."""
    every = [run.settings for run in runs]
    rows = [
        [key, *(_cell(each, key) for each in every)]
        for key in dict.fromkeys(key for each in every for key in each)
    ]
    differing = [row for row in rows if row[0] in comparison.settings and ABSENT not in row]
    head = [run.label for run in runs]
    first: Block = (
        Table(["differs", *head], differing) if differing else Text("No setting differs.")
    )
    return [first, Table(["setting", *head], rows, folded=f"All {len(rows)} settings")]


def _of_one(run: ReportedRun) -> list[Block]:
    usual = _defaults(run)
    changed = (
        []
        if usual is None
        else [key for key, value in run.settings.items() if usual.get(key, ABSENT) != value]
    )
    rows = [[key, Strong(_cell(run.settings, key)), _cell(usual or {}, key)] for key in changed]
    blocks: list[Block] = [Table(["setting", "here", "by default"], rows)] if rows else []
    if usual is not None and not rows:
        blocks.append(Text("Every setting is the default."))
    marked = [
        [key, (Strong if key in changed else str)(_cell(run.settings, key))] for key in run.settings
    ]
    return [*blocks, Table(["setting", "value"], marked, folded=f"All {len(marked)} settings")]


def _defaults(run: ReportedRun) -> dict[str, Any] | None:
    """What each option is by default, given the run's components; the components themselves as ``vq train`` has them.

    None where that cannot be told: without a plugin that the run needs, or for an option that has no default.
    """
    if run.config is None or run.registry is None:
        return None
    chosen = run.config.dump()
    try:
        usual = flat(resolve_config(_names_only(chosen), run.registry).dump())
        alone = flat(resolve_config({}, run.registry).dump())
    except VQError:
        return None
    return usual | {key: alone[key] for key in (*inner_kinds(RunConfig), "regularizers")}


def _names_only(values: Mapping[str, Any]) -> dict[str, Any]:
    """The components that were chosen, those inside others too, without their options."""
    kept: dict[str, Any] = {key: value for key, value in values.items() if key == "name"}
    kept |= {
        key: _names_only(value)
        for key, value in values.items()
        if isinstance(value, Mapping) and "name" in value
    }
    if "regularizers" in values:
        kept["regularizers"] = {name: {} for name in values["regularizers"]}
    return kept


def _cell(values: Mapping[str, Any], key: str) -> str:
    return written(values[key]) if key in values else ABSENT


def written(value: Any) -> str:
    """A value as one writes it in a config."""
    return value if isinstance(value, str) else json.dumps(value)
