"""Runs after their first and after their last epoch: quality, reconstructions, loss curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

import vq
from vq_papers.measures import evaluated
from vq_papers.one_run import OWN

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from vq_papers.results import Results, RowResult
    from vqcore.interfaces.dataset import DataSource, Split

#: Held-out samples on the page of reconstructions.
SHOWN = 8
FIRST, LAST = "first.npy", "last.npy"


class FirstEpoch:
    """Keeps the reconstructions of the last evaluation in the first epoch, in the run folder."""

    def vq_log(self, run: Any, metrics: Mapping[str, Any]) -> None:
        """Reconstruct, where a line has held-out metrics; that changes nothing of the run."""
        if metrics["epoch"] == 0 and "test_psnr" in metrics:
            _, images = _reconstructed(run.evaluated, run.test_split, run.source, run.device)
            _save(run.folder.path / OWN / FIRST, images)


def callbacks() -> list[object]:
    """For ``vq.train``."""
    return [FirstEpoch()]


def measured(run: vq.TrainedRun) -> Mapping[str, float]:
    """The numbers of ``vq evaluate``, and with ``first_`` those at the end of the first epoch."""
    both = _reconstructed(run.model, run.source.split("test"), run.source, run.device)
    _save(run.folder.path / OWN / LAST, np.concatenate(both))
    lines = [line for line in run.history if line["epoch"] == 0 and "test_psnr" in line]
    names = ("psnr", "mse", "loss", "codes_used", "perplexity")
    last: Mapping[str, Any] = lines[-1] if lines else {}
    first = {f"first_{name}": last[f"test_{name}"] for name in names if f"test_{name}" in last}
    return {**evaluated(run), **first}


def figures(results: Results, folder: Path) -> None:
    """``curves.png`` and ``reconstructions.png``, of the first seed."""
    from matplotlib.figure import Figure

    rows = [row for row in results.rows if row.runs]
    if not rows:
        return
    figure = Figure(figsize=(10, 3.6), layout="constrained")
    terms, quality = figure.subplots(1, 2)
    _draw_terms(terms, rows[0], folder)
    for row in rows:
        history = _history(row, folder)
        quality.plot(*_points(history, "test_psnr"), marker=".", label=row.label)
    quality.set(xlabel="step", title="Held-out PSNR, dB")
    quality.legend(fontsize=7)
    figure.savefig(folder / "curves.png", dpi=110)
    _draw_reconstructions(rows, folder)


def _draw_terms(axes: Any, row: RowResult, folder: Path) -> None:
    """The terms of the loss, held out and in training; two of equal weight have equal values."""
    history = _history(row, folder)
    widths = {"loss": 1.5, "reconstruction": 1.5, "codebook": 4.0, "commitment": 1.5}
    for number, (name, width) in enumerate(widths.items()):
        color = f"C{number}"
        axes.plot(*_points(history, name), color=color, linestyle="--", linewidth=1)
        axes.plot(*_points(history, f"test_{name}"), color=color, linewidth=width, label=name)
    axes.set(yscale="log", xlabel="step", title=f"Loss of {row.label}, held out (training dashed)")
    axes.legend(fontsize=7)


def _draw_reconstructions(rows: Sequence[RowResult], folder: Path) -> None:
    """Held-out samples, then two lines of each row: after the first epoch, and at the end."""
    from matplotlib.figure import Figure

    places = [folder / row.runs[0].folder / OWN for row in rows]
    samples = np.load(places[0] / LAST)[:SHOWN]
    lines = [("held out", samples)]
    for row, place in zip(rows, places, strict=True):
        if (place / FIRST).is_file():
            lines.append((f"{row.label}, one epoch", np.load(place / FIRST)))
        lines.append((f"{row.label}, at the end", np.load(place / LAST)[SHOWN:]))
    figure = Figure(figsize=(9, 0.72 * len(lines)))
    figure.subplots_adjust(left=0.36, right=0.99, top=0.99, bottom=0.01, hspace=0.08)
    for axes, (label, images) in zip(np.ravel(figure.subplots(len(lines), 1)), lines, strict=True):
        axes.imshow(np.concatenate(list(images), 1), interpolation="nearest")
        axes.set_ylabel(label, rotation=0, ha="right", va="center", fontsize=8)
        axes.set(xticks=[], yticks=[])
    figure.savefig(folder / "reconstructions.png", dpi=110)


def _reconstructed(
    model: Any, split: Split, source: DataSource, device: torch.device
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Samples spread over a split, and their reconstructions: bytes (N, H, W, 3)."""
    rows = torch.arange(SHOWN) * len(split) // SHOWN
    (batch,) = split.batches([rows], device)
    low, high = source.value_range

    def pixels(images: torch.Tensor) -> NDArray[np.uint8]:
        scaled = ((images - low) / (high - low)).clamp(0, 1).expand(-1, 3, -1, -1)
        found: NDArray[np.uint8] = (scaled * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
        return found

    return pixels(batch), pixels(model.reconstruct(batch))


def _save(path: Path, images: NDArray[np.uint8]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, images)


def _history(row: RowResult, folder: Path) -> list[dict[str, Any]]:
    return vq.load_run(folder / row.runs[0].folder, "cpu").history


def _points(history: Sequence[Mapping[str, Any]], name: str) -> tuple[list[int], list[float]]:
    """The steps and the values of a metric."""
    lines = [line for line in history if name in line]
    return [line["step"] for line in lines], [line[name] for line in lines]
