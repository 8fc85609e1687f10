"""A run as the report sees it: what its folder holds, and why the rest is not available."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cached_property
from typing import Any

from vq.config.resolved_config import ResolvedConfig, resolve_config
from vq.runs.history import Snapshot
from vq.runs.history import read as read_history
from vq.runs.recorded import read_run_config
from vq.runs.trained_run import TrainedRun, load_run
from vq_report.compared_run import ComparedRun, settings_by_path
from vq_report.encoded_split import KEPT, KEPT_VALUES, EncodedSplit, encode_split
from vqcore.errors import VQError
from vqcore.plugin.registry import Registry


class Unavailable(Exception):
    """The content of a section is missing; the message, a sentence, is shown in its place."""


class ReportedRun:
    """One run: the ``run`` that ``vq_report`` hooks receive.

    Args:
        compared: what its folder holds.
        device: where the model is evaluated; see ``load_run``.
        alone: whether it is the only run; of several runs, less is shown of each.
        trust_plugins: see ``load_run``.

    Attributes:
        folder: the run folder.
        label: its name among several runs.
        config: the resolved config; None if it cannot be resolved, as without a plugin.
        registry: where its components come from; None if a plugin file is missing.
        problem: why either is None.
        metrics: the lines of metrics.jsonl.
        step: the last recorded step.
        max_codebooks: how many codebooks are shown.
        max_codes: how many codes are shown with images.
    """

    def __init__(
        self,
        compared: ComparedRun,
        device: str | None = None,
        *,
        alone: bool = True,
        trust_plugins: bool = False,
    ) -> None:
        self.folder = compared.folder
        self.label = compared.name
        self.metrics = compared.lines
        self.step: int = compared.step or (self.metrics[-1]["step"] if self.metrics else 0)
        self.max_codebooks = 4 if alone else 2
        self.max_codes = 24 if alone else 12
        self.config: ResolvedConfig | None = None
        self.registry: Registry | None = None
        self.problem = ""
        self._compared = compared
        self._device, self._trust = device, trust_plugins
        try:
            values, self.registry = read_run_config(self.folder, trust_plugins=trust_plugins)
            self.config = resolve_config(values, self.registry, read=True)
        except VQError as error:
            self.problem = str(error)

    @property
    def title(self) -> str:
        """The names of its components."""
        if self.config is not None:
            return self.config.title()
        settings = self._compared.settings
        kinds = ("dataset", "manifold", "quantizer", "estimator")
        return "-".join(str(settings[kind]) for kind in kinds if kind in settings)

    @property
    def state(self) -> str:
        """Status and step: ``done at step 1,840``."""
        return f"{self._compared.status} at step {self.step:,}"

    @property
    def settings(self) -> Mapping[str, Any]:
        """Every setting by its key path, resolved if possible; of plugins also if not followed."""
        recorded = self._compared.settings
        if self.config is None:
            return recorded
        resolved = settings_by_path(self.config.dump(), self._compared.among)
        of_plugins = {key: recorded[key] for key in recorded if key.startswith("plugins.")}
        return {**resolved, **of_plugins}

    @cached_property
    def history(self) -> list[Snapshot]:
        """The codebooks during training."""
        return read_history(self.folder.path)

    @cached_property
    def trained(self) -> TrainedRun:
        """The model of the latest checkpoint.

        Raises:
            Unavailable: if there is none, or it cannot be loaded here.
        """
        try:
            return load_run(self.folder.path, self._device, trust_plugins=self._trust)
        except VQError as error:
            raise Unavailable(f"The model cannot be loaded: {error}.") from error

    @cached_property
    def encoded(self) -> EncodedSplit:
        """The held-out samples, encoded by the model.

        Raises:
            Unavailable: if the model or the data set is.
        """
        run = self.trained
        kept = min(max(KEPT_VALUES // math.prod(run.samples.shape), 16), KEPT)
        size = run.config.settings.batch_size
        try:
            split = run.source.split("test")
            return encode_split(run.model, split, run.device, batch_size=size, kept=kept)
        except VQError as error:
            raise Unavailable(f"The held-out samples cannot be read: {error}.") from error
