"""The results of an experiment: every run's numbers, their mean and spread, as JSON. Torch-free."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from vq.files import read_json, write_json
from vqcore.errors import RunError

FORMAT = 1
#: In the folder of an experiment.
FILE = "results.json"


@dataclass(frozen=True)
class RunResult:
    """A run: its seed, its folder below the experiment's, and its numbers.

    The folder of a baseline is empty.
    """

    seed: int
    folder: str
    numbers: Mapping[str, float]
    seconds: float


@dataclass(frozen=True)
class RowResult:
    """A row: its runs, and the settings that they share."""

    label: str
    settings: Mapping[str, Any]
    published: Mapping[str, str]
    runs: Sequence[RunResult] = ()

    @property
    def trained(self) -> bool:
        """Whether it has runs, and is no baseline."""
        return any(run.folder for run in self.runs)

    def values(self, key: str) -> list[float]:
        """The numbers of a column, of the runs that have it."""
        return [run.numbers[key] for run in self.runs if _is_number(run.numbers.get(key))]

    def mean(self, key: str) -> float | None:
        """The mean over the seeds; None where no run has it."""
        values = self.values(key)
        return statistics.fmean(values) if values else None

    def spread(self, key: str) -> float | None:
        """The standard deviation over the seeds (n - 1); None of fewer than two."""
        values = self.values(key)
        return statistics.stdev(values) if len(values) > 1 else None


@dataclass(frozen=True)
class Results:
    """An experiment's results, as far as they are there.

    Attributes:
        name, scale: of the experiment.
        command: which made them.
        machine: where, as in env.json of the first run.
        rows: in the order of the experiment.
    """

    name: str
    scale: str
    command: str
    machine: Mapping[str, Any] = field(default_factory=dict)
    rows: Sequence[RowResult] = ()

    @property
    def seconds(self) -> float:
        """Of training, summed over all runs."""
        return sum(run.seconds for row in self.rows for run in row.runs)

    def row(self, label: str) -> RowResult:
        """The row of this label."""
        return next(row for row in self.rows if row.label == label)

    def save(self, path: Path) -> None:
        """Write a JSON file."""
        write_json(path, {"format": FORMAT, **asdict(self), "seconds": self.seconds})

    @classmethod
    def load(cls, path: Path) -> Results:
        """Read what ``save`` wrote.

        Raises:
            RunError: if there is no such file, or it is damaged.
        """
        values = read_json(path) or {}
        try:
            rows = [
                RowResult(**{**row, "runs": [RunResult(**run) for run in row["runs"]]})
                for row in values["rows"]
            ]
            names = ("name", "scale", "command", "machine")
            return cls(**{name: values[name] for name in names}, rows=rows)
        except (KeyError, TypeError) as error:
            raise RunError(f"{path}: expected the results of vq reproduce") from error


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
