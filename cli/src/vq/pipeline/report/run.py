"""A run as a report sees it: whatever its folder still tells, and why the rest is missing."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from vq.pipeline.config import Plan, make_plan, plugin_files, read_config
from vq.pipeline.history import Snapshot
from vq.pipeline.history import read as read_history
from vq.pipeline.load import TrainedRun, load_run
from vq.pipeline.report.look import Look, look_at
from vq.pipeline.run_folder import RunFolder
from vqcore.errors import VQError
from vqcore.registry import Registry
from vqcore.report import Block, Group, Text


class Absent(Exception):
    """What a section shows is not there; the text, a sentence, says why and stands in its place."""


class ReportedRun:
    """One run: what ``vq_report`` hooks see as ``run``.

    Args:
        path: the run folder.
        registry_for: from the run's plugin files to a registry.
        device: where the model is looked at; see ``load_run``.
        label: what it is called among several.
        alone: whether it is the only one; less is shown of each of several.

    Attributes:
        folder: the run folder.
        config: the plan; None where it cannot be resolved any more, as without a plugin that it needs.
        registry: where the components come from; None likewise.
        metrics: the lines of metrics.jsonl.
        books, codes: how many codebooks are shown, and how many codes in pictures.

    Raises:
        SettingError: if there is no run folder.
        UsageError: if its config.yaml cannot be read.
    """

    def __init__(
        self,
        path: Path,
        registry_for: Callable[[Sequence[Path]], Registry],
        device: str | None,
        label: str,
        *,
        alone: bool = True,
    ) -> None:
        self.folder, self.label = RunFolder.open(path), label
        self.books, self.codes = (4, 24) if alone else (2, 12)
        self.values = read_config(self.folder.config)
        self.metrics: list[dict[str, Any]] = self.folder.read_metrics()
        self.config: Plan | None = None
        self.registry: Registry | None = None
        self._registry_for, self._device = registry_for, device
        self.problem = ""
        try:
            self.registry = registry_for(plugin_files(self.values))
            self.config = make_plan(self.values, self.registry)
        except VQError as error:
            self.problem = str(error)

    @property
    def title(self) -> str:
        """The names of its choices."""
        if self.config is not None:
            return self.config.title()
        names = [self.values.get(kind) for kind in ("dataset", "manifold", "quantizer", "estimator")]
        return "-".join(str(each["name"] if isinstance(each, dict) else each) for each in names if each)

    @property
    def step(self) -> int:
        """The last step that is known of."""
        logged = self.metrics[-1]["step"] if self.metrics else 0
        return int(self.json("status").get("step", logged))

    @property
    def state(self) -> str:
        """How far it came: ``done at step 1840``."""
        return f"{self.json('status').get('status', 'status unknown')} at step {self.step:,}"

    def json(self, name: str) -> dict[str, Any]:
        """What ``<name>.json`` holds; nothing where it is missing or damaged."""
        try:
            return json.loads((self.folder.path / f"{name}.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}

    def dump(self) -> dict[str, Any]:
        """Every setting, resolved where that is possible."""
        return self.values if self.config is None else yaml.safe_load(yaml.safe_dump(self.config.dump()))

    @cached_property
    def history(self) -> list[Snapshot]:
        """The codebooks over training."""
        return read_history(self.folder.path)

    @property
    def trained(self) -> TrainedRun:
        """The model of the latest checkpoint.

        Raises:
            Absent: if there is none, or it cannot be loaded here.
        """
        return self._known(self._trained)

    @property
    def look(self) -> Look:
        """What the model makes of held-out samples.

        Raises:
            Absent: if there is no model, or the data are not here.
        """
        return self._known(self._look)

    @cached_property
    def _trained(self) -> TrainedRun | str:
        try:
            return load_run(self.folder.path, self._registry_for, self._device)
        except VQError as error:
            return f"The model cannot be loaded: {error}."

    @cached_property
    def _look(self) -> Look | str:
        if isinstance(self._trained, str):
            return self._trained
        try:
            return look_at(self._trained)
        except VQError as error:
            return f"The held-out samples cannot be looked at: {error}."

    @staticmethod
    def _known(value: Any) -> Any:
        if isinstance(value, str):
            raise Absent(value)
        return value


def each_run(runs: Sequence[ReportedRun], show: Callable[[ReportedRun], Sequence[Block]]) -> list[Block]:
    """The blocks of every run, under its label where there are several; what is absent says why."""
    shown = [_or_why(run, show) for run in runs]
    if len(runs) == 1:
        return list(shown[0])
    return [Group(run.label, blocks) for run, blocks in zip(runs, shown, strict=True)]


def _or_why(run: ReportedRun, show: Callable[[ReportedRun], Sequence[Block]]) -> Sequence[Block]:
    try:
        return show(run)
    except Absent as why:
        return [Text(str(why))]
