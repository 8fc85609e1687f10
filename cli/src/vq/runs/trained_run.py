"""A trained run, loaded from its folder."""

from __future__ import annotations

import json
import logging
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from vq.checkpoints import checkpoint
from vq.config.resolved_config import ResolvedConfig
from vq.device import choose_device, own_device
from vq.files import read_json, read_text
from vq.float32 import float32_products
from vq.models.autoencoder import VQModel, build_model, build_source, place
from vq.objects import resolve_with_objects, split_objects
from vq.processes.together import agreed
from vq.progress import working
from vq.runs.folder import RunFolder, run_path
from vq.runs.recorded import read_run_config
from vqcore.distributed import is_active
from vqcore.errors import UsageError, describe_error
from vqcore.interfaces.dataset import DataSource, SampleSpec
from vqcore.plugin.registry import Registry

_log = logging.getLogger(__name__)


@dataclass(frozen=True, repr=False)
class TrainedRun:
    """A run with the model of its latest checkpoint. The data set is opened when it is needed.

    Attributes:
        folder: the run folder.
        config: its resolved config.
        registry: where its components come from.
        samples: shape, range and likelihood of the samples that the model takes.
        model: in eval mode, on ``device``.
        device: where it is.
        checkpoint: the folder of the weights that were loaded.
        trusted: whether all of its config is followed, as the caller asked.
    """

    folder: RunFolder
    config: ResolvedConfig
    registry: Registry
    samples: SampleSpec
    model: VQModel
    device: torch.device
    checkpoint: Path
    trusted: bool = False

    def __repr__(self) -> str:
        return f"<TrainedRun {self.folder.path}: {self.status}, {self.checkpoint.name}>"

    @property
    def metrics(self) -> dict[str, Any]:
        """The metrics of summary.json: held-out quality, steps, time. Empty until a run ends."""
        return read_json(self.folder.summary) or {}

    @property
    def history(self) -> list[dict[str, Any]]:
        """The lines of metrics.jsonl."""
        return self.folder.read_metrics()

    @property
    def status(self) -> str:
        """``running``, ``done``, ``interrupted`` or ``failed``; ``unknown`` without status.json."""
        return str(self.folder.read_status().get("status", "unknown"))

    @cached_property
    def source(self) -> DataSource:
        """The data set that the run was trained on.

        Raises:
            SettingError: if its files are missing, or it was an object that was not given again.
            ComponentError: if its plugin is missing.
        """
        if self.registry.record.note:  # what is missing next may be a download
            _log.warning("%s", self.registry.record.note)
        source = build_source(self.config, self.registry)
        source.restore(read_json(self.folder.data) or {})
        return source

    def float32_products(self) -> AbstractContextManager[None]:
        """Inside, float32 on a GPU means what it meant in training, see ``vq.float32``."""
        return float32_products(self.device, self.config.settings.precision)


#: What functions on a run take: the path of its folder, or the run itself.
RunLike = str | Path | TrainedRun


def load_run(
    run: RunLike,
    device: str | None = None,
    *,
    registry: Registry | None = None,
    dataset: Any = None,
    backbone: Any = None,
    trust_plugins: bool = False,
) -> TrainedRun:
    """Load a run from its folder. A run that is loaded already is returned as it is.

    What the model runs without need not be there: the plugins of its data set, its optimizer and
    its regularizers.

    Args:
        run: the run folder, or a run, which is loaded again where any other argument asks for it.
        device: instead of the config's.
        registry: where its components come from; the installed plugins by default, with the plugin
            files that the config names.
        dataset: data to use instead of the config's, as in ``vq.train``. Required where data is
            needed and the run was trained on an object.
        backbone: the module, where the run was trained with an object.
        trust_plugins: load the plugin files that the config names, and follow its ``download``,
            even if this user did not make the run on this machine. Plugin files can run any code.

    Raises:
        UsageError: if it is no run folder, or has no checkpoint.
        SettingError: if the run was trained with a backbone that is not given.
        ComponentError: if one of its components is missing.
        RunError: if the checkpoint is damaged or belongs to another model.
    """
    choices = {"dataset": dataset, "backbone": backbone}
    given = {kind: value for kind, value in choices.items() if value is not None}
    if isinstance(run, TrainedRun):
        if not given and device is None and registry is None:
            return run
        device = device or str(run.device)
        registry = registry or run.registry
        trust_plugins = trust_plugins or run.trusted
        run = run.folder.path
    folder = RunFolder.open(run_path(run))
    recorded, registry = read_run_config(folder, registry, trust_plugins=trust_plugins)
    values, objects = split_objects(recorded | given)
    config, registry = resolve_with_objects(values, objects, registry, trained=True)
    samples = read_sample_spec(folder)
    chosen = checkpoint.latest(folder.checkpoints)
    with working("loading the model"):
        model = build_model(config, registry, samples)
        checkpoint.load_weights(chosen, model)
        placed = choose_device(device or config.settings.device)
        place(model, placed).eval()
    return TrainedRun(folder, config, registry, samples, model, placed, chosen, trust_plugins)


def read_sample_spec(folder: RunFolder) -> SampleSpec:
    """What data.json of a run folder records of its samples.

    Raises:
        UsageError: if it is missing or damaged.
    """
    try:
        return SampleSpec.read(json.loads(read_text(folder.data)))
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        expected = f"expected the shape, range and likelihood of samples: {describe_error(error)}"
        raise UsageError(f"{folder.data}: {expected}") from error


def load_together(run: RunLike, device: str | None = None, **options: Any) -> TrainedRun:
    """``load_run`` in each of several processes, on its own device; all fail if one does.

    Raises:
        OtherProcessError: if another process cannot load it, which may be on another machine.
        VQError: as ``load_run``; a SettingError if there is not a GPU for each process.
    """

    def load() -> TrainedRun:
        loaded = load_run(run, device, **options)
        if is_active():
            own_device(device or loaded.config.settings.device)  # no two share a GPU
        return loaded

    return agreed(load)
