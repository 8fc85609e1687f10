"""The cloud that a step measures, the search for its pairs, and what is remembered of it until the next search."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from vq_homology import persistence
from vq_homology.backends import Backend
from vqcore.interfaces.manifold import Manifold
from vqcore.numerics import counter_rng

#: Numbers held at a time while distances are computed, and rows at least: 0.5 MB comes from memory already mapped
#: (three times as fast as 2 MB at n = 256), and fewer rows cost more in calls than they save. An accelerator wants
#: larger pieces.
TILE_CPU = 64 * 1024
TILE_DEVICE = 32 * 1024 * 1024
LEAST_ROWS = 8
#: Squared distances below this share of a far one are not taken from a matrix product, where they cancel: those above
#: keep 11 digits.
CANCELS = 1e-4
#: Bits that distances are rounded by, of 53: what is equal but for rounding errors is equal, and 12 digits are left.
ROUNDED = 12
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
        return self.fits(points, step) and step - self.step < refresh

    def fits(self, points: Tensor, step: int) -> bool:
        """Whether these pairs are of ``points`` (K, A) as they were on step ``step`` or before."""
        return self.table == tuple(points.shape) and self.step <= step

    def to(self, device: torch.device) -> Cloud:
        """The same with its tensors on ``device``, which nobody waits for."""
        rows, edges, filled = (
            _sent(tensor, device) for tensor in (self.rows, self.edges, self.filled)
        )
        return replace(self, rows=rows, edges=edges, filled=filled)


# -- which points -----------------------------------------------------------


def draw(count: int, limit: int, step: int) -> Tensor:
    """Numbers below ``count`` (at most ``limit``, ascending, none twice): one drawn from each of ``limit`` equal parts.

    The draw depends on the step alone, so it is the same in a resumed run and on every rank.
    """
    if count <= limit:
        return torch.arange(count)
    parts = torch.arange(limit + 1) * count // limit
    return parts[:-1] + (counter_rng.uniform(counter_rng.key_of(step), limit) * parts.diff()).long()


# -- the search -------------------------------------------------------------


def search(
    points: Tensor,
    manifold: Manifold,
    *,
    step: int,
    limit: int,
    backend: Backend | None,
    edge_quantile: float,
) -> Cloud:
    """The pairs of at most ``limit`` of ``points`` (K, A); H1 where a backend is given.

    Points with a coordinate that is not finite are left out. If distances overflow the cloud is empty: the term is 0
    until the next search.
    """
    return solve(pose(points, manifold, step=step, limit=limit), backend, edge_quantile).to(
        points.device
    )


@dataclass(frozen=True)
class Problem:
    """A cloud whose pairs are to be found, on the processor or on its way there.

    Attributes:
        table, step: see ``Cloud``.
        rows: (M,) int64, the points drawn.
        finite: (M,) bool, those of them that take part.
        distances: (M, M), between all of them.
        arrived: when the copy from an accelerator is complete; None where there was none to wait for.
    """

    table: tuple[int, int]
    step: int
    rows: Tensor
    finite: Tensor
    distances: Tensor
    arrived: torch.Event | None


@torch.no_grad()
def pose(points: Tensor, manifold: Manifold, *, step: int, limit: int) -> Problem:
    """Distances of at most ``limit`` of ``points`` (K, A), computed where the points are; nobody waits for them."""
    rows = draw(len(points), limit, step)
    members = in_full_precision(points.detach()).index_select(0, _sent(rows, points.device))
    finite = torch.isfinite(members).all(1)
    if len(
        members
    ):  # in place of the others, which would spoil what is computed of all, one that is finite
        place = torch.where(
            finite, torch.arange(len(finite), device=finite.device), finite.long().argmax()
        )
        members = members.index_select(0, place)
    tensors, arrived = (finite, distance_matrix(members, manifold)), None
    if copies_behind(points.device):
        pinned = [torch.empty_like(tensor, device="cpu", pin_memory=True) for tensor in tensors]
        tensors = tuple(
            to.copy_(tensor, non_blocking=True) for to, tensor in zip(pinned, tensors, strict=True)
        )
        arrived = torch.accelerator.current_stream(points.device).record_event()
    finite, distances = (tensor.cpu() for tensor in tensors)
    return Problem(tuple(points.shape), step, rows, finite, distances, arrived)


def solve(problem: Problem, backend: Backend | None, edge_quantile: float) -> Cloud:
    """The pairs of a problem, found and kept on the processor; waits until it is there. For any thread."""
    if problem.arrived is not None:
        problem.arrived.synchronize()
    kept, rows, distances = (
        problem.finite.numpy(),
        problem.rows[problem.finite],
        problem.distances.double().numpy(),
    )
    distances = distances if kept.all() else distances[np.ix_(kept, kept)]
    if not np.isfinite(distances).all():
        rows, distances = rows[:0], distances[:0, :0]
    pairs = persistence.search(distances, backend, edge_quantile)
    edges = np.concatenate([pairs.tree, pairs.births, pairs.deaths])
    median = _median_life(distances, pairs)
    return Cloud(
        problem.table,
        problem.step,
        median,
        rows,
        torch.from_numpy(edges),
        torch.from_numpy(pairs.filled),
    )


def empty(points: Tensor, step: int) -> Cloud:
    """A cloud that no point of ``points`` (K, A) takes part in."""
    none = torch.empty(0, dtype=torch.int64, device=points.device)
    return Cloud(tuple(points.shape), step, 0.0, none, none.view(0, 2), none.bool())


def copies_behind(device: torch.device) -> bool:
    """Whether the host can go on while memory is copied to or from a device."""
    return device.type in ("cuda", "xpu")


def _sent(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor of the processor on ``device``; a copy of memory that is not pinned would wait for all before it."""
    return (tensor.pin_memory() if copies_behind(device) else tensor).to(device, non_blocking=True)


