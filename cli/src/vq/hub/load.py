"""A model by the name of a repository or the path of a folder, built without its data set."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vq.checkpoints import checkpoint
from vq.config.run_config import resolve_config
from vq.device import choose_device
from vq.hub.folder import CONFIG, FORMAT, TRAINING_ONLY
from vq.models.autoencoder import VQModel, build_model
from vq.optional_dependencies import require
from vq.runs.trained_run import load_run
from vqcore.errors import RunError, SettingError, UsageError
from vqcore.interfaces.dataset import SampleSpec
from vqcore.plugin.loader import describe
from vqcore.plugin.registry import Registry, default_registry


@dataclass(frozen=True)
class Pretrained:
    """A model with what must be known to use it.

    Attributes:
        model: in eval mode.
        samples: shape and range of the values it takes.
        folder: where it was loaded from.
    """

    model: VQModel
    samples: SampleSpec
    folder: Path


def from_pretrained(
    name: str | Path,
    *,
    revision: str | None = None,
    device: str = "cpu",
    registry: Registry | None = None,
) -> VQModel:
    """A trained model in eval mode.

    Args:
        name: a folder that ``vq push`` wrote, a run folder, or a repository of the hub, as in ``owner/name``.
        revision: of the repository: a branch, tag or commit.
        device: where the model goes.
        registry: where its components are looked up; the installed plugins by default.

    Raises:
        SettingError: if there is no such folder, or it holds no model.
        UsageError: if the hub is needed and ``huggingface_hub`` is not installed.
        RunError: if the repository cannot be fetched, or the files are damaged.
        ComponentError: if a component of the model is not installed.
    """
    return load_pretrained(name, revision=revision, device=device, registry=registry).model


def load_pretrained(
    name: str | Path,
    *,
    revision: str | None = None,
    device: str = "cpu",
    registry: Registry | None = None,
) -> Pretrained:
    """``from_pretrained`` with the shape and range of the samples."""
    folder = Path(name).expanduser()
    if not folder.is_dir():
        folder = _fetched(str(name), revision)
    if (folder / CONFIG).is_file():
        return _loaded(folder, device, registry or default_registry())
    if not (folder / "config.yaml").is_file():
        raise SettingError(
            "name", str(name), f"a folder with a {CONFIG} from vq push, or a run folder"
        )
    run = load_run(
        folder,
        lambda files: registry or (Registry(files=files) if files else default_registry()),
        device,
    )
    return Pretrained(run.model, run.samples, folder)


def _loaded(folder: Path, device: str, registry: Registry) -> Pretrained:
    file = folder / CONFIG
    try:
        values: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        if values.get("format") != FORMAT:
            raise RunError(f"{file}: format {values.get('format')!r}: this version reads {FORMAT}")
        settings = {
            key: value for key, value in values["config"].items() if key not in TRAINING_ONLY
        }
        samples = SampleSpec.read(values["samples"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunError(f"{file}: damaged or not from vq push: {describe(error)}") from error
    model = build_model(resolve_config(settings, registry), registry, samples)
    checkpoint.load_weights(folder, model)
    return Pretrained(model.to(choose_device(device)).eval(), samples, folder)


def _fetched(name: str, revision: str | None) -> Path:
    """A repository's files in the hub's own cache."""
    owner, _, rest = name.partition("/")
    if not rest or "/" in rest or owner in ("", ".", "..", "~"):
        raise SettingError(
            "name", name, "a folder that is there, or a repository of the hub as in owner/name"
        )
    require("hub", f"loading {name} from the hub", "huggingface_hub")
    from huggingface_hub import snapshot_download

    wanted = [CONFIG, checkpoint.WEIGHTS]
    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=wanted))
    except ValueError as error:
        raise UsageError(f"{name}: {error}") from error
    except Exception as error:  # each version of the client has exceptions of its own
        raise RunError(
            f"{name}: neither a folder here nor fetched from the hub: {describe(error)}"
        ) from error
