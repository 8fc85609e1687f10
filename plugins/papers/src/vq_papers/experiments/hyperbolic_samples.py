"""Paper A, figure 3: new images from a prior over Euclidean and over hyperbolic codes."""

from __future__ import annotations

from vq_papers.experiment import Column, Experiment, Row, Setup
from vq_papers.experiments.hyperbolic import GEOMETRIES, PRESET, images, settings

DIMENSION = 10


def rows(setup: Setup) -> list[Row]:
    """The first data set on both geometries."""
    data = next(images(setup))
    return [
        Row(
            label=f"{data.title}, {manifold}",
            preset=PRESET,
            settings=settings(setup, data, manifold, DIMENSION),
            measure="vq_papers.prior_samples:measured",
        )
        for manifold in GEOMETRIES
    ]


EXPERIMENT = Experiment(
    name="hyperbolic-samples",
    paper="A",
    place="figure 3",
    title="new images from a transformer over the codes of both geometries",
    rows=rows,
    columns=(
        Column(key="normalized_mse", heading="MSE / variance", digits=3),
        Column(key="prior_bits", heading="bits a code, prior", digits=3),
        Column(key="unigram_bits", heading="bits a code, by frequency", digits=3),
    ),
    seeds={"quick": 1, "medium": 1, "full": 1},
    figures=("vq_papers.prior_samples:figure",),
)
