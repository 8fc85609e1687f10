"""The folder of a sweep: which runs it is made of, where each one is, and what came out."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from vq.runs.files import check_free, read_json, write_text, writing
from vq.runs.folder import RunFolder
from vqcore.errors import RunError, SettingError

FORMAT = 1


@dataclass(frozen=True)
class SweepRun:
    """One run of a sweep.

    Attributes:
        name: of its folder below ``runs/``.
        settings: value by key path, of what is swept; the seed apart.
        seed: as it was given; None where seeds are not swept.
        status: ``waiting, running, done, interrupted`` or ``failed``.
        error: of a failed one, what it said.
        figures: of summary.json.
    """

    name: str
    settings: Mapping[str, str]
    seed: str | None
    status: str = "waiting"
    error: str | None = None
    figures: Mapping[str, Any] | None = None


class SweepFolder:
    """Names and writes the files of one sweep.

    Args:
        path: the folder; see ``create`` and ``open``.
        runs: in the order in which they are done.
    """

    def __init__(self, path: Path, runs: Sequence[SweepRun]) -> None:
        self.path, self.runs = path, list(runs)

    @classmethod
    def create(
        cls, chosen: Path | None, title: str, runs: Sequence[SweepRun], configs: Sequence[Any]
    ) -> SweepFolder:
        """A new folder: the one chosen, or ``sweeps/<time>-<title>``, with the config of every run in it.

        Raises:
            SettingError: if the chosen one holds anything.
            RunError: if it cannot be written.
        """
        import yaml

        path = chosen or Path("sweeps") / f"{time.strftime('%Y%m%d-%H%M%S')}-{title}"
        cls.check_new(path)
        folder = cls(path, runs)
        with writing(path):
            for name in ("configs", "runs", "logs"):
                (path / name).mkdir(parents=True, exist_ok=True)
        for run, config in zip(runs, configs, strict=True):
            write_text(
                folder.config(run), yaml.safe_dump(config, sort_keys=False, allow_unicode=True)
            )
        folder.write()
        return folder

    @staticmethod
    def check_new(path: Path) -> None:
        """Refuse a folder with anything in it.

        Raises:
            SettingError: with how to go on with the sweep that may be in it.
        """
        try:
            check_free(path, "--run-dir")
        except SettingError as error:
            fix = f"choose another, or go on with: vq sweep --resume {path}"
            raise SettingError("--run-dir", str(path), "a new or empty folder", fix) from error

    @classmethod
    def open(cls, path: Path) -> SweepFolder:
        """The folder of an earlier sweep.

        Raises:
            SettingError: if there is none.
            RunError: if its list of runs is damaged.
        """
        file = path / "sweep.json"
        if not file.is_file():
            raise SettingError(
                "--resume", str(path), "the folder of a sweep, with a sweep.json in it"
            )
        values = read_json(file) or {}
        try:
            if values["format"] != FORMAT:
                raise ValueError(f"format {values['format']!r}, this version reads {FORMAT}")
            return cls(path, [SweepRun(**run) for run in values["runs"]])
        except (KeyError, TypeError, ValueError) as error:
            raise RunError(f"{file}: damaged or not the file of a sweep: {error}") from error

    def config(self, run: SweepRun) -> Path:
        """The config that a run starts from."""
        return self.path / "configs" / f"{run.name}.yaml"

    def run(self, run: SweepRun) -> Path:
        """Its run folder."""
        return self.path / "runs" / run.name

    def log(self, run: SweepRun) -> Path:
        """What its process printed."""
        return self.path / "logs" / f"{run.name}.txt"

    def command(self, run: SweepRun) -> list[str]:
        """The words after ``vq`` that start the run, or go on with what there is of it."""
        path = self.run(run)
        if RunFolder(path).config.is_file():
            return ["train", "--resume", str(path)]  # without a checkpoint that starts it again
        shutil.rmtree(path, ignore_errors=True)  # it ended before it was even described
        return ["train", "--config", str(self.config(run)), "--run-dir", str(path)]

    def record(self, run: SweepRun, status: str, error: str | None = None) -> SweepRun:
        """Note what became of a run, with the figures of a done one, and write sweep.json."""
        figures = read_json(RunFolder(self.run(run)).summary) if status == "done" else None
        ended = replace(run, status=status, error=error, figures=figures)
        self.runs[[each.name for each in self.runs].index(run.name)] = ended
        self.write()
        return ended

    def write(self, groups: Sequence[Any] = ()) -> None:
        """Write sweep.json, whole or not at all."""
        values = {
            "format": FORMAT,
            "runs": [asdict(run) for run in self.runs],
            "groups": list(groups),
        }
        write_text(self.path / "sweep.json", json.dumps(values, indent=2) + "\n")
