"""Load a model by the name of a repository or the path of a folder, without its data set."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vq.checkpoints import checkpoint
from vq.device import choose_device
from vq.files import read_text
from vq.hub.folder import CONFIG, FORMAT, NOT_NEEDED
from vq.models.autoencoder import VQModel, build_model, place
from vq.objects import resolve_with_objects, split_objects
from vq.optional_dependencies import require
from vq.runs.plugin_rows import providers
from vq.runs.trained_run import load_run
from vq.runs.trust import restricted
from vqcore.errors import RunError, SettingError, UsageError, describe_error
from vqcore.interfaces.dataset import SampleSpec
from vqcore.plugin.registry import PluginRecord, Registry, default_registry


@dataclass(frozen=True)
class Pretrained:
    """A model in eval mode, the shape and range of its samples, and where it was loaded from."""

    model: VQModel
    samples: SampleSpec
    folder: Path


def from_pretrained(
    name: str | Path,
    *,
    revision: str | None = None,
    device: str = "cpu",
    registry: Registry | None = None,
    backbone: Any = None,
    trust_plugins: bool = False,
) -> VQModel:
    """A trained model in eval mode.

    Args:
        name: a folder that ``vq push`` wrote, a run folder, or a repository of the hub, as in
            ``owner/name``.
        revision: of the repository: a branch, tag or commit.
        device: where the model goes.
        registry: where its components come from; the installed plugins by default.
        backbone: the module, where the model was trained with an object.
        trust_plugins: of a run folder, load the plugin files that its config names; see
            ``load_run``. The files of ``vq push`` name none.

    Raises:
        SettingError: if there is no such folder, it holds no model, or the backbone is not given.
        UsageError: if the hub is needed and ``huggingface_hub`` is not installed.
        RunError: if the repository cannot be fetched, or the files are damaged.
        ComponentError: if a component of the model is not installed.
    """
    return load_pretrained(
        name,
        revision=revision,
        device=device,
        registry=registry,
        backbone=backbone,
        trust_plugins=trust_plugins,
    ).model


def load_pretrained(
    name: str | Path,
    *,
    revision: str | None = None,
    device: str = "cpu",
    registry: Registry | None = None,
    backbone: Any = None,
    trust_plugins: bool = False,
) -> Pretrained:
    """``from_pretrained`` with the shape and range of the samples."""
    folder = Path(name).expanduser()
    if not folder.is_dir():
        folder = fetched(str(name), revision)
    if (folder / CONFIG).is_file():
        return _loaded(folder, device, registry, backbone, trust_plugins)
    if not (folder / "config.yaml").is_file():
        expected = f"a folder with a {CONFIG} from vq push, or a run folder"
        raise SettingError("name", str(name), expected)
    run = load_run(
        folder, device, registry=registry, backbone=backbone, trust_plugins=trust_plugins
    )
    return Pretrained(run.model, run.samples, folder)


def _loaded(
    folder: Path, device: str, registry: Registry | None, backbone: Any, trust: bool
) -> Pretrained:
    file = folder / CONFIG
    try:
        values: dict[str, Any] = json.loads(read_text(file))
        if values.get("format") != FORMAT:
            raise RunError(f"{file}: format {values.get('format')!r}: this version reads {FORMAT}")
        config = values["config"].items()
        settings = {key: value for key, value in config if key not in NOT_NEEDED}
        record = PluginRecord("model", providers(values.get("plugins")))
        samples = SampleSpec.read(values["samples"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise RunError(f"{file}: damaged or not from vq push: {describe_error(error)}") from error
    if not trust:
        settings = restricted(settings)
    given = {} if backbone is None else {"backbone": backbone}
    settings, objects = split_objects(settings | given)
    registry = (registry or default_registry()).with_record(record)
    resolved, registry = resolve_with_objects(settings, objects, registry, trained=True)
    model = build_model(resolved, registry, samples)
    checkpoint.load_weights(folder, model, values.get("files"))
    # placed as a run's model is: in another layout, kernels round in another way
    return Pretrained(place(model, choose_device(device)).eval(), samples, folder)


def fetched(name: str, revision: str | None) -> Path:
    """A repository's files in the hub's cache."""
    owner, _, rest = name.partition("/")
    if not rest or "/" in rest or owner in ("", ".", "..", "~"):
        expected = "an existing folder, or a repository of the hub as in owner/name"
        raise SettingError("name", name, expected)
    require("hub", f"loading {name} from the hub", "huggingface_hub")
    from huggingface_hub import snapshot_download

    wanted = [CONFIG, checkpoint.WEIGHTS]
    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=wanted))
    except ValueError as error:
        raise UsageError(f"{name}: {error}") from error
    except Exception as error:  # the exceptions differ between versions of the client
        cause = describe_error(error)
        raise RunError(f"{name}: not a folder, and not fetched from the hub: {cause}") from error
