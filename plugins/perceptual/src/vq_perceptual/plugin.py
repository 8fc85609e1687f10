"""Registers the losses ``perceptual`` and ``adversarial``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vqcore.plugin.component import ComponentSpec
from vqcore.plugin.hooks import hookimpl

VQ_API = 1


@hookimpl
def vq_losses() -> list[ComponentSpec]:
    """LPIPS and a PatchGAN discriminator."""
    return [
        ComponentSpec(
            name="perceptual",
            target="vq_perceptual.perceptual:Perceptual",
            config="vq_perceptual.perceptual_config:PerceptualConfig",
            summary="LPIPS: distance of images in the features of a network",
        ),
        ComponentSpec(
            name="adversarial",
            target="vq_perceptual.adversarial:Adversarial",
            config="vq_perceptual.perceptual_config:AdversarialConfig",
            summary="a PatchGAN discriminator, trained against the model",
        ),
    ]


@hookimpl
def vq_check_config(config: Any) -> Iterator[str]:
    """A run needs the weights file of ``perceptual``; a trained model does without."""
    from vq.evaluation.weights_file import LPIPS_FILES
    from vq_perceptual.perceptual_config import RANDOM, PerceptualConfig

    for loss in config.losses.values():
        options = loss.options
        if isinstance(options, PerceptualConfig) and options.weight and options.weights != RANDOM:
            path, file = Path(options.weights).expanduser(), LPIPS_FILES[options.network]
            if not path.is_file():
                error = file.error(path, f"{loss.path}.weights", "there is no such file")
                yield f"{error}; or set it to {RANDOM}"
