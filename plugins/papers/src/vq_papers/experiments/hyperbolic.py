"""What paper A's experiments on images share: its network, and codes on two geometries."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from vq_papers.experiment import Row, Setup

PRESET = "hyperbolic-vqvae"
GEOMETRIES = ("euclidean", "poincare")
#: Dimensions of the code of a group.
DIMENSIONS = (2, 5, 10, 20)
GROUPS = 2
#: Strided convolutions to 4 x 4 tokens, by the sides of samples.
HALVINGS = {8: 1, 16: 2, 32: 3}
#: Codes as the paper has them: at the network's learning rate, and never replaced.
PUBLISHED = {"lr_scale": 1.0, "dead_code_threshold": 0.0}
#: Steps that a short run takes.
STEPS = {"quick": 150, "medium": 200}


@dataclass(frozen=True)
class Images:
    """A data set: its name in tables, its settings, and the sides of its pictures."""

    title: str
    dataset: Mapping[str, Any]
    side: int


def images(setup: Setup) -> Iterator[Images]:
    """Grey digits; with the user's data also small colour pictures."""
    grey = setup.grey()
    yield Images("digits", grey, 8) if setup.data is None else Images("MNIST", grey, 32)
    if setup.data is not None:
        colour = setup.colour()
        copied = colour["name"] == "image-folder"
        yield Images("CIFAR-10 (JPEG copy)" if copied else "CIFAR-10", colour, 32)


def guesses(data: Images) -> list[Row]:
    """Rows without a model: the training data's mean value, and its mean image."""
    return [
        Row(
            label=f"{data.title}, {name} image",
            settings={"dataset": data.dataset},
            baseline=f"vq_papers.measures:{name}_image",
        )
        for name in ("constant", "mean")
    ]


def settings(
    setup: Setup,
    data: Images,
    manifold: str,
    dimension: int,
    *,
    epochs: int = 1,
    codes: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """A run's settings beside those of ``PRESET``.

    ``full`` is the paper's: one pass over the data, Adam 1e-4. Shorter runs have a higher learning
    rate, weights that begin with the variance kept, and codes that all stay in use.
    """
    own = {**(PUBLISHED if setup.scale == "full" else {}), **(codes or {})}
    inner = {"name": "codebook", **own}
    shared: dict[str, Any] = {
        "dataset": data.dataset,
        "backbone.downsamplings": HALVINGS[data.side],
        "manifold": manifold,
        "dim": GROUPS * dimension,
        "quantizer": {"name": "grouped", "groups": GROUPS, "shared": True, "inner": inner},
        "sample_every": 10**6,
        "checkpoint_every": 10**6,
        "eval_every": 10**6,
    }
    if setup.scale == "full":
        return {**shared, "epochs": epochs}
    return {
        **shared,
        "epochs": None,
        "max_steps": STEPS[setup.scale],
        "optimizer.lr": 3e-3,
        "backbone.init": "he",
        "schedule": "cosine",
        "warmup_steps": None,
        "blend_steps": None,
        "grad_clip": 1.0,
    }
