"""A run as a report sees it: whatever its folder still tells, and why the rest is missing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

from vq.config.plugin_files import plugin_files, registry_for
from vq.config.run_config import ResolvedConfig, read_config, resolve_config
from vq.runs.history import Snapshot
from vq.runs.history import read as read_history
from vq.runs.trained_run import TrainedRun, load_run
from vq_report.comparison import Compared, flat
from vq_report.encoded_split import EncodedSplit, encode_split
from vqcore.errors import VQError
from vqcore.plugin.registry import Registry
from vqcore.plugin.report_section import Block, Group, Text


class Absent(Exception):
    """What a section shows is not there; the text, a sentence, says why and stands in its place."""


class ReportedRun:
    """One run: what ``vq_report`` hooks see as ``run``.

    Args:
        found: what its folder says.
        device: where the model is looked at; see ``load_run``.
        alone: whether it is the only run; less is shown of each of several.

    Attributes:
        folder: the run folder.
        label: what it is called among several.
        config: the config; None where it cannot be resolved any more, as without a plugin that it needs.
        registry: where the components come from; None likewise.
        problem: why they are None.
        metrics: the lines of metrics.jsonl.
        step: the last step that is known of.
        books, codes: how many codebooks are shown, and how many codes in pictures.
    """

    def __init__(self, found: Compared, device: str | None = None, *, alone: bool = True) -> None:
        self.folder, self.label, self.metrics, self._found = (
            found.folder,
            found.name,
            found.lines,
            found,
        )
        self.step: int = found.step or (self.metrics[-1]["step"] if self.metrics else 0)
        self.books, self.codes = (4, 24) if alone else (2, 12)
        self._device = device
        self.config: ResolvedConfig | None = None
        self.registry: Registry | None = None
        self.problem = ""
        try:
            values = read_config(self.folder.config)
            registry = registry_for(plugin_files(values))
            self.config, self.registry = resolve_config(values, registry), registry
        except VQError as error:
            self.problem = str(error)

    @property
    def title(self) -> str:
        """The names of its choices."""
        if self.config is not None:
            return self.config.title()
        kinds = ("dataset", "manifold", "quantizer", "estimator")
        return "-".join(
            str(self._found.settings[kind]) for kind in kinds if kind in self._found.settings
        )

    @property
    def state(self) -> str:
        """How far it came: ``done at step 1,840``."""
        return f"{self._found.status} at step {self.step:,}"

    @property
    def settings(self) -> Mapping[str, Any]:
        """Every setting by its key path, resolved where that is possible."""
        return self._found.settings if self.config is None else flat(self.config.dump())

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
    def encoded(self) -> EncodedSplit:
        """What the model makes of held-out samples.

        Raises:
            Absent: if there is no model, or the data are not here.
        """
        return self._known(self._encoded)

    @cached_property
    def _trained(self) -> TrainedRun | str:
        try:
            return load_run(self.folder.path, self._device)
        except VQError as error:
            return f"The model cannot be loaded: {error}."

    @cached_property
    def _encoded(self) -> EncodedSplit | str:
        if isinstance(self._trained, str):
            return self._trained
        try:
            return encode_split(self._trained)
        except VQError as error:
            return f"The held-out samples cannot be looked at: {error}."

    @staticmethod
    def _known(value: Any) -> Any:
        if isinstance(value, str):
            raise Absent(value)
        return value


def each_run(
    runs: Sequence[ReportedRun], show: Callable[[ReportedRun], Sequence[Block]]
) -> list[Block]:
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
