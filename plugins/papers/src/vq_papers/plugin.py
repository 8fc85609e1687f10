"""Registers the papers' settings as presets, and the command ``reproduce``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from vqcore.plugin.component import PresetSpec
from vqcore.plugin.hooks import hookimpl

if TYPE_CHECKING:
    from typer import Typer

VQ_API = 1

_PRESETS = {
    "hyperbolic-vqvae": "Hyperbolic VQ-VAE, the image experiments: codes in the Poincare ball",
    "hyperbolic-trees": "Hyperbolic VQ-VAE, the tree experiment: nodes of a binary tree as bits",
    "hyperbolic-links": "codes of a tree's nodes, where the decoder is the hyperbolic distance",
    "hc-vq": "Homology-constrained VQ: persistent homology of the codebook",
    "vq-vae": "the plain VQ-VAE",
    "rotation-vqvae": "Rotational and rescaling VQ-VAE: the rotation trick with EMA",
}


@hookimpl
def vq_presets() -> list[PresetSpec]:
    """The settings of the four papers."""
    folder = Path(__file__).parent / "presets"
    return [
        PresetSpec(name=name, file=folder / f"{name}.yaml", summary=summary)
        for name, summary in _PRESETS.items()
    ]


@hookimpl
def vq_commands(app: Typer) -> None:
    """Add ``vq reproduce``."""
    from vq_papers.command import reproduce

    app.command(reproduce.__name__)(reproduce)
