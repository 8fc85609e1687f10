"""Paper A, table 2: the classes of images, learned through the bottleneck and read from codes."""

from __future__ import annotations

from typing import Any

from vq_papers.experiment import Column, Experiment, Row, Setup
from vq_papers.experiments.hyperbolic import (
    DIMENSIONS,
    GEOMETRIES,
    PRESET,
    Images,
    images,
    settings,
)

#: Of codes that are learned for reconstruction, and then probed.
PROBED = (2, 10)


def rows(setup: Setup) -> list[Row]:
    """Classifiers of every dimension, and autoencoders whose codes a linear classifier reads."""
    found = []
    for data in images(setup):
        classified = PROBED if setup.scale == "quick" else DIMENSIONS
        found += [_classifier(setup, data, m, d) for d in classified for m in GEOMETRIES]
        found += [_autoencoder(setup, data, m, d) for d in PROBED for m in GEOMETRIES]
    return found


def _classifier(setup: Setup, data: Images, manifold: str, dimension: int) -> Row:
    values: dict[str, Any] = settings(setup, data, manifold, dimension, epochs=2)
    inner = {"name": "conv", "hidden": 32, "residual_blocks": 2, "init": "torch"}
    for option in ("downsamplings", "init"):
        if (key := f"backbone.{option}") in values:
            inner[option] = values.pop(key)
    values["backbone"] = {"name": "classifier", "inner": inner}
    label = f"{data.title}, d = {dimension}, {manifold}, through the bottleneck"
    return Row(label=label, preset=PRESET, settings=values)


def _autoencoder(setup: Setup, data: Images, manifold: str, dimension: int) -> Row:
    return Row(
        label=f"{data.title}, d = {dimension}, {manifold}, probe of an autoencoder's codes",
        preset=PRESET,
        settings=settings(setup, data, manifold, dimension),
        measure="vq_papers.measures:probed",
    )


EXPERIMENT = Experiment(
    name="hyperbolic-classification",
    paper="A",
    place="table 2",
    title="classes through the bottleneck, and by a linear probe of an autoencoder's codes",
    rows=rows,
    columns=(
        Column(key="accuracy", heading="accuracy", digits=3),
        Column(key="samples_accuracy", heading="linear, of the pixels", digits=3),
        Column(key="codes_used", heading="codes of 16", digits=1),
        Column(key="perplexity", heading="perplexity", digits=1),
    ),
    seeds={"quick": 2, "medium": 2, "full": 5},
)
