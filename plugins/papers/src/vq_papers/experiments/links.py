"""Paper A, beyond: link prediction with codes, where the decoder is the distance. Torch-free."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from vq.config.presets import read_preset
from vq_papers.experiment import Column, Experiment, Row, Setup

PRESET, MEASURE = "hyperbolic-links", "vq_papers.embeddings:measured"
#: By the first word of a label, what differs from the preset. All are the best found of the same
#: settings for both geometries.
GEOMETRIES: Mapping[str, Mapping[str, Any]] = {
    "Euclid": {"manifold": "euclidean"},
    "Geodesic": {"manifold.search": "geodesic", "backbone.temperature": 1.0},
    "Poincare": {},
}
BOTH, ALL = ("Euclid", "Poincare"), tuple(GEOMETRIES)
TREES: Mapping[str, Mapping[str, Any]] = {
    "binary": {"depth": 8},
    "ternary": {"depth": 6, "branching": 3},
    "random": {"tree": "random"},
    "icd10": {"tree": "icd10"},
}
#: Codes of a codebook, or of two stages with as many bits.
RESIDUAL = "2 x 16"


def rows(setup: Setup) -> list[Row]:
    """Quick: 128 codes in 3 dimensions. Medium: other sizes and trees too. Full: all of them."""
    quick, full = setup.scale == "quick", setup.scale == "full"
    steps = 500 if quick else 800

    def some(tree: str, dim: int, codes: int | str | None, geometries: Iterable[str]) -> list[Row]:
        return [_row(each, tree, dim, codes, steps) for each in geometries]

    found = [*some("binary", 3, None, BOTH), *some("binary", 3, 128, ALL)]
    if quick:
        return found
    for dim in (2, 5, 10):
        if full:
            found += some("binary", dim, None, BOTH)
        found += some("binary", dim, 128, ALL if full else BOTH)
    for dim in (2, 3, 5, 10) if full else (3,):
        for codes in (32, 64, 256):
            found += some("binary", dim, codes, ALL if full else BOTH)
        if full:
            found += some("binary", dim, RESIDUAL, ALL)
    for tree in ("ternary", "random", "icd10"):
        if full:
            found += some(tree, 3, None, BOTH)
        found += some(tree, 3, 128, ALL if full else BOTH)
    return found


def _row(geometry: str, tree: str, dim: int, codes: int | str | None, steps: int) -> Row:
    size = "no codes" if codes is None else f"{codes} codes"
    settings: dict[str, Any] = {
        "dataset": {"name": "tree-links", **TREES[tree]}, "dim": dim, **GEOMETRIES[geometry],
        "max_steps": steps, "eval_every": steps, "sample_every": steps, "checkpoint_every": steps,
    }  # fmt: skip
    if codes is None:
        settings |= {"bottleneck": "none", "quantize_start": 0, "blend_steps": None}
    else:
        settings |= {"codebook_size": codes, "quantize_start": steps * 3 // 4}
    if codes == RESIDUAL:
        inner = read_preset(PRESET)["quantizer"]
        settings |= {"quantizer": {"name": "residual", "stages": 2, "inner": inner}}
        settings["codebook_size"] = 16
    label = f"{geometry}, {tree} tree, d = {dim}, {size}"
    return Row(label=label, preset=PRESET, settings=settings, measure=MEASURE)


EXPERIMENT = Experiment(
    name="links",
    paper="A",
    place="beyond",
    title="embedded trees with codes, where the decoder is the distance",
    rows=rows,
    columns=(
        Column(key="tree_map", heading="MAP", digits=3),
        Column(key="tree_mean_rank", heading="mean rank"),
        Column(key="tree_correlation", heading="correlation"),
        Column(key="tree_radius_level", heading="radius against level"),
        Column(key="tree_codes", heading="codes", digits=0),
    ),
    figures=("vq_papers.embeddings:discs", "vq_papers.embeddings:precision_by_bits"),
)
