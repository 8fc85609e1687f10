"""Paper A, table 3: codes of the nodes of a binary tree, and how they follow it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vq_papers.experiment import Column, Experiment, Row, Setup

#: The manifolds by their names in labels.
MANIFOLDS: dict[str, Any] = {
    "Euclid": "euclidean",
    "Poincare": {"name": "poincare", "max_radius": 5.0},
    "Lorentz": {"name": "lorentz", "max_radius": 5.0},
}
#: What the network is trained on and with, by its name in labels.
TRAINED: dict[str, dict[str, Any]] = {
    "noise": {},
    "clean": {"dataset.noise": 0.0},
    "clean, isometry": {
        "dataset.noise": 0.0,
        "optimizer.lr": 2e-3,  # a faster one folds subtrees over each other, in each space
        "regularizers": {"isometry": {"weight": 50.0, "reference": "squared", "max_samples": 255}},
    },
}
#: The paper's values: on clean nodes beside the rows that see clean ones, on noisy ones likewise.
PUBLISHED = {
    "Euclid, clean": {"tree_correlation": "0.446 ± 0.03"},
    "Poincare, clean": {"tree_correlation": "0.597 ± 0.10"},
    "Euclid, noise": {"tree_correlation_noisy": "0.189"},
    "Poincare, noise": {"tree_correlation_noisy": "0.271"},
}
#: Numbers of codes of which an exact answer is scored, too.
FEW = (3, 7, 15, 31, 63)


def rows(setup: Setup) -> Sequence[Row]:
    """Each manifold with each way of training, then exact answers of few codes."""
    manifolds = dict(MANIFOLDS)
    if setup.scale == "quick":
        del manifolds["Lorentz"]
    shared = {"max_steps": 400} if setup.scale == "quick" else {}
    trained = [
        Row(
            label=f"{space}, {name}",
            preset="hyperbolic-trees",
            settings={**shared, **_SELDOM, "manifold": manifold, **settings},
            published=PUBLISHED.get(f"{space}, {name}", {}),
            measure="vq_papers.tree_nodes:measured",
        )
        for name, settings in TRAINED.items()
        for space, manifold in manifolds.items()
    ]
    exact = [
        Row(
            label=f"exact answer, {codes} codes",
            preset="hyperbolic-trees",
            settings={"codebook_size": codes},
            baseline="vq_papers.tree_nodes:exact_answer",
        )
        for codes in FEW
    ]
    return [*trained, *exact]


#: Runs of seconds need no more than their end.
_SELDOM = {"eval_every": 10_000, "checkpoint_every": 10_000, "sample_every": 10_000}

EXPERIMENT = Experiment(
    name="trees",
    paper="A",
    place="table 3",
    title="codes of a tree's nodes: do their distances follow the tree, and how many are in use",
    rows=rows,
    columns=(
        Column(key="tree_correlation", heading="clean nodes", digits=3),
        Column(key="tree_correlation_noisy", heading="noisy nodes", digits=3),
        Column(key="tree_codes", heading="codes", digits=0),
        Column(key="tree_correlation_latents", heading="clean, not quantized", digits=3),
        Column(key="tree_radius_level", heading="radius and level"),
        Column(key="tree_distortion", heading="distortion"),
    ),
    figures=("vq_papers.tree_nodes:figure",),
)
