"""Reconstructions and codebooks over training, from what run folders hold of them."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from vq.checkpoints.step_names import step_and_epoch
from vq.runs import history
from vq_papers.results import Results

Array: TypeAlias = NDArray[Any]
T = TypeVar("T")

#: Moments of a run that are shown, and codes of each.
_MOMENTS, _CODES = 5, 400
#: The paper's settings of t-SNE.
_PERPLEXITY, _LEARNING_RATE, _ITERATIONS = 30, 200, 1000


def reconstructions(results: Results, folder: Path) -> None:
    """``reconstructions.png``: held-out samples beside their reconstructions, a run a column."""
    from matplotlib import pyplot

    shown = [_pictures(folder / row.runs[0].folder / "samples") for row in results.rows]
    figure, grid = _grid(results, max(map(len, shown)), 6.0, 0.65)
    for column, pictures in zip(grid.T, shown, strict=True):
        for axes, (title, path) in zip(column, pictures, strict=False):
            pixels = pyplot.imread(path)
            axes.imshow(pixels[: len(pixels) // 2])
            axes.set_ylabel(title, fontsize=7)
    figure.savefig(folder / "reconstructions.png", dpi=120)
    pyplot.close(figure)


def codebooks(results: Results, folder: Path) -> None:
    """``codebooks.png``: the codes of each run by t-SNE, a run a column; those in use are blue.

    One fit over the moments of a run, so that they can be compared.
    """
    from matplotlib import pyplot

    shown = [_spread(history.read(folder / row.runs[0].folder), _MOMENTS) for row in results.rows]
    figure, grid = _grid(results, max(map(len, shown)), 2.0, 2.0)
    for column, snapshots in zip(grid.T, shown, strict=True):
        rows = [_spread(range(len(each.codes[0])), _CODES) for each in snapshots]
        places = _embedded([each.codes[0][row] for each, row in zip(snapshots, rows, strict=True)])
        for axes, each, row, at in zip(column, snapshots, rows, places, strict=False):
            used = each.counts[0][each.chosen[0][row]] > 0
            axes.scatter(*at[~used].T, s=2, color="0.8")
            axes.scatter(*at[used].T, s=2, color="C0")
            axes.set_ylabel(f"step {each.step}", fontsize=7)
    figure.savefig(folder / "codebooks.png", dpi=120)
    pyplot.close(figure)


def _grid(results: Results, moments: int, width: float, height: float) -> tuple[Any, Array]:
    """A figure with a row of axes a moment and a column a run, whose label is above it."""
    from matplotlib import pyplot

    runs = len(results.rows)
    figure, grid = pyplot.subplots(
        moments, runs, figsize=(width * runs, height * moments), squeeze=False, layout="constrained"
    )
    for axes in grid.flat:
        axes.set_xticks([])
        axes.set_yticks([])
    for axes, row in zip(grid[0], results.rows, strict=True):
        axes.set_title(row.label, fontsize=8)
    return figure, grid


def _pictures(folder: Path) -> list[tuple[str, Path]]:
    """The pictures of a run in the order of their steps, at most so many as moments."""
    times = ((step_and_epoch(path.stem), path) for path in folder.glob("step-*.png"))
    found = sorted((*time, path) for time, path in times if time)
    return [
        (f"step {step}" if epoch is None else f"epoch {epoch}", path)
        for step, epoch, path in _spread(found, _MOMENTS)
    ]


def _spread(items: Sequence[T], most: int) -> list[T]:
    """At most so many items, evenly spread, with the first and the last among them."""
    chosen = np.linspace(0, len(items) - 1, min(len(items), most)).round().astype(int)
    return [items[number] for number in chosen]


def _embedded(frames: Sequence[Array]) -> list[Array]:
    """Positions (n, 2) of each frame's codes (n, d)."""
    from sklearn.manifold import TSNE

    rows = np.concatenate(frames).astype(np.float32)
    tsne = TSNE(
        perplexity=min(_PERPLEXITY, (len(rows) - 1) / 3),
        learning_rate=_LEARNING_RATE,
        max_iter=_ITERATIONS,
        init="pca",
        random_state=0,
        n_jobs=1,
    )
    with warnings.catch_warnings():  # a collapsed codebook has no second principal axis
        warnings.simplefilter("ignore", RuntimeWarning)
        places = tsne.fit_transform(rows)
    return np.split(places, np.cumsum([len(frame) for frame in frames])[:-1])
