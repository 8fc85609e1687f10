"""Paper A's ablations: how codes start, groups, smoothness, bounded similarity, size of patches."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from vq_papers.experiment import Column, Experiment, Row, Setup
from vq_papers.experiments.hyperbolic import GEOMETRIES, HALVINGS, PRESET, guesses, images, settings

DIMENSION = 10
THRESHOLD = "quantizer.inner.dead_code_threshold"


def changes(setup: Setup, halvings: int) -> Mapping[str, Mapping[str, Any]]:
    """What each row changes, by its label; ``halvings`` lead to 4 x 4 tokens.

    What codes start from matters where none is replaced later, as in the paper.
    """
    kept: dict[str, Any] = {} if setup.scale == "full" else {THRESHOLD: 0.0}
    base = {"as it is": {}, "dead codes replaced": {THRESHOLD: 0.2}}
    if setup.scale != "full":  # where they are replaced anyway
        base = {"as it is": {}, "no code replaced": kept}
    starts = {
        f"no code replaced, start {init}": {**kept, "quantizer.inner.init": init}
        for init in ("normal", "uniform")
    }
    return {
        **base,
        **starts,
        "a codebook for each group": {"quantizer.shared": False},
        "one group": {"quantizer.groups": 1},
        "smoothness of the decoder": {"regularizers": {"smoothness": {"weight": 1.0}}},
        "inverse similarity": {"quantizer.inner.similarity": "inverse"},
        "2 x 2 tokens": {"backbone.downsamplings": halvings + 1},
        "8 x 8 tokens": {"backbone.downsamplings": halvings - 1},
    }


def rows(setup: Setup) -> list[Row]:
    """Each change alone, on both geometries and the first data set; then what differs in them."""
    data = next(images(setup))

    def row(label: str, manifold: str, change: Mapping[str, Any]) -> Row:
        values = {**settings(setup, data, manifold, DIMENSION), **change}
        return Row(label=f"{label}, {manifold}", preset=PRESET, settings=values)

    apart = {
        "curvature 0.01": {"manifold.curvature": 0.01},
        "latents not scaled": {"manifold.gain": math.sqrt(DIMENSION)},
    }
    return [
        guesses(data)[-1],
        *(
            row(label, manifold, change)
            for label, change in changes(setup, HALVINGS[data.side]).items()
            for manifold in GEOMETRIES
        ),
        *(row(label, "poincare", change) for label, change in apart.items()),
    ]


EXPERIMENT = Experiment(
    name="hyperbolic-ablations",
    paper="A",
    place="section 4",
    title="starts of codes, groups, smoothness, bounded similarity and patch size, one at a time",
    rows=rows,
    columns=(
        Column(key="normalized_mse", heading="MSE / variance", digits=3),
        Column(key="codes_used", heading="codes of 16", digits=1),
        Column(key="perplexity", heading="perplexity", digits=1),
    ),
    seeds={"quick": 2, "medium": 1, "full": 5},
)
