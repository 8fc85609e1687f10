"""From settings to a resolved config, for the commands and the Python API. Torch-free."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vq.config.config_file import read_config
from vq.config.merging import assign, merge
from vq.config.presets import read_preset
from vq.config.resolved_config import ResolvedConfig
from vq.objects import resolve_with_objects, split_objects
from vq.runs.folder import RunFolder
from vqcore.errors import SettingError, UsageError
from vqcore.plugin.registry import Registry

#: Settings that may change when a run is resumed: how long it is, on which device and how it is
#: observed, not what it computes.
RESUMABLE = frozenset((
    "epochs", "max_steps", "device", "accumulate", "log_every", "eval_every", "sample_every",
    "trackers", "checkpoint_every", "keep_checkpoints", "plugin_files",
))  # fmt: skip


def base_values(
    preset: str | None = None, config: str | Path | Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Settings of a preset, with those of a config file or mapping laid over them.

    Raises:
        SettingError: if ``config`` is neither.
        UsageError: if there is no such preset, or the file cannot be read.
    """
    values = read_preset(preset) if preset else {}
    if isinstance(config, str | Path):
        config = read_config(Path(config))
    if config is not None and not isinstance(config, Mapping):
        raise SettingError("config", config, "a file or a mapping of settings")
    return merge(values, config or {})


def given_values(choices: Mapping[str, Any], settings: Any = None) -> dict[str, Any]:
    """Nested values of ``choices`` and ``settings`` as ``vq.train`` takes them; the latter win.

    Raises:
        SettingError: if ``settings`` is no mapping.
        UsageError: for an unknown setting.
    """
    if settings is not None and not isinstance(settings, Mapping):
        expected = 'a mapping of key paths, as in {"quantizer.commitment_weight": 0.5}'
        raise SettingError("settings", settings, expected)
    named = [("optimizer.lr" if key == "lr" else key, value) for key, value in choices.items()]
    pairs = [*named, *(settings or {}).items()]
    values = assign([(key, _plain(value)) for key, value in pairs])
    if isinstance(values.get("plugin_files"), list):
        values["plugin_files"] = [str(Path(file).resolve()) for file in values["plugin_files"]]
    return values


def compose(
    given: Mapping[str, Any],
    *,
    base: Mapping[str, Any] | None = None,
    resume: Path | None = None,
    registry: Registry | None = None,
    test_dataset: Any = None,
    value_range: tuple[float, float] | None = None,
) -> tuple[ResolvedConfig, Registry]:
    """Resolve a config and find the registry of its components.

    Args:
        given: settings; ``dataset`` and ``backbone`` may be objects.
        base: settings that ``given`` is laid over, see ``base_values``.
        resume: the folder of an earlier run, whose config ``given`` is laid over instead.
        registry, test_dataset, value_range: as in ``vq.train``.

    Raises:
        UsageError: for settings that are unknown, out of range, or refused by a plugin.
        ComponentError: for a component that is missing or ambiguous.
    """
    given, objects = split_objects(given, test_dataset, value_range)
    values = merge(base or {}, given) if resume is None else _resumed_values(resume, given)
    return resolve_with_objects(values, objects, registry)


def _resumed_values(path: Path, given: Mapping[str, Any]) -> dict[str, Any]:
    folder = RunFolder.open(path)
    folder.check_idle()
    base = read_config(folder.config)
    changed = [key for key in given.keys() - RESUMABLE if merge(base, {key: given[key]}) != base]
    if changed:
        allowed = ", ".join(sorted(RESUMABLE))
        raise UsageError(
            f"--resume: {', '.join(sorted(changed))} cannot change when a run is resumed; "
            f"these can: {allowed}"
        )
    return merge(base, given)


def _plain(value: Any) -> Any:
    """A value as a config file would have it: paths as text, sequences as lists, plain numbers."""
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if getattr(value, "shape", None) == () and hasattr(value, "item"):  # of NumPy or torch
        return value.item()
    return value
