"""What a run's homology was on each log step, kept as homology.jsonl in the run folder."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vq_homology import backends, clouds, persistence
from vqcore.interfaces.manifold import Manifold

FILE = "homology.jsonl"
#: Points of a cloud at most, evenly spaced: enough to see its shape, and milliseconds to search.
POINTS = 256


@torch.no_grad()
def observe(run: Any, batch: Tensor) -> dict[str, Any]:
    """The diagrams of the first codebook and of the batch's latents on it, as a line of the record.

    An implicit codebook has none. Lengths are in units of the cloud's root mean square distance to its centroid.
    Always by gudhi (MIT), whatever the regularizer's backend is.
    """
    bottleneck = run.model.bottleneck
    use = bottleneck.inspect(run.model.backbone.encode(batch)).assignments[0]
    latents = bottleneck.manifold.expmap0(use.z[use.mask])
    found = (
        {"latents": latents}
        if use.codebook is None
        else {"latents": latents, "codebook": use.codebook}
    )
    return {
        "step": run.step,
        **{name: diagram(points, bottleneck.manifold) for name, points in found.items()},
    }


def diagram(points: Tensor, manifold: Manifold) -> dict[str, Any]:
    """Deaths of H0, (birth, death) of H1 and the persistent entropy of H0, of at most 256 of the points (n, A)."""
    points = points[torch.isfinite(points).all(1)].detach().double()
    if len(points) > POINTS:
        points = points[torch.linspace(0, len(points) - 1, POINTS).long()]
    if len(points) < 2:
        return {"h0": [], "h1": [], "entropy": 0.0}
    distances = clouds.distance_matrix(points, manifold).cpu().numpy()
    centroid = manifold.from_ambient(manifold.to_ambient(points).mean(0))
    scale = max(float(manifold.squared_dist(points, centroid).mean().sqrt()), 1e-12)
    pairs = persistence.search(distances, backends.get("gudhi"))
    edges = (pairs.tree, pairs.births, pairs.deaths)
    h0, births, deaths = (distances[edge[:, 0], edge[:, 1]] / scale for edge in edges)
    kept = deaths > births
    loops = np.stack([births[kept], deaths[kept]], 1)
    return {"h0": h0.round(6).tolist(), "h1": loops.round(6).tolist(), "entropy": _entropy(h0)}


def figures(line: dict[str, Any]) -> dict[str, float]:
    """The numbers of a line that metrics.jsonl repeats: mean H0 death, total life of loops, persistent entropy."""
    found = {}
    for name in ("codebook", "latents"):
        if name in line:
            h0, h1 = line[name]["h0"], line[name]["h1"]
            found[f"{name}_h0"] = sum(h0) / max(len(h0), 1)
            found[f"{name}_h1"] = sum(death - birth for birth, death in h1)
            found[f"{name}_persistent_entropy"] = line[name]["entropy"]
    return found


def append(folder: Path, line: dict[str, Any]) -> None:
    """Add a line to the record."""
    with (folder / FILE).open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def read(folder: Path) -> list[dict[str, Any]]:
    """The lines of the record; none where there is no record. What a crash left of a last line is passed over."""
    if not (folder / FILE).exists():
        return []
    return list(_parsed((folder / FILE).read_text(encoding="utf-8").splitlines()))


def rewind(folder: Path, step: int) -> None:
    """Forget what comes after ``step``: a resumed run writes it anew."""
    if (folder / FILE).exists():
        kept = [line for line in read(folder) if line["step"] <= step]
        (folder / FILE).write_text(
            "".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8"
        )


def _parsed(lines: Iterable[str]) -> Iterable[dict[str, Any]]:
    for text in lines:
        try:
            yield json.loads(text)
        except json.JSONDecodeError:
            continue


def _entropy(lives: np.ndarray) -> float:
    """-sum p log p of the shares p of the lives (HC-VQ's persistent entropy)."""
    share = lives[lives > 0] / max(lives.sum(), 1e-300)
    return float(-(share * np.log(share)).sum())
