"""Settings by name, which plugins declare; those of ``vq`` stand beside this file. Torch-free."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vq.config.config_file import read_config
from vqcore.errors import UsageError, did_you_mean, shown
from vqcore.plugin.component import PresetSpec
from vqcore.plugin.loader import Plugin, owner_of
from vqcore.plugin.registry import Registry, default_registry

_FOLDER = Path(__file__).parent
_SUMMARIES = {
    "vqgan-f8": "VQGAN and LlamaGen: 256x256 pictures, a factor of 8",
    "vqgan-f16": "VQGAN and LlamaGen: 256x256 pictures, a factor of 16",
    "titok": "TiTok: 256x256 pictures as 1-D tokens of a transformer",
    "audio": "sounds as residual codes, with spectral losses",
}
#: Presets that were ours once.
_OF_PAPERS = ("hc-vq", "hyperbolic-vqvae", "rotation-vqvae", "vq-vae")
#: Our own presets, as the plugin declares them.
OWN = [
    PresetSpec(name=name, file=_FOLDER / f"{name}.yaml", summary=summary)
    for name, summary in _SUMMARIES.items()
]


def presets(registry: Registry | None = None) -> dict[str, tuple[Plugin, PresetSpec]]:
    """Every preset by the shortest name that means it, sorted; by default of installed plugins."""
    found = [(p, spec) for p in (registry or default_registry()).plugins for spec in p.presets]
    names = [spec.name for _, spec in found]

    def shortest(plugin: Plugin, spec: PresetSpec) -> str:
        return (
            f"{owner_of(plugin.package)}/{spec.name}" if names.count(spec.name) > 1 else spec.name
        )

    return dict(sorted((shortest(*each), each) for each in found))


def read_preset(name: str, registry: Registry | None = None) -> dict[str, Any]:
    """Plain values of a preset, to be merged over the defaults.

    ``package/name`` tells presets of the same name apart.

    Raises:
        UsageError: if there is no preset of that name, or there are several.
    """
    known = presets(registry)
    owner, _, short = name.rpartition("/")
    meant = [
        spec
        for plugin, spec in known.values()
        if spec.name == short and (not owner or plugin.is_called(owner))
    ]
    if len(meant) != 1:
        several = [each for each in known if each.rpartition("/")[2] == short]
        hint = f"several packages provide it: use {' or '.join(several)}" if meant else ""
        hint = hint or did_you_mean(name, known) or f"expected one of {', '.join(known)}"
        if not meant and short in _OF_PAPERS:
            hint = "it is part of the package vq-papers; install it with: pip install vq-papers"
        raise UsageError(f"--preset = {shown(name)}: {hint}")
    return read_config(meant[0].file)
