"""Measures and figures of embedded trees."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

import vq
from vq_papers.measures import evaluated
from vq_papers.one_run import OWN
from vq_papers.results import Results

#: Places of nodes and codes in the plane, in the folder of measures.
PLACES = "places.npz"
GEOMETRIES = ("Euclid", "Geodesic", "Poincare")


def measured(run: vq.TrainedRun) -> Mapping[str, float]:
    """The numbers of ``vq evaluate``; of two dimensions, also the places of nodes and codes."""
    if run.config.settings.dim == 2 and run.model.has_codes:
        folder = run.folder.path / OWN
        folder.mkdir(parents=True, exist_ok=True)
        np.savez(folder / PLACES, **_places(run))
    return evaluated(run)


def _places(run: vq.TrainedRun) -> dict[str, Any]:
    """Nodes and their codes (n, 2), in the disk of a curved space, and the parents of nodes."""
    import torch

    layer: Any = run.model.bottleneck
    source: Any = run.source
    sample = next(iter(source.split("test").batches([torch.arange(1)], run.device)))
    found = layer.inspect(run.model.latents(sample))
    nodes = layer.tangent(run.model.latents(sample))
    disk = layer.manifold.disk
    nodes, codes = (
        (each if (mapped := disk(each)) is None else mapped)[0].detach().cpu().numpy()
        for each in (nodes, found.z_q)
    )
    tree = {"parents": source.tree.parents.numpy(), "levels": source.tree.levels.numpy()}
    return {"nodes": nodes, "codes": codes, **tree}


def discs(results: Results, folder: Path) -> None:
    """Nodes, links and codes in the plane, the geometries beside each other, of seed 0."""
    from matplotlib.figure import Figure

    found = {
        row.label.split(",")[0]: (row.runs[0], np.load(path))
        for row in results.rows
        if row.runs and (path := folder / row.runs[0].folder / OWN / PLACES).is_file()
        and "128 codes" in row.label
    }  # fmt: skip
    if not found:
        return
    figure = Figure(figsize=(5 * len(found), 5), layout="constrained")
    for axes, (name, (run, places)) in zip(
        figure.subplots(1, len(found), squeeze=False)[0], found.items(), strict=True
    ):
        nodes, codes, parents = places["nodes"], places["codes"], places["parents"]
        for child, parent in enumerate(parents[1:], 1):
            axes.plot(*nodes[[child, parent]].T, color="0.8", lw=0.5, zorder=1)
        axes.scatter(*nodes.T, c=places["levels"], s=8, cmap="viridis", zorder=2)
        axes.scatter(*np.unique(codes, axis=0).T, s=22, marker="x", lw=0.6, c="C3", zorder=3)
        axes.set(aspect="equal", xticks=[], yticks=[])
        axes.set_title(f"{name}: MAP {run.numbers['tree_map']:.2f}")
    figure.savefig(folder / "discs.png", dpi=120)


def precision_by_bits(results: Results, folder: Path) -> None:
    """MAP against bits of a node, on the binary tree in three dimensions."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    for number, geometry in enumerate(GEOMETRIES):
        start, color = f"{geometry}, binary tree, d = 3, ", f"C{number}"
        sizes = {
            row.label.removeprefix(start): (row.mean("tree_map") or 0, row.spread("tree_map") or 0)
            for row in results.rows
            if row.label.startswith(start) and row.runs
        }
        if free := sizes.pop("no codes", None):
            axes.axhline(free[0], ls=":", color=color)
        known = {f"{size} codes": math.log2(size) for size in (32, 64, 128, 256)}
        shown = [(bits, *sizes[name]) for name, bits in known.items() if name in sizes]
        if shown:
            bits, means, spreads = zip(*shown, strict=True)
            axes.errorbar(bits, means, spreads, marker="o", capsize=3, color=color, label=geometry)
    axes.set(xlabel="bits of a node (dotted: no codes)", ylabel="MAP of ancestors", ylim=(0, 1))
    axes.legend()
    figure.savefig(folder / "precision.png", dpi=120)
