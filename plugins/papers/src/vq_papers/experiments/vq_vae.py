"""Paper C: a plain VQ-VAE after its first and its last epoch, beside what it is compared with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vq_papers.experiment import Column, Experiment, Row, Setup


def rows(setup: Setup) -> Sequence[Row]:
    """The VQ-VAE of the report and of our defaults, and four others of the same size or rate."""
    shared = _shared(setup)
    blocks = {"backbone": {"name": "patches", "size": 4}, "dim": 48}
    ours = {"lr_scale": 32.0, "dead_code_threshold": 0.2}
    chosen: dict[str, dict[str, Any]] = {
        "VQ-VAE": {},
        "blocks of pixels, quantized": {**blocks, "quantizer": {"name": "ema", "decay": 0.9}},
        "VQ-VAE, codes as by default": {f"quantizer.{key}": each for key, each in ours.items()},
        "autoencoder": {"bottleneck": "none"},
        "VAE": {"bottleneck": "gaussian"},
        "hyperbolic VAE": {"bottleneck": "gaussian", "manifold": "poincare"},
    }
    return [
        Row(
            label=label,
            preset="vq-vae",
            settings={**shared, **settings},
            measure="vq_papers.epochs:measured",
            callbacks="vq_papers.epochs:callbacks",
        )
        for label, settings in chosen.items()
    ]


def _shared(setup: Setup) -> dict[str, Any]:
    """What the rows share beyond the preset, which has the report's settings.

    Evaluations fall on the ends of epochs: of 57 steps when quick, of 40 of photos, of 782 of
    CIFAR-10.
    """
    if setup.scale == "quick":
        data = {"name": "photos", "stride": 16}
        few = {"epochs": 5, "batch_size": 16, "optimizer.lr": 1e-3}
        return {"dataset": data, "eval_every": 57, **few}
    data = setup.colour()
    if data["name"] == "photos":
        return {"dataset": data, "eval_every": 40}
    epochs = 2 if setup.scale == "medium" else 10
    return {"dataset": data, "eval_every": 391, "eval_samples": 2000, "epochs": epochs}


EXPERIMENT = Experiment(
    name="vq-vae",
    paper="C",
    place="its results",
    title="a plain VQ-VAE, first and last epoch, beside autoencoders and quantized blocks",
    rows=rows,
    columns=(
        Column(key="first_psnr", heading="PSNR after an epoch, dB", best="high"),
        Column(key="psnr", heading="at the end", best="high"),
        Column(key="ssim", heading="SSIM", digits=3, best="high"),
        Column(key="normalized_mse", heading="normalized MSE", digits=3, best="low"),
        Column(key="codes_used", heading="codes used", digits=0),
        Column(key="perplexity", heading="perplexity", digits=0),
        Column(key="index_bits_per_pixel", heading="bits a pixel"),
        Column(key="entropy_bits_per_pixel", heading="by entropy"),
    ),
    seeds={"quick": 2, "medium": 1, "full": 5},
    figures=("vq_papers.epochs:figures",),
)
