"""The weights that ``init_from`` names, and the settings that they were trained with.

A run, a checkpoint and a published model are read as data: of what their config names, nothing is
imported.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from vq.checkpoints import checkpoint
from vq.config.config_file import read_config
from vq.config.run_config import RunConfig
from vq.files import read_text
from vq.hub.folder import CONFIG
from vq.hub.load import fetched
from vq.processes.together import main_first
from vq.runs.provenance import sha256_of
from vqcore.errors import RunError, SettingError, UsageError, describe_error


@dataclass(frozen=True)
class InitSource:
    """Trained weights.

    Attributes:
        name: the absolute path of the folder, or the name of the repository.
        checkpoint: the name of the checkpoint, or of the published model's folder.
        settings: that the model was trained with, as they were read.
        weights: by their names in the model: the average, where the run has one.
        sha256: of their file.
    """

    name: str
    checkpoint: str
    settings: Mapping[str, Any]
    weights: Mapping[str, Tensor]
    sha256: str

    @property
    def averaged(self) -> bool:
        """Whether they are an average of the weights in training."""
        return bool(self.settings.get("weight_ema"))

    def setting(self, name: str) -> Any:
        """A plain setting, by default what a run has that does not say."""
        return self.settings.get(name, RunConfig.model_fields[name].default)

    def component(self, kind: str) -> Any:
        """Name and options of a component, as they were read."""
        found = self.settings.get(kind)
        return RunConfig.model_fields[kind].default.name if found is None else found


def open_init_source(name: str) -> InitSource:
    """Read the weights, on every process; the main one downloads them first.

    Raises:
        SettingError: if there are none of that name.
        UsageError, RunError: if they cannot be fetched or read, or are damaged.
    """
    return main_first(lambda: read_init_source(name))


def read_init_source(name: str) -> InitSource:
    """The weights of a run folder, a checkpoint in one, a published folder or a repository."""
    folder = Path(name).expanduser()
    if folder.name == checkpoint.WEIGHTS and folder.is_file():
        folder = folder.parent
    if folder.is_dir():
        name = str(folder.absolute())
    elif folder.exists():
        raise _refused(name)
    else:
        try:
            folder = fetched(name, None)
        except SettingError:
            raise _refused(name) from None
        except (UsageError, RunError) as error:
            text = f"init_from = {name!r}: no such folder, and as a repository of the hub: {error}"
            raise type(error)(text) from error
    if (folder / CONFIG).is_file():
        return _published(name, folder)
    if (folder / "config.yaml").is_file():
        chosen = checkpoint.latest(folder / "checkpoints")
    elif (folder / checkpoint.WEIGHTS).is_file():
        chosen = folder.absolute()
    else:
        raise _refused(name)
    config = chosen.parent.parent / "config.yaml"
    if not config.is_file():
        expected = f"a checkpoint in its run folder, with {config}"
        raise SettingError("init_from", name, expected)
    return _source(name, chosen, read_config(config))


def _source(name: str, folder: Path, settings: Mapping[str, Any], files: Any = None) -> InitSource:
    file = folder / checkpoint.WEIGHTS
    weights = checkpoint.read_weights(file, files)
    return InitSource(name, folder.name, settings, weights, sha256_of(file))


def _published(name: str, folder: Path) -> InitSource:
    file = folder / CONFIG
    try:
        about = json.loads(read_text(file))
        settings, files = dict(about["config"]), about.get("files")
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise RunError(f"{file}: damaged or not from vq push: {describe_error(error)}") from error
    return _source(name, folder, settings, files)


def _refused(name: str) -> SettingError:
    expected = (
        "a run folder, a checkpoint in one, a folder of vq push, or a repository of the hub as in "
        "owner/name"
    )
    return SettingError("init_from", name, expected)
