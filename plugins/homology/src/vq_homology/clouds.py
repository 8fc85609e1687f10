"""The cloud that a step measures, the search for its pairs, and what is remembered of it until the next search."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vq_homology import persistence
from vq_homology.backends import Backend
from vqcore.manifold import Manifold

#: Coordinates of differences held at a time while distances are computed, and rows at least: 0.5 MB comes from memory
#: already mapped (three times as fast as 2 MB at n = 256), and fewer rows cost more in calls than they save. An
#: accelerator wants larger pieces.
TILE_CPU = 64 * 1024
TILE_DEVICE = 32 * 1024 * 1024
LEAST_ROWS = 8
#: Format of a packed cloud.
FORMAT = 1


@dataclass(frozen=True)
class Cloud:
    """The pairs found in one search.

    Attributes:
        table: shape (K, A) of the points that were there; another one is another cloud.
        step: training step of the search.
        median: running median of the loops' lives, 0 while there were none.
        rows: (n,) int64, the points that took part.
        edges: (n-1 + 2m, 2) int64, places in ``rows``; see ``statistics.measure``.
        filled: (m,) bool; see ``persistence.Pairs``.
    """

    table: tuple[int, int]
    step: int
    median: float
    rows: Tensor
    edges: Tensor
    filled: Tensor

    def serves(self, points: Tensor, step: int, refresh: int) -> bool:
        """Whether these pairs may still be used for ``points`` (K, A) on training step ``step``."""
        return self.table == tuple(points.shape) and 0 <= step - self.step < refresh


# -- which points --------------------------------------------------------------------------------------------------


def draw(count: int, limit: int, step: int) -> Tensor:
    """Numbers below ``count`` (at most ``limit``, ascending, none twice): one drawn from each of ``limit`` equal parts.

    The draw depends on the step alone, so it is the same in a resumed run and on every rank.
    """
    if count <= limit:
        return torch.arange(count)
    offsets = torch.rand(limit, generator=torch.Generator().manual_seed(step), dtype=torch.float64)
    edges = torch.arange(limit + 1) * count // limit
    return edges[:-1] + (offsets * (edges[1:] - edges[:-1])).long()


# -- the search ----------------------------------------------------------------------------------------------------


@torch.no_grad()
def search(
    points: Tensor, manifold: Manifold, *, step: int, limit: int, backend: Backend | None, edge_quantile: float
) -> Cloud:
    """The pairs of at most ``limit`` of ``points`` (K, A); H1 where a backend is given.

    Points with a coordinate that is not finite are left out. If distances overflow the cloud is empty: the term is 0
    until the next search.
    """
    points = in_full_precision(points.detach())
    rows = torch.isfinite(points).all(1).nonzero().squeeze(1)
    rows = rows[draw(len(rows), limit, step).to(rows.device)]
    distances = distance_matrix(points.index_select(0, rows), manifold).double().cpu().numpy()
    if not np.isfinite(distances).all():
        rows, distances = rows[:0], distances[:0, :0]
    pairs = persistence.search(distances, backend, edge_quantile)
    edges = np.concatenate([pairs.tree, pairs.births, pairs.deaths])
    return Cloud(
        table=tuple(points.shape),
        step=step,
        median=_median_life(distances, pairs),
        rows=rows,
        edges=torch.from_numpy(edges).to(rows.device),
        filled=torch.from_numpy(pairs.filled).to(rows.device),
    )


def in_full_precision(points: Tensor) -> Tensor:
    """Points in float64, in which neither the order of edges nor a length loses digits; float32 where there is none."""
    return points.to(torch.float32 if points.device.type == "mps" else torch.float64)


def distance_matrix(points: Tensor, manifold: Manifold) -> Tensor:
    """All distances (n, n) between points (n, A), each computed once, a tile of rows at a time."""
    n, width = points.shape
    distances = points.new_zeros(n, n)
    tile_size = TILE_CPU if points.device.type == "cpu" else TILE_DEVICE
    rows = max(LEAST_ROWS, tile_size // max(1, n * width))
    for start in range(0, n, rows):
        stop = start + rows
        tile = manifold.pairwise_dist(points[start:stop], points[start:])
        distances[start:stop, start:] = tile
        distances[start:, start:stop] = tile.T
    return distances


def _median_life(distances: np.ndarray, pairs: persistence.Pairs) -> float:
    births, deaths = (distances[edges[:, 0], edges[:, 1]] for edges in (pairs.births, pairs.deaths))
    lives = (deaths - births)[deaths > births]
    return float(np.median(lives)) if len(lives) else 0.0


# -- memory --------------------------------------------------------------------------------------------------------


def pack(clouds: dict[int, Cloud]) -> Tensor:
    """Clouds as one vector of float64, exact for whole numbers: checkpoints and safetensors hold tensors only."""
    parts = [torch.tensor([FORMAT, len(clouds)], dtype=torch.float64)]
    for place, cloud in clouds.items():
        head = [place, *cloud.table, cloud.step, cloud.median, len(cloud.rows), len(cloud.edges), len(cloud.filled)]
        parts.append(torch.tensor(head, dtype=torch.float64))
        parts += [tensor.flatten().double().cpu() for tensor in (cloud.rows, cloud.edges, cloud.filled)]
    return torch.cat(parts)


def unpack(state: Tensor) -> dict[int, Cloud]:
    """The inverse of ``pack``. A vector of another format gives no cloud: the next step searches anew."""
    version, count = state[:2].tolist()
    clouds: dict[int, Cloud] = {}
    rest = state.double().cpu()[2:]
    for _ in range(int(count) if version == FORMAT else 0):
        place, points, width, step, median, *sizes = rest[:8].tolist()
        rows, edges, loops = (int(size) for size in sizes)
        row, edge, fill, rest = rest[8:].split([rows, 2 * edges, loops, len(rest) - 8 - rows - 2 * edges - loops])
        clouds[int(place)] = Cloud(
            (int(points), int(width)), int(step), median, row.long(), edge.long().view(-1, 2), fill.bool()
        )
    return clouds
