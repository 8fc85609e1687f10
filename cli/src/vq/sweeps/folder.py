"""The folder of a sweep: its runs, the config and state of each, and their metrics."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from vq.config.resolved_config import ResolvedConfig
from vq.files import check_free, read_json, write_json, write_yaml, writing
from vq.runs.folder import RunFolder
from vq.sweeps.grid import Point
from vqcore.errors import RunError, SettingError

FORMAT = 1


@dataclass(frozen=True)
class SweepRun:
    """One run of a sweep.

    Attributes:
        name: of its folder below ``runs/``.
        settings: the swept settings by key path, without the seed.
        seed: as text; None where seeds are not swept.
        status: ``waiting, running, done, interrupted`` or ``failed``.
        error: the message of a failed run.
        metrics: of summary.json, once it is done.
    """

    name: str
    settings: Mapping[str, str]
    seed: str | None
    status: str = "waiting"
    error: str | None = None
    metrics: Mapping[str, Any] | None = None


class SweepFolder:
    """Names and writes the files of one sweep; see ``create`` and ``open``.

    Its runs are in the order in which they are started.
    """

    def __init__(self, path: Path, runs: Sequence[SweepRun]) -> None:
        self.path, self.runs = path, list(runs)

    @classmethod
    def create(
        cls, chosen: Path | None, points: Sequence[Point], configs: Sequence[ResolvedConfig]
    ) -> SweepFolder:
        """A new folder, ``sweeps/<time>-<names>`` by default, with the config of every run in it.

        Raises:
            SettingError: if the chosen folder is not empty.
            RunError: if it cannot be written.
        """
        title = configs[0].title()
        path = chosen or Path("sweeps") / f"{time.strftime('%Y%m%d-%H%M%S')}-{title}"
        cls.check_new(path)
        folder = cls(path, [SweepRun(point.name, point.settings, point.seed) for point in points])
        with writing(path):
            for name in ("configs", "runs", "logs"):
                (path / name).mkdir(parents=True, exist_ok=True)
        for run, config in zip(folder.runs, configs, strict=True):
            write_yaml(folder.config(run), config.located().dump())
        folder.write()
        return folder

    @staticmethod
    def check_new(path: Path) -> None:
        """Refuse a folder that is not empty.

        Raises:
            SettingError: with how to resume the sweep that may be in it.
        """
        fix = f"choose another, or resume with: vq sweep --resume {path}"
        check_free(path, "--run-dir", fix)

    @classmethod
    def open(cls, path: Path) -> SweepFolder:
        """The folder of an earlier sweep.

        Raises:
            SettingError: if there is none.
            RunError: if its list of runs is damaged.
        """
        file = path / "sweep.json"
        if not file.is_file():
            expected = "the folder of a sweep, with a sweep.json in it"
            raise SettingError("--resume", str(path), expected)
        values = read_json(file) or {}
        try:
            if values["format"] != FORMAT:
                raise ValueError(f"format {values['format']!r}, this version reads {FORMAT}")
            return cls(path, [_run(**run) for run in values["runs"]])
        except (KeyError, TypeError, ValueError) as error:
            raise RunError(f"{file}: damaged or not the file of a sweep: {error}") from error

    def config(self, run: SweepRun) -> Path:
        """The config that a run starts from."""
        return self.path / "configs" / f"{run.name}.yaml"

    def run(self, run: SweepRun) -> Path:
        """Its run folder."""
        return self.path / "runs" / run.name

    def log(self, run: SweepRun) -> Path:
        """The output of its process."""
        return self.path / "logs" / f"{run.name}.txt"

    def command(self, run: SweepRun) -> list[str]:
        """The arguments of ``vq`` that start the run, or resume it if it has started."""
        path = self.run(run)
        if RunFolder(path).config.is_file():
            return ["train", "--resume", str(path)]  # starts again without a checkpoint
        shutil.rmtree(path, ignore_errors=True)  # it ended before its config was written
        return ["train", "--config", str(self.config(run)), "--run-dir", str(path)]

    def record(self, run: SweepRun, status: str, error: str | None = None) -> SweepRun:
        """Record a run's status, and its metrics where it is done, and write sweep.json."""
        metrics = read_json(RunFolder(self.run(run)).summary) if status == "done" else None
        ended = replace(run, status=status, error=error, metrics=metrics)
        self.runs[[each.name for each in self.runs].index(run.name)] = ended
        self.write()
        return ended

    def write(self, groups: Sequence[Any] = ()) -> None:
        """Write sweep.json atomically."""
        runs = [_recorded(run) for run in self.runs]
        values = {"format": FORMAT, "runs": runs, "groups": list(groups)}
        write_json(self.path / "sweep.json", values)


def _run(*, figures: Mapping[str, Any] | None = None, **values: Any) -> SweepRun:
    return SweepRun(**values, metrics=figures)


def _recorded(run: SweepRun) -> dict[str, Any]:
    values = asdict(run)
    values["figures"] = values.pop("metrics")
    return values
