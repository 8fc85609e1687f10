"""What is measured and drawn of the codes of a tree's nodes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vq_papers.measures import evaluated
from vq_papers.one_run import OWN
from vq_papers.results import Results

if TYPE_CHECKING:
    from vq.runs.trained_run import TrainedRun

#: Where the codes of the nodes lie, in a run's own folder.
NODES = "nodes.npz"
#: What is drawn: the way of training in columns.
SHOWN = ("noise", "clean, isometry")


def measured(run: TrainedRun) -> Mapping[str, float]:
    """The numbers of ``vq evaluate``; the code of each node is kept for the figure."""
    import torch

    nodes = torch.arange(len(run.source.tree))  # type: ignore[attr-defined]  # the data set has one
    batch = next(iter(run.source.split("test").batches([nodes], run.device)))
    with torch.no_grad():
        codes = run.model.bottleneck.inspect(run.model.latents(batch)).z_q.flatten(1)
        disk = run.model.bottleneck.manifold.disk(codes)
    drawn = codes / codes.norm(dim=1).max() if disk is None else disk
    file = run.folder.path / OWN / NODES
    file.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(file, places=drawn.cpu().numpy(), flat=np.array(disk is None))
    return evaluated(run)


def exact_answer(settings: Mapping[str, Any]) -> Mapping[str, float]:
    """The score of codes that name a node, or the ancestor of it that is still among K nodes.

    The distance of two codes is that of their nodes in the tree.
    """
    import torch

    from vq.data.tree import Tree

    tree, codes = Tree.full(2, 7), int(settings["codebook_size"])
    code = torch.arange(len(tree))
    while (code >= codes).any():
        code = torch.where(code >= codes, tree.parents[code], code)
    first, second = torch.triu_indices(len(tree), len(tree), 1)
    nodes = torch.arange(len(tree))
    edges = tree.distance(nodes[first], nodes[second]).double()
    answer = tree.distance(code[first], code[second]).double()
    correlation = torch.corrcoef(torch.stack([edges, answer]))[0, 1]
    return {"tree_correlation": float(correlation), "tree_codes": codes}


def figure(results: Results, folder: Path) -> None:
    """``trees.png``: the tree, drawn on the codes of its nodes, of the first seed."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    spaces = [
        space
        for space in ("Euclid", "Poincare")
        if all(_first(results, f"{space}, {trained}") for trained in SHOWN)
    ]
    if not spaces:
        return
    size = (3.2 * len(spaces) * len(SHOWN), 3.5)
    plot, axes = pyplot.subplots(1, len(spaces) * len(SHOWN), figsize=size, layout="constrained")
    labels = [f"{space}, {trained}" for trained in SHOWN for space in spaces]
    for axis, label in zip(np.atleast_1d(axes), labels, strict=True):
        run = _first(results, label)
        with np.load(folder / run / OWN / NODES) as found:
            _draw(axis, found["places"], flat=bool(found["flat"]))
        axis.set_title(label, fontsize=10)
    plot.savefig(folder / "trees.png", dpi=110)
    pyplot.close(plot)


def _first(results: Results, label: str) -> str:
    """The folder of a row's first run, if it has any."""
    runs = [run.folder for row in results.rows if row.label == label for run in row.runs]
    return runs[0] if runs else ""


def _draw(axis: Any, places: np.ndarray, *, flat: bool) -> None:
    """Nodes at places (n, 2) in the unit disk, with the edges to their parents."""
    from matplotlib.collections import LineCollection
    from matplotlib.patches import Circle

    from vq.data.tree import Tree

    tree = Tree.full(2, 7)
    children = np.arange(1, len(tree))
    ends = np.stack([places[children], places[tree.parents.numpy()[1:]]], 1)
    axis.add_collection(LineCollection(list(ends), colors="0.8", linewidths=0.5, zorder=1))
    axis.scatter(*places.T, c=tree.levels.numpy(), cmap="viridis_r", s=8, zorder=2)
    if not flat:
        axis.add_patch(Circle((0, 0), 1, fill=False, color="0.5", linewidth=0.8))
    axis.set(xlim=(-1.05, 1.05), ylim=(-1.05, 1.05), aspect="equal")
    axis.set_axis_off()
