"""A run as its folder records it: settings, metrics, status. It is read without torch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vq.config.merging import flatten, shown_names
from vq.files import read_json
from vq.runs.folder import RunFolder
from vqcore.plugin.component import SEVERAL

#: The status of a run whose metrics are final, unless it was stopped at once.
FINAL = frozenset(("done", "interrupted"))
STATUSES = FINAL | {"running", "failed"}
#: Numbers and steps from here on are left out: no run has such.
LARGEST, LAST_STEP = 1e300, 2**40


@dataclass(frozen=True)
class ComparedRun:
    """One run.

    Attributes:
        name: of its folder; the whole path if two folders have the same name.
        folder: the run folder.
        status: ``done, running, failed, interrupted``, or ``unknown`` without a status.json.
        final: whether its metrics are those of its end.
        step: the last step it recorded.
        settings: every setting by its key path; ``regularizers`` and ``losses`` hold
            names too.
        metrics: held-out metrics; of an unfinished run, the last it logged.
        lines: the lines of metrics.jsonl.
        among: the config of every run that it is compared with.
    """

    name: str
    folder: RunFolder
    status: str
    final: bool
    step: int | None
    settings: Mapping[str, Any]
    metrics: Mapping[str, float]
    lines: Sequence[Mapping[str, Any]]
    among: Sequence[Mapping[str, Any]] = ()


def read_run(
    name: str, folder: RunFolder, config: Mapping[str, Any], configs: Sequence[Mapping[str, Any]]
) -> ComparedRun:
    """A run, called ``name``, whose ``config`` is one of the ``configs`` to compare.

    Raises:
        RunError: if its metrics cannot be read.
    """
    recorded = folder.read_status()
    lines = [_numbers(line) for line in folder.read_metrics()]
    lines = [line for line in lines if line.get("step", LAST_STEP) < LAST_STEP]
    status = str(recorded.get("status"))
    if status not in STATUSES:
        status = "unknown"
    final = status in FINAL and "error" not in recorded
    metrics = read_json(folder.summary) if final else None
    numbers = _last_metrics(lines) if metrics is None else _numbers(metrics)
    step = _numbers(recorded).get("step")
    settings = settings_by_path(config, configs)
    return ComparedRun(name, folder, status, final, step, settings, numbers, lines, configs)


def settings_by_path(
    values: Mapping[str, Any], among: Sequence[Mapping[str, Any]] = ()
) -> dict[str, Any]:
    """Nested settings by their key paths; the name of a component is the value of its own path.

    Names are without their package, unless it tells the settings of several runs (``among``) apart.
    """
    named = shown_names(values, among)
    for key in SEVERAL:
        if isinstance(chosen := named.get(key), Mapping):
            named[key] = {"name": ", ".join(map(str, chosen)) or "none", **chosen}
    flat = flatten(_by_place(named))
    return {path.removesuffix(".name"): value for path, value in flat.items()}


def _by_place(value: Any) -> Any:
    """Nested settings with components in a list, as the factors of a product, by their places."""
    if isinstance(value, Mapping):
        return {key: _by_place(each) for key, each in value.items()}
    if not is_list_of_components(value):
        return value
    places = {
        str(place): {key: option for key, option in each.items() if key != "name"}
        for place, each in enumerate(value)
    }
    return {"name": ",".join(str(each["name"]) for each in value), **_by_place(places)}


def is_list_of_components(value: Any) -> bool:
    """Whether a setting holds components in an order, as config.yaml does."""
    several = value if isinstance(value, list) else []
    return bool(several) and all(isinstance(x, Mapping) and "name" in x for x in several)


def _numbers(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values that are numbers which can be computed with: a received file may hold any."""
    return {
        name: value
        for name, value in values.items()
        if type(value) in (int, float) and not LARGEST < abs(value) < math.inf
    }


def _last_metrics(lines: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """The held-out metrics of the last line that has any."""
    prefix = "test_"
    evaluated = (line for line in reversed(lines) if any(name.startswith(prefix) for name in line))
    last: Mapping[str, Any] = next(evaluated, {})
    return {name.removeprefix(prefix): last[name] for name in last if name.startswith(prefix)}
