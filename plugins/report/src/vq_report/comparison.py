"""``vq compare``: what tells runs apart, and how well each did. Reads their folders alone, without torch."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vq.config.run_config import read_config
from vq.runs.files import read_json
from vq.runs.folder import RunFolder

#: Held-out figures of which more, or less, is better; the others are neither.
HIGHER = frozenset(("psnr", "ssim", "perplexity", "codes_used", "usage", "images_per_second"))
LOWER = frozenset(("mse", "dead_codes", "lpips", "fid"))
#: What a run has when its figures are final.
FINAL = frozenset(("done", "interrupted"))


@dataclass(frozen=True)
class Compared:
    """One run.

    Attributes:
        name: of its folder, or the whole path where two have the same.
        folder: the run folder.
        status: ``done, running, failed, interrupted``, or ``unknown`` without a status.json.
        step: the last one it recorded.
        settings: every setting by its key path, regularizers also by their names.
        figures: held-out; of an unfinished run the latest that it logged.
        lines: of metrics.jsonl.
    """

    name: str
    folder: RunFolder
    status: str
    step: int | None
    settings: Mapping[str, Any]
    figures: Mapping[str, float]
    lines: Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Comparison:
    """Runs side by side.

    Attributes:
        runs: in the order given.
        settings: key paths of those that differ.
        figures: names of all that any run has.
        best: name of the best finished run by figure; none where runs were judged on different data.
        same_data: whether all finished ones were judged on the same held-out samples, as far as their folders say.
    """

    runs: Sequence[Compared]
    settings: Sequence[str]
    figures: Sequence[str]
    best: Mapping[str, Sequence[str]]
    same_data: bool

    def values(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "runs": [
                {
                    "run": run.name,
                    "path": str(run.folder.path),
                    "status": run.status,
                    "step": run.step,
                    "settings": {key: run.settings.get(key) for key in self.settings},
                    "figures": dict(run.figures),
                }
                for run in self.runs
            ],
            "best": {name: list(runs) for name, runs in self.best.items()},
            "same_data": self.same_data,
        }

    def csv(self) -> str:
        """A row a run: its settings that differ, then its figures."""
        file = io.StringIO()
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["run", "status", "step", *self.settings, *self.figures])
        for run in self.runs:
            settings = [run.settings.get(key, "") for key in self.settings]
            figures = [run.figures.get(name, "") for name in self.figures]
            writer.writerow([run.name, run.status, run.step, *settings, *figures])
        return file.getvalue()


def compare(paths: Sequence[Path]) -> Comparison:
    """Read runs from their folders.

    Raises:
        SettingError: if one is no run folder.
        UsageError: if its config cannot be read.
    """
    folders = [RunFolder.open(path) for path in paths]
    short = [folder.path.resolve().name for folder in folders]
    names = [
        name if short.count(name) == 1 else str(f.path)
        for name, f in zip(short, folders, strict=True)
    ]
    runs = [_read(name, folder) for name, folder in zip(names, folders, strict=True)]
    same_data = len({_data_of(run) for run in runs if run.status in FINAL}) <= 1
    figures = list(dict.fromkeys(name for run in runs for name in run.figures))
    return Comparison(
        runs, _differing(runs), figures, _best(runs, figures) if same_data else {}, same_data
    )


def flat(values: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    """Nested settings by their key paths; a component's name stands under the component's own."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        where = path if key == "name" and path else f"{path}.{key}" if path else key
        if isinstance(value, Mapping):
            found |= {where: ", ".join(value) or "none"} if where == "regularizers" else {}
            found |= flat(value, where)
        else:
            found[where] = value
    return found


def _read(name: str, folder: RunFolder) -> Compared:
    status = read_json(folder.status) or {}
    lines = folder.read_metrics()
    state = str(status.get("status", "unknown"))
    figures = read_json(folder.summary) if state in FINAL else None
    if figures is None:
        figures = _latest(lines)
    numbers = {key: value for key, value in figures.items() if isinstance(value, int | float)}
    return Compared(
        name, folder, state, status.get("step"), flat(read_config(folder.config)), numbers, lines
    )


def _latest(lines: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The held-out figures of the last line that has any."""
    evaluated = [line for line in lines if "test_psnr" in line]
    last = evaluated[-1] if evaluated else {}
    return {
        name.removeprefix("test_"): value
        for name, value in last.items()
        if name.startswith("test_")
    }


def _differing(runs: Sequence[Compared]) -> list[str]:
    """Settings with several values. What only some runs have follows from a component that they chose otherwise."""
    keys = dict.fromkeys(key for run in runs for key in run.settings)
    return [
        key
        for key in keys
        if len({repr(run.settings[key]) for run in runs if key in run.settings}) > 1
    ]


def _best(runs: Sequence[Compared], figures: Sequence[str]) -> dict[str, list[str]]:
    finished = [run for run in runs if run.status in FINAL]
    best = {}
    for name in figures:
        found = {run.name: run.figures[name] for run in finished if name in run.figures}
        if name in HIGHER | LOWER and len(set(found.values())) > 1:
            value = (max if name in HIGHER else min)(found.values())
            best[name] = [run for run, each in found.items() if each == value]
    return best


def _data_of(run: Compared) -> tuple[Any, ...]:
    """What tells held-out splits apart: name, shape of a sample, how many. Not options: they may be augmentation."""
    shape = (read_json(run.folder.data) or {}).get("shape")
    return run.settings.get("dataset"), str(shape), run.figures.get("samples")
