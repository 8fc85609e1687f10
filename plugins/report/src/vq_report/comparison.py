"""``vq compare``: which settings differ between runs, and which did best, without torch."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vq.config.config_file import read_config
from vq.files import read_json
from vq.runs.folder import RunFolder, run_path
from vq_report.compared_run import ComparedRun, read_run
from vqcore.errors import SettingError

if TYPE_CHECKING:
    from vq.runs.trained_run import RunLike

#: Held-out metrics of which higher, or lower, is better; the others are neither.
HIGHER = frozenset((
    "psnr", "ssim", "accuracy", "perplexity", "codes_used", "usage", "images_per_second",
))  # fmt: skip
LOWER = frozenset(("mse", "cross_entropy", "dead_codes", "lpips", "fid"))


@dataclass(frozen=True)
class Comparison:
    """Runs side by side.

    Attributes:
        runs: in the order given.
        settings: key paths of the settings that differ.
        metrics: names of all metrics that any run has.
        best: names of the best finished runs by metric; empty if the data differ.
        same_data: whether all finished runs were evaluated on the same held-out samples, as far
            as their folders record it.
    """

    runs: Sequence[ComparedRun]
    settings: Sequence[str]
    metrics: Sequence[str]
    best: Mapping[str, Sequence[str]]
    same_data: bool

    def values(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        runs = [
            {
                "run": run.name,
                "path": str(run.folder.path),
                "status": run.status,
                "step": run.step,
                "settings": {key: run.settings.get(key) for key in self.settings},
                "figures": dict(run.metrics),
            }
            for run in self.runs
        ]
        best = {name: list(winners) for name, winners in self.best.items()}
        return {"runs": runs, "best": best, "same_data": self.same_data}

    def csv(self) -> str:
        """A row per run: the settings that differ, then the metrics."""
        file = io.StringIO()
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["run", "status", "step", *self.settings, *self.metrics])
        for run in self.runs:
            settings = [run.settings.get(key, "") for key in self.settings]
            metrics = [run.metrics.get(name, "") for name in self.metrics]
            writer.writerow([run.name, run.status, run.step, *settings, *metrics])
        return file.getvalue()


def compare(runs: RunLike | Sequence[RunLike]) -> Comparison:
    """Compare runs by what their folders hold.

    Args:
        runs: run folders, or runs.

    Raises:
        SettingError: if a path is not a run folder.
        UsageError: if its config cannot be read.
    """
    folders = [RunFolder.open(path) for path in run_paths(runs)]
    short = [folder.path.resolve().name for folder in folders]
    configs = [read_config(folder.config) for folder in folders]
    compared = [
        read_run(name if short.count(name) == 1 else str(folder.path), folder, config, configs)
        for name, folder, config in zip(short, folders, configs, strict=True)
    ]
    finished = [run for run in compared if run.final]
    same_data = len(set(map(_data_of, finished))) <= 1
    metrics = list(dict.fromkeys(name for run in compared for name in run.metrics))
    best = _best(finished, metrics) if same_data else {}
    return Comparison(compared, _differing(compared), metrics, best, same_data)


def run_paths(runs: RunLike | Sequence[RunLike]) -> list[Path]:
    """The folders of one run or several.

    Raises:
        SettingError: if there is none.
    """
    if isinstance(runs, str) or not isinstance(runs, Sequence):
        runs = [runs]
    if not runs:
        raise SettingError("runs", runs, "one run or more")
    return [run_path(run) for run in runs]


def _differing(runs: Sequence[ComparedRun]) -> list[str]:
    """Settings with several values; options that only some runs have follow from a component.

    Those of a plugin itself do not: a run without them has its defaults.
    """
    values: dict[str, set[str]] = {}
    for run in runs:
        for key, value in run.settings.items():
            values.setdefault(key, set()).add(repr(value))
    return [
        key
        for key, found in values.items()
        if len(found) > 1 or (key.startswith("plugins.") and _lacking(runs, key))
    ]


def _lacking(runs: Sequence[ComparedRun], key: str) -> bool:
    return any(key not in run.settings for run in runs)


def _best(finished: Sequence[ComparedRun], metrics: Sequence[str]) -> dict[str, list[str]]:
    best = {}
    for name in metrics:
        values = {run.name: run.metrics[name] for run in finished if name in run.metrics}
        if name in HIGHER | LOWER and len(set(values.values())) > 1:
            target = (max if name in HIGHER else min)(values.values())
            best[name] = [run for run, value in values.items() if value == target]
    return best


def _data_of(run: ComparedRun) -> tuple[Any, ...]:
    """What tells held-out splits apart. Not the data set's options: they may be augmentation."""
    shape = (read_json(run.folder.data) or {}).get("shape")
    return run.settings.get("dataset"), str(shape), run.metrics.get("samples")
