"""From settings to a resolved config, for the commands and the Python API. Torch-free."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vq.config.config_file import read_config
from vq.config.former_names import with_names_of_today
from vq.config.merging import assign, lay_over, merge
from vq.config.plain_values import plain
from vq.config.plugin_files import absolute_files, plugin_files, registry_for
from vq.config.presets import read_preset
from vq.config.resolved_config import ResolvedConfig, check_config
from vq.objects import resolve_with_objects, split_objects
from vq.runs.folder import RunFolder
from vq.runs.recorded import is_resolved, read_run_config, with_former_defaults
from vqcore.errors import SettingError, UsageError
from vqcore.plugin.registry import Registry

_log = logging.getLogger(__name__)
#: Settings that may change when a run is resumed: how long it is, how the learning rate goes on, on
#: which device it is and how it is observed, plugins included, not what it computes.
RESUMABLE = frozenset((
    "epochs", "max_steps", "schedule", "device", "compile", "cuda_graph", "accumulate", "log_every",
    "eval_every", "eval_samples", "eval_lpips", "eval_fid", "sample_every", "sample_epochs",
    "checkpoint_every", "keep_checkpoints", "trackers", "plugin_files", "plugins",
))  # fmt: skip


def base_values(
    preset: str | None = None,
    config: str | Path | Mapping[str, Any] | None = None,
    registry: Registry | None = None,
    given: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Settings of a preset, with those of a config file or mapping laid over them.

    A resolved config, as in the folder of a run or a sweep, computes what its version computed.
    Presets are those of ``registry``, by default of the installed plugins and of the plugin files
    that the config and the ``given`` settings name.

    Raises:
        SettingError: if ``config`` is neither.
        UsageError: if there is no such preset, or the file cannot be read.
        ComponentError: if a plugin file cannot be loaded.
    """
    if isinstance(config, str | Path):
        file, config = config, read_config(Path(config))
        if not config:
            _log.warning(f"--config {file} holds no settings")
    if config is not None and not isinstance(config, Mapping):
        raise SettingError("config", config, "a file or a mapping of settings")
    over: Mapping[str, Any] = plain(config or {}, "")
    over = with_former_defaults(over) if is_resolved(over) else over
    if not preset:
        return dict(over)
    registry = registry or registry_for([*plugin_files(over), *plugin_files(given or {})])
    values = with_names_of_today(read_preset(preset, registry), registry)
    return lay_over(values, with_names_of_today(over, registry, values))


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
    values = assign(pairs)
    if "plugin_files" in values:
        values["plugin_files"] = absolute_files(values["plugin_files"])
    return values


def compose(
    given: Mapping[str, Any],
    *,
    base: Mapping[str, Any] | None = None,
    resume: Path | None = None,
    registry: Registry | None = None,
    trust_plugins: bool = False,
    test_dataset: Any = None,
    value_range: tuple[float, float] | None = None,
    check: bool = True,
) -> tuple[ResolvedConfig, Registry]:
    """Resolve a config and find the registry of its components.

    Args:
        given: settings; ``dataset`` and ``backbone`` may be objects.
        base: settings that ``given`` is laid over, see ``base_values``.
        resume: the folder of an earlier run, whose config ``given`` is laid over instead.
        registry, trust_plugins, test_dataset, value_range: as in ``vq.train``.
        check: ask every plugin whether such a run may start.

    Raises:
        UsageError: for settings that are unknown, out of range, or refused by a plugin.
        ComponentError: for a component that is missing or ambiguous, or a plugin that fails to
            check the config.
    """
    given, objects = split_objects(given, test_dataset, value_range)
    if resume is None:
        if trust_plugins:
            raise UsageError("--trust-plugins: only with --resume, since nothing else is received")
        registry = registry or registry_for(plugin_files({**(base or {}), **given}))
        base = with_names_of_today(base or {}, registry)
        values = lay_over(base, with_names_of_today(given, registry, base))
    else:
        values, registry = _resumed(resume, given, registry, trust_plugins)
    config, registry = resolve_with_objects(values, objects, registry)
    if check:
        check_config(config, registry)
    for sentence in config.idle_settings():
        _log.warning(sentence)
    return config, registry


def _resumed(
    path: Path, given: Mapping[str, Any], registry: Registry | None, trust: bool
) -> tuple[dict[str, Any], Registry]:
    folder = RunFolder.open(path)
    folder.check_resumable()
    if registry is None and "plugin_files" in given:
        registry = registry_for(plugin_files(given))  # instead of those of the run
    base, found = read_run_config(folder, registry, trust_plugins=trust, training=True)
    note = found.record.note
    if note and registry is None and plugin_files(read_config(folder.config)):
        raise UsageError(note)  # without its plugin files it would become another run
    if note:
        _log.warning(note)
    base = with_names_of_today(base, found, warn=False)
    given = with_names_of_today(given, found, base)
    fixed = _fixed(base)
    changed = [key for key in given if merge(fixed, _fixed({key: given[key]})) != fixed]
    if changed:
        allowed = ", ".join(sorted(RESUMABLE | {"lr"}))
        raise UsageError(
            f"--resume: {', '.join(sorted(changed))} cannot change when a run is resumed; "
            f"these can: {allowed}; --init-from starts another run from its weights"
        )
    return lay_over(base, given), found


def _fixed(values: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that a resumed run keeps."""
    kept = {key: value for key, value in values.items() if key not in RESUMABLE}
    if isinstance(kept.get("optimizer"), Mapping):
        kept["optimizer"] = {
            key: kept["optimizer"][key] for key in kept["optimizer"] if key != "lr"
        }
    return kept
