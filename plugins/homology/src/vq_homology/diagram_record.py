"""The persistence diagrams of a run's log steps, as plugins/homology/homology.jsonl of the run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from heapq import nlargest
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from vq_homology import backends, distance_matrix, persistence, statistics
from vqcore.interfaces.manifold import Manifold

if TYPE_CHECKING:
    from vqcore.plugin.protocols import Folder, RunFolder, TrainingRun
    from vqcore.plugin.report_section import Point

FILE = "homology.jsonl"
CLOUDS = ("codebook", "latents")
#: Largest cloud, evenly spaced: enough to see its shape, and milliseconds to search.
MAX_POINTS = 256


@torch.no_grad()
def record_line(run: TrainingRun, batch: Tensor) -> dict[str, Any]:
    """The diagrams of the first codebook, unless it is implicit, and of its latents of the batch.

    Lengths are relative to the cloud's RMS distance to its centroid. The backend is always gudhi.
    """
    model: Any = run.model  # an autoencoder, whose parts nn.Module does not declare
    bottleneck = model.bottleneck
    assignment = bottleneck.inspect(model.latents(batch)).assignments[0]
    manifold = bottleneck.manifold
    latents = manifold.expmap0(assignment.z[assignment.mask])
    line = {"step": run.step, "latents": diagram(latents, manifold)}
    if assignment.codebook is not None:
        line["codebook"] = diagram(assignment.codebook, manifold)
    return line


def diagram(points: Tensor, manifold: Manifold) -> dict[str, Any]:
    """H0 deaths, (birth, death) pairs of H1 and H0's persistent entropy of points (n, A)."""
    points = points[torch.isfinite(points).all(1)].detach().double()
    if len(points) > MAX_POINTS:
        points = points[torch.linspace(0, len(points) - 1, MAX_POINTS).long()]
    if len(points) < 2:
        return {"h0": [], "h1": [], "entropy": 0.0}
    distances = distance_matrix.distance_matrix(points, manifold).cpu().numpy()
    pairs = persistence.search(distances, backends.get("gudhi"))
    edges = np.concatenate([pairs.tree, pairs.births, pairs.deaths])
    found = (torch.from_numpy(each).to(points.device) for each in (edges, pairs.filled))
    measured = statistics.Measurement(statistics.whole_cloud(points, *found), manifold)
    spread, diagram = measured.spread.clamp(min=statistics.SMALLEST), measured.diagram
    h0, births, deaths = (
        (each / spread).cpu().numpy() for each in (diagram.h0, diagram.births, diagram.deaths)
    )
    kept = deaths > births
    loops = np.stack([births[kept], deaths[kept]], 1)
    return {"h0": h0.round(6).tolist(), "h1": loops.round(6).tolist(), "entropy": _entropy(h0)}


def metrics(line: dict[str, Any]) -> dict[str, float]:
    """Mean H0 death, total H1 lifetime and persistent entropy of a line, for metrics.jsonl."""
    found = {}
    for name in CLOUDS:
        if name in line:
            h0 = line[name]["h0"]
            found[f"{name}_h0"] = sum(h0) / max(len(h0), 1)
            found[f"{name}_h1"] = sum(death - birth for birth, death in line[name]["h1"])
            found[f"{name}_persistent_entropy"] = line[name]["entropy"]
    return found


def longest(pairs: Sequence[Point], count: int) -> list[Point]:
    """The ``count`` (birth, death) pairs of the longest lifetimes, in order of birth."""
    return sorted(nlargest(count, pairs, key=_lifetime))


def place(folder: RunFolder) -> Folder:
    """Where the record and the plots of a run are; of a run of version 0.1, its folder itself."""
    return folder if (folder.path / FILE).exists() else folder.plugin("homology")


def append(folder: Folder, line: dict[str, Any]) -> None:
    """Add a line to the record."""
    folder.append(FILE, json.dumps(line) + "\n")


def read(folder: Path, name: str = FILE) -> list[dict[str, Any]]:
    """The lines of a JSONL file, without damaged ones; none if there is no such file."""
    if not (folder / name).is_file():
        return []
    lines = []
    for text in (folder / name).read_bytes().splitlines():
        with suppress(ValueError, RecursionError):
            lines.append(json.loads(text.decode("utf-8")))
    return [line for line in lines if isinstance(line, dict) and isinstance(line.get("step"), int)]


def truncate(folder: Folder, step: int) -> None:
    """Drop the lines after ``step``, which a resumed run writes again."""
    if (folder.path / FILE).exists():
        kept = [json.dumps(line) + "\n" for line in read(folder.path) if line["step"] <= step]
        folder.write(FILE, "".join(kept).encode())


def _lifetime(pair: Point) -> float:
    birth, death = pair
    return death - birth


def _entropy(lifetimes: np.ndarray) -> float:
    """HC-VQ's persistent entropy -sum p log p of the lifetimes' shares p."""
    share = lifetimes[lifetimes > 0] / max(lifetimes.sum(), 1e-300)
    return float(-(share * np.log(share)).sum())
