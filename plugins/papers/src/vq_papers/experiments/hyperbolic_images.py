"""Paper A, table 1: reconstruction of images with Euclidean and with hyperbolic codes."""

from __future__ import annotations

from vq_papers.experiment import Column, Experiment, Row, Setup
from vq_papers.experiments.hyperbolic import (
    DIMENSIONS,
    GEOMETRIES,
    PRESET,
    guesses,
    images,
    settings,
)


def rows(setup: Setup) -> list[Row]:
    """Data, dimension and geometry; at the paper's own settings, with and without replaced codes.

    Geometries are compared at equal code usage only where dead codes are replaced.
    """
    variants: dict[str, dict[str, float]] = {"": {}}
    if setup.scale == "full":
        variants[", dead codes replaced"] = {"dead_code_threshold": 0.2, "lr_scale": 10.0}
    found = []
    for data in images(setup):
        found += guesses(data)
        found += [
            Row(
                label=f"{data.title}, d = {dimension}, {manifold}{variant}",
                preset=PRESET,
                settings=settings(setup, data, manifold, dimension, codes=codes),
            )
            for dimension in DIMENSIONS
            for manifold in GEOMETRIES
            for variant, codes in variants.items()
        ]
    return found


EXPERIMENT = Experiment(
    name="hyperbolic-images",
    paper="A",
    place="table 1",
    title="reconstruction in 2 to 20 dimensions, Euclidean and hyperbolic, beside the mean image",
    rows=rows,
    columns=(
        Column(key="normalized_mse", heading="MSE / variance", digits=3),
        Column(key="codes_used", heading="codes of 16", digits=1),
        Column(key="perplexity", heading="perplexity", digits=1),
    ),
    seeds={"quick": 2, "medium": 2, "full": 5},
)