def in_full_precision(points: Tensor) -> Tensor:
    """Points in float64, in which neither the order of edges nor a length loses digits; float32 where there is none."""
    return points.to(torch.float32 if points.device.type == "mps" else torch.float64)


def distance_matrix(points: Tensor, manifold: Manifold) -> Tensor:
    """All distances (n, n) between points (n, A), symmetric, each computed once, a tile of rows at a time.

    On the processor, in float64, a manifold that has a matrix product for them is asked for that: 4 instead of 27 ms at
    n = 1024, A = 64. Where a product cancels the difference follows.
    """
    n, width = points.shape
    distances = points.new_empty(n, n)
    on_cpu, exact = points.device.type == "cpu", points.dtype == torch.float64
    product = on_cpu and exact and _has_product(manifold)
    rows = max(
        LEAST_ROWS, (TILE_CPU if on_cpu else TILE_DEVICE) // max(1, n if product else n * width)
    )
    for start in range(0, n, rows):
        stop = min(start + rows, n)
        some, others = points[start:stop], points[start:]
        tile = (
            _distances_of_product(some, others, manifold)
            if product
            else manifold.pairwise_dist(some, others)
        )
        tile = _rounded(tile) if exact else tile
        corner = tile[:, : stop - start]
        corner.copy_(torch.maximum(corner, corner.T))  # to the bit: a product is not symmetric
        distances[start:stop, start:] = tile
        distances[stop:, start:stop] = tile[:, stop - start :].T
    return distances


def _has_product(manifold: Manifold) -> bool:
    """Whether squared distances come from a product of the manifold's own: the inherited one holds all differences."""
    return type(manifold).pairwise_squared_dist is not Manifold.pairwise_squared_dist


def _distances_of_product(x: Tensor, y: Tensor, manifold: Manifold) -> Tensor:
    """Distances (N, M) of x (N, A) to y (M, A), which begins with x."""
    squared = manifold.pairwise_squared_dist(x, y)
    near = (
        CANCELS * squared[0].max()
    )  # any point's farthest is at least half as far as the farthest two
    for pairs in (squared <= near).nonzero().split(max(1, TILE_CPU // max(1, x.shape[1]))):
        i, j = pairs.unbind(1)
        squared[i, j] = manifold.squared_dist(x.index_select(0, i), y.index_select(0, j))
    return squared.clamp_(min=0).sqrt_()


def _rounded(distances: Tensor) -> Tensor:
    """Distances in float64, in place, without their last bits: equal ones stand in the order of their points again."""
    bits = distances.view(torch.int64)
    bits.add_(1 << (ROUNDED - 1)).bitwise_and_(-(1 << ROUNDED))
    return distances


def _median_life(distances: np.ndarray, pairs: persistence.Pairs) -> float:
    births, deaths = (distances[edges[:, 0], edges[:, 1]] for edges in (pairs.births, pairs.deaths))
    lives = (deaths - births)[deaths > births]
    return float(np.median(lives)) if len(lives) else 0.0


# -- memory -----------------------------------------------------------------


def pack(clouds: dict[int, Cloud]) -> Tensor:
    """Clouds as one vector of float64, exact for whole numbers: checkpoints and safetensors hold tensors only."""
    parts = [torch.tensor([FORMAT, len(clouds)], dtype=torch.float64)]
    for place, cloud in clouds.items():
        head = [
            place,
            *cloud.table,
            cloud.step,
            cloud.median,
            len(cloud.rows),
            len(cloud.edges),
            len(cloud.filled),
        ]
        parts.append(torch.tensor(head, dtype=torch.float64))
        parts += [
            tensor.flatten().double().cpu() for tensor in (cloud.rows, cloud.edges, cloud.filled)
        ]
    return torch.cat(parts)


def unpack(state: Tensor) -> dict[int, Cloud]:
    """The inverse of ``pack``. A vector of another format gives no cloud: the next step searches anew."""
    version, count = state[:2].tolist()
    clouds: dict[int, Cloud] = {}
    rest = state.double().cpu()[2:]
    for _ in range(int(count) if version == FORMAT else 0):
        place, points, width, step, median, *sizes = rest[:8].tolist()
        rows, edges, loops = (int(size) for size in sizes)
        row, edge, fill, rest = rest[8:].split(
            [rows, 2 * edges, loops, len(rest) - 8 - rows - 2 * edges - loops]
        )
        clouds[int(place)] = Cloud(
            (int(points), int(width)),
            int(step),
            median,
            row.long(),
            edge.long().view(-1, 2),
            fill.bool(),
        )
    return clouds
