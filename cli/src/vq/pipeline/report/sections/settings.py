"""What was asked for: the settings that are not the defaults, those that tell runs apart, and all of them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from vq.pipeline.config import make_plan
from vq.pipeline.report.run import ReportedRun
from vqcore.errors import VQError
from vqcore.registry import Registry
from vqcore.report import Block, Section, Strong, Table, Text

ABSENT = "–"


def settings(runs: Sequence[ReportedRun]) -> Section:
    """One run: what differs from the defaults. Several: what differs between them. All the rest is folded."""
    return Section("Settings", _differences(runs) if len(runs) > 1 else _of_one(runs[0]))


def _differences(runs: Sequence[ReportedRun]) -> list[Block]:
    """Settings that all runs have and not all alike; options of a component that some chose are in the folded rest."""
    flat = [{**dict(flatten(run.dump())), "regularizers": _regularizers(run)} for run in runs]
    keys = dict.fromkeys(key for each in flat for key in each)
    rows = [[key, *(written(each[key]) if key in each else ABSENT for each in flat)] for key in keys]
    told = [row for row in rows if len(set(row[1:])) > 1 and ABSENT not in row]
    first: Block = Table(["differs", *(run.label for run in runs)], told) if told else Text("No setting differs.")
    every = Table(["setting", *(run.label for run in runs)], rows, folded=f"All {len(rows)} settings")
    return [first, *(Text(f"{run.label}: {run.problem}.") for run in runs if run.problem), every]


def _regularizers(run: ReportedRun) -> str:
    return ", ".join(run.values.get("regularizers") or ()) or "none"


def _of_one(run: ReportedRun) -> list[Block]:
    chosen, usual = dict(flatten(run.dump())), _defaults(run)
    blocks: list[Block] = [Text(f"{run.problem}. The settings are shown as they were written.")] if run.problem else []
    changed = [key for key, value in chosen.items() if usual is not None and usual.get(key) != value]
    rows = [[key, Strong(written(chosen[key])), written(usual[key]) if key in usual else ABSENT] for key in changed]
    if _regularizers(run) != "none":
        rows.insert(0, ["regularizers", Strong(_regularizers(run)), "none"])
    if rows:
        blocks.append(Table(["setting", "here", "by default"], rows))
    elif usual is not None:
        blocks.append(Text("Every setting is the default."))
    marked = [[key, (Strong if key in changed else str)(written(value))] for key, value in chosen.items()]
    return [*blocks, Table(["setting", "value"], marked, folded=f"All {len(chosen)} settings")]


def _defaults(run: ReportedRun) -> dict[str, Any] | None:
    """Every setting's default given the components that were chosen; the choices', those of ``vq train`` alone."""
    if run.config is None or run.registry is None:
        return None
    try:
        usual = dict(flatten(make_plan(_names_only(run.dump()), run.registry).dump()))
        return usual | {key: value for key, value in _choices({}, run.registry) if key in usual}
    except VQError:  # a component with an option that has no default
        return None


def _choices(values: Mapping[str, Any], registry: Registry) -> Iterator[tuple[str, Any]]:
    return ((key, value) for key, value in flatten(make_plan(values, registry).dump()) if key.endswith("name"))


def _names_only(values: Mapping[str, Any]) -> dict[str, Any]:
    """The components that were chosen, those inside others too, without their options."""
    kept = {}
    for key, value in values.items():
        if key == "regularizers":
            kept[key] = {name: {} for name in value}
        elif key == "name":
            kept[key] = value
        elif isinstance(value, Mapping) and "name" in value:
            kept[key] = _names_only(value)
    return kept


def flatten(values: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """Key paths and values, as ``--set`` takes them."""
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from flatten(value, f"{path}{key}.")
        else:
            yield f"{path}{key}", value


def written(value: Any) -> str:
    """A value as one writes it in a config."""
    return value if isinstance(value, str) else json.dumps(value)
