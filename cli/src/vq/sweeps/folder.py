"""The folder of a sweep: its runs, the config and state of each, and their metrics."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from vq.config.config_file import read_config
from vq.config.resolved_config import ResolvedConfig
from vq.files import (
    check_free,
    check_no_links,
    plain_name,
    read_json,
    remove,
    write_json,
    write_yaml,
    writing,
)
from vq.runs.folder import RunFolder
from vq.runs.folder_lock import check_unlocked
from vq.runs.trust import is_signed, not_followed, restricted, sign
from vq.sweeps.grid import Point
from vqcore.errors import RunError, SettingError, UsageError, describe_error, shown

FORMAT = 1
#: Its folders: what each run starts from, the run folders, and what the processes print.
PARTS = ("configs", "runs", "logs")


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
        self.trusted = False

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
            for name in PARTS:
                (path / name).mkdir(parents=True, exist_ok=True)
        for run, config in zip(folder.runs, configs, strict=True):
            write_yaml(folder.config(run), config.located().dump())
        sign(path, folder._read_configs())
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
    def open(cls, path: Path, *, trust_plugins: bool = False) -> SweepFolder:
        """The folder of an earlier sweep.

        Its configs are followed as a run's is, see ``vq.runs.trust``.

        Raises:
            SettingError: if there is none.
            UsageError: if its configs ask for what is not followed.
            RunError: if its list of runs is damaged.
        """
        file = path / "sweep.json"
        if not file.is_file():
            expected = "the folder of a sweep, with a sweep.json in it"
            raise SettingError("--resume", str(path), expected)
        values = read_json(file) or {}
        try:
            if values["format"] != FORMAT:
                found = shown(values["format"])
                raise ValueError(f"format {found}, this version reads {FORMAT}")
            folder = cls(path, [_run(**run) for run in values["runs"]])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            cause = describe_error(error)
            raise RunError(f"{file}: damaged or not the file of a sweep: {cause}") from error
        folder._check_names()
        folder._check_trust(trust_plugins)
        return folder

    def read_again(self) -> None:
        """Read what another process may have done since; see ``open``."""
        self.runs = self.open(self.path, trust_plugins=self.trusted).runs

    def _check_names(self) -> None:
        """Refuse a sweep whose runs could lie outside its folder."""
        file = self.path / "sweep.json"
        names = [plain_name(run.name, f"{file}: name") for run in self.runs]
        if len(set(names)) < len(names):
            raise RunError(f"{file}: damaged: two runs have one name")
        parts = [self.path / name for name in PARTS]
        parts += [part(run) for run in self.runs for part in (self.config, self.run, self.log)]
        check_no_links(self.path, parts, "--resume")

    def _check_trust(self, trust_plugins: bool) -> None:
        """Refuse configs that are not followed, unless the caller trusts them: that signs them."""
        self.trusted = trust_plugins
        configs = self._read_configs()
        if trust_plugins:
            sign(self.path, configs)
        elif not is_signed(self.path, configs):
            for config in configs:
                kept = restricted(config, training=True)
                if kept != config:
                    raise UsageError(not_followed(self.path, config, kept))

    def _read_configs(self) -> list[dict[str, Any]]:
        """The config of each run, empty where it is missing."""
        files = [self.config(run) for run in self.runs]
        return [read_config(file) if file.is_file() else {} for file in files]

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
            trust = ["--trust-plugins"] if self.trusted else []
            return ["train", "--resume", str(path), *trust]  # starts again without a checkpoint
        with suppress(SettingError):  # a process is at work there: training will say so
            check_unlocked(path, "--run-dir")
            remove(path)  # it ended before its config was written
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
    """A run as sweep.json has it.

    Raises:
        TypeError: if it has other fields, or values of other kinds.
    """
    run = SweepRun(**values, metrics=figures)
    texts = [*run.settings, *run.settings.values(), run.status, run.seed or "", run.error or ""]
    if not all(isinstance(text, str) for text in texts):
        raise TypeError(f"settings, seed and status of {shown(run.name)}: expected text")
    if not isinstance(run.metrics, Mapping | None):
        raise TypeError(f"figures of {shown(run.name)}: expected a mapping")
    return run


def _recorded(run: SweepRun) -> dict[str, Any]:
    values = asdict(run)
    values["figures"] = values.pop("metrics")
    return values
