"""The config of a run folder, and a registry for the names in it. Torch-free."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vq.config.config_file import read_config
from vq.config.merging import bare
from vq.config.plugin_files import plugin_files, registry_for
from vq.files import read_any_json
from vq.runs.folder import RunFolder
from vq.runs.plugin_rows import providers
from vq.runs.trust import follow
from vqcore.plugin.registry import PluginRecord, Registry

#: Some of the settings that every resolved config holds, since version 0.1. One written by hand
#: does not hold them all.
_ALWAYS = frozenset(("bottleneck", "kl_weight", "code_dim", "accumulate", "grad_clip", "compile"))


def read_run_config(
    folder: RunFolder,
    registry: Registry | None = None,
    *,
    trust_plugins: bool = False,
    training: bool = False,
) -> tuple[dict[str, Any], Registry]:
    """The settings of a run as far as they are followed, and where its components come from.

    Args:
        folder: the run folder.
        registry: instead of the installed plugins and those files that the settings name.
        trust_plugins: follow all settings, see ``vq.runs.trust``.
        training: whether they are to be trained with.

    Raises:
        UsageError: if the config cannot be read.
        ComponentError: if a plugin file cannot be loaded.
    """
    values = read_config(folder.config)
    values, note = follow(folder.path, values, trust=trust_plugins, training=training)
    values = with_former_defaults(values)
    registry = registry or registry_for(plugin_files(values))
    record = PluginRecord(providers=providers(read_any_json(folder.plugins)), note=note)
    return values, registry.with_record(record)


def is_resolved(values: Mapping[str, Any]) -> bool:
    """Whether a config is one that a version of this package wrote, with every setting it had."""
    return values.keys() >= _ALWAYS


def with_former_defaults(values: Mapping[str, Any]) -> dict[str, Any]:
    """A resolved config with settings that its version did not have, as it computed then."""
    values = {"eval_samples": None, "blend_steps": 0, **values}
    backbone = values.get("backbone")
    if isinstance(backbone, Mapping) and bare(backbone.get("name")) in ("conv", "hierarchical"):
        values["backbone"] = {"init": "torch", **backbone}
    values["quantizer"] = _with_lr_scale(values.get("quantizer"))
    return values


def _with_lr_scale(quantizer: Any) -> Any:
    """Options of a quantizer, and of those that it wraps, with codes at the optimizer's rate."""
    if not isinstance(quantizer, Mapping):
        return quantizer
    options = {key: _with_lr_scale(value) for key, value in quantizer.items()}
    if bare(quantizer.get("name")) in ("codebook", "simvq"):
        options = {"lr_scale": 1.0, **options}
    return options
