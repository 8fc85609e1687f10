"""A trained run, taken up from its folder: what every command after training begins with."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch

from vq.pipeline import checkpoint
from vq.pipeline.config import Plan, make_plan, plugin_files, read_config
from vq.pipeline.data.source import DataSource, SampleSpec
from vq.pipeline.device import choose_device
from vq.pipeline.model import VQModel, build_model, build_source, place
from vq.pipeline.run_folder import RunFolder, read_json
from vqcore.errors import UsageError
from vqcore.registry import Registry


@dataclass(frozen=True)
class TrainedRun:
    """A run's latest checkpoint, ready to use. The data set is not needed until ``source`` is asked for.

    Attributes:
        folder: the run folder.
        plan: its resolved config.
        registry: where its components come from.
        samples: what the model takes.
        model: in eval mode, on ``device``.
        device: where it is.
        checkpoint: the folder of the weights that were loaded.
    """

    folder: RunFolder
    plan: Plan
    registry: Registry
    samples: SampleSpec
    model: VQModel
    device: torch.device
    checkpoint: Path

    @cached_property
    def source(self) -> DataSource:
        """The data set that the run trained on.

        Raises:
            SettingError: if its files are not there.
        """
        source = build_source(self.plan, self.registry)
        source.recall(read_json(self.folder.data) or {})
        return source


def load_run(path: Path, registry_for: Callable[[Sequence[Path]], Registry], device: str | None = None) -> TrainedRun:
    """Take up a run from its folder.

    Args:
        path: the run folder.
        registry_for: from the run's plugin files to a registry.
        device: instead of the config's.

    Raises:
        UsageError: if it is no run folder, or has no checkpoint.
        ComponentError: if a component it is made of is missing.
        RunError: if the checkpoint is damaged or holds another model.
    """
    folder = RunFolder.open(path)
    values = read_config(folder.config)
    registry = registry_for(plugin_files(values))
    plan = make_plan(values, registry)
    samples = _samples(folder)
    chosen = checkpoint.latest(folder.checkpoints)
    model = build_model(plan, registry, samples)
    checkpoint.load_weights(chosen, model)
    where = choose_device(device or plan.config.device)
    place(model, where).eval()
    return TrainedRun(folder, plan, registry, samples, model, where, chosen)


def _samples(folder: RunFolder) -> SampleSpec:
    try:
        return SampleSpec.read(json.loads(folder.data.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{folder.data}: expected the shape, range and likelihood of samples: {error}") from error
