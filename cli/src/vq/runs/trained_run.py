"""A trained run, taken up from its folder: what every command after training begins with."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch

from vq.checkpoints import checkpoint
from vq.config.plugin_files import plugin_files, registry_for
from vq.config.run_config import ResolvedConfig, read_config, resolve_config
from vq.device import choose_device
from vq.models.autoencoder import VQModel, build_model, build_source, place
from vq.runs.files import read_json
from vq.runs.folder import RunFolder
from vqcore.errors import UsageError
from vqcore.interfaces.dataset import DataSource, SampleSpec
from vqcore.plugin.registry import Registry


@dataclass(frozen=True)
class TrainedRun:
    """A run's latest checkpoint, ready to use. The data set is not needed until ``source`` is asked for.

    Attributes:
        folder: the run folder.
        config: its resolved config.
        registry: where its components come from.
        samples: what the model takes.
        model: in eval mode, on ``device``.
        device: where it is.
        checkpoint: the folder of the weights that were loaded.
    """

    folder: RunFolder
    config: ResolvedConfig
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
        source = build_source(self.config, self.registry)
        source.restore(read_json(self.folder.data) or {})
        return source


def load_run(path: Path, device: str | None = None) -> TrainedRun:
    """Take up a run from its folder.

    Args:
        path: the run folder.
        device: instead of the config's.

    Raises:
        UsageError: if it is no run folder, or has no checkpoint.
        ComponentError: if a component it is made of is missing.
        RunError: if the checkpoint is damaged or holds another model.
    """
    folder = RunFolder.open(path)
    values = read_config(folder.config)
    registry = registry_for(plugin_files(values))
    config = resolve_config(values, registry)
    samples = _samples(folder)
    chosen = checkpoint.latest(folder.checkpoints)
    model = build_model(config, registry, samples)
    checkpoint.load_weights(chosen, model)
    where = choose_device(device or config.settings.device)
    place(model, where).eval()
    return TrainedRun(folder, config, registry, samples, model, where, chosen)


def _samples(folder: RunFolder) -> SampleSpec:
    try:
        return SampleSpec.read(json.loads(folder.data.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"{folder.data}: expected the shape, range and likelihood of samples: {error}"
        ) from error
