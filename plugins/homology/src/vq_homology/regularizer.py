"""The regularizer: how far a cloud's persistent homology is from what is asked of it (HC-VQ, arXiv:2211.14363)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from vq_homology import backends, background_search, clouds
from vq_homology.clouds import Cloud
from vq_homology.points import latents, quantized
from vq_homology.signature import Goal, Signature
from vq_homology.strength import EntropyRatio
from vqcore.interfaces.latent_batch import LatentBatch
from vqcore.interfaces.regularizer import Regularizer

#: Size of a cloud where ``max_points`` leaves it open; a codebook alone is not searched on every step.
DEFAULT_POINTS = {"latents": 256, "quantized": 256, "codebook": 1024}
#: Weight of the past in the running median of lives, per search.
MEDIAN_DECAY = 0.9
#: Codebooks whose pairs are kept; more than that in one step (or a step count that stands still) are searched anew.
MOST_CLOUDS = 256


class Homology(Regularizer):
    """w sum_s weight_s cost_s over statistics s of a cloud of points, by geodesic distance, t_s their targets.

    - ``h0``: mean_k max(0, 1 - s_k / t)^2, s_k = death_k / spread, keeps points apart: deaths are the lengths of the
      minimum spanning tree, spread is the RMS distance to the centroid. ``h0_form="mean"`` takes the mean death.
    - ``h0_entropy``: max(0, t - s), s = E / log(n-1), E the persistent entropy of the deaths: 1 where all are equal.
    - ``h1``: (s - t)^2, s the loops per point, counted softly with a width of half the running median of their lives.
    - ``h1_total``: (s/t - 1)^2, s the loops' total persistence, sum of lives / spread, per point.
    - ``h1_entropy``: max(0, t - s), s = E / log m, E the persistent entropy of the m loops.
    - ``h1_alive``: (s/t - 1)^2, s the loops per point that are alive at distance ``alive_scale`` spread, softly.

    Any subset may be asked for, by weights above 0; scaling the cloud changes none of them. w is 1, or the strength:
    ``entropy-ratio`` is HC-VQ's w = |1 - mean S(Q) / mean S(X)|, the entropies of code usage and of the inputs, each
    as a share of the most it can be and a mean over the last ``period`` of steps.

    The pairs are searched without autograd; then only the chosen edges' lengths are computed with it. Pairs of a
    codebook serve ``refresh`` steps and are kept for each codebook in the order in which a step shows them; they are
    dropped when its shape changes. They are part of the state dict, so a resumed run goes on exactly.

    Where several processes train, all see one cloud, drawn from all of them, and the same term: averaged over the
    ranks, gradients are those of a single process.

    What it does, measured (digits, README.md): H0 on latents raised perplexity on every quantizer tried and costs
    reconstruction; the weight sets the trade. H0 on the codebook, HC-VQ's choice, lowers perplexity a little, and by a
    sixth to a third where dead codes are not replaced: the optimizer drives unused codes away from the latents. H1 did
    nothing beyond chance. A codebook without gradient (EMA) is measured but not moved. The H1 gradient is steep, since
    lives are short against the spread: begin with a weight of 0.001.

    Cost: n^2 distances of a cloud of n points and, on each step for latents, on every ``refresh``-th for a codebook, a
    minimum spanning tree in O(n^2). Statistics of loops add a Vietoris-Rips complex on the shortest ``edge_quantile``
    of the edges, about three times as long as that at n = 512. Pairs are found on the processor. On an accelerator the
    pairs of a codebook are searched on a thread beside the training step and used from the step on which they are
    there; until the first are, the term is 0. Latents are new on each step: no pairs but their own fit them, so the
    host waits for those.

    Args:
        points: ``latents``, tokens of the batch before quantization, drawn at random; ``quantized``, the codes that the
            batch uses, with a gradient straight through to the encoder; or ``codebook``, all codes, with a gradient to
            them. An implicit codebook is taken as ``quantized``.
        gather: latents and quantized latents of all processes, not of each alone.
        h0_target, h0_form, h0_weight, h0_entropy_target, h0_entropy_weight: see above.
        h1_target, h1_weight, h1_total_target, h1_total_weight, h1_entropy_target, h1_entropy_weight: see above.
        h1_alive_target, h1_alive_weight, alive_scale: see above.
        strength: ``constant`` or ``entropy-ratio``; the latter needs the encoder's input.
        period: steps over which the strength's entropies are averaged, and for which it then stays.
        entropy: ``usage``, or ``paper`` for HC-VQ's own formula, which does not see a collapse.
        refresh: steps between searches of a codebook.
        edge_quantile: share of the edges that loops are looked for in, in clouds of more than 128 points.
        max_points: size of the cloud at most.
        backend: library for loops, imported when they are first searched.
        wait: whether a step waits for its search of a codebook: ``always``, ``never``, or by ``auto`` on the processor
            and where torch is told to be deterministic.
        options: weight, every, start.
    """

    def __init__(
        self,
        *,
        points: str = "latents",
        gather: bool = True,
        h0_target: float = 1.0,
        h0_form: str = "each",
        h0_weight: float = 1.0,
        h0_entropy_target: float = 1.0,
        h0_entropy_weight: float = 0.0,
        h1_target: float = 0.5,
        h1_weight: float = 0.0,
        h1_total_target: float = 0.1,
        h1_total_weight: float = 0.0,
        h1_entropy_target: float = 1.0,
        h1_entropy_weight: float = 0.0,
        h1_alive_target: float = 0.3,
        h1_alive_weight: float = 0.0,
        alive_scale: float = 0.5,
        strength: str = "constant",
        period: int = 200,
        entropy: str = "usage",
        refresh: int = 10,
        edge_quantile: float = 0.1,
        max_points: int | None = None,
        backend: str = "auto",
        wait: str = "auto",
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.points, self.gather = points, gather
        self.refresh, self.edge_quantile, self.backend = refresh, edge_quantile, backend
        goals = {
            "h0": Goal(h0_target, h0_weight),
            "h0_entropy": Goal(h0_entropy_target, h0_entropy_weight),
            "h1": Goal(h1_target, h1_weight),
            "h1_total": Goal(h1_total_target, h1_total_weight),
            "h1_entropy": Goal(h1_entropy_target, h1_entropy_weight),
            "h1_alive": Goal(h1_alive_target, h1_alive_weight),
        }
        self.signature = Signature(goals, h0_form=h0_form, alive_scale=alive_scale)
        self.strength = EntropyRatio(period, entropy) if strength == "entropy-ratio" else None
        self.max_points = DEFAULT_POINTS[points] if max_points is None else max_points
        self.wait, self._beside = wait, background_search.Beside()
        self._clouds: dict[int, Cloud] = {}
        self._step: int | None = None
        self._calls = 0

    def forward(self, batch: LatentBatch) -> Tensor:
        """See ``Regularizer.forward``. 0 for fewer than two points; points that are not finite are left out."""
        return _outside_of_graphs(self._evaluate)(batch)

    def _evaluate(self, batch: LatentBatch) -> Tensor:
        with torch.autocast(batch.z.device.type, enabled=False):
            table = self._points_of(batch)
            cloud = self._cloud(table, batch, reuse=table is batch.codebook)
            members = _members(table, cloud.rows.to(table.device))
            edges, filled = cloud.edges.to(table.device), cloud.filled.to(table.device)
            term = self.signature.distance(
                members, batch.manifold, edges, filled, 0.5 * cloud.median
            )
            if self.strength is not None:
                term = term * self.strength(batch)
        return term.to(torch.promote_types(table.dtype, torch.float32))

    def _points_of(self, batch: LatentBatch) -> Tensor:
        """The points (K, A) of this step; eval enters no collective."""
        if self.points == "codebook" and batch.codebook is not None:
            return batch.codebook
        choose = latents if self.points == "latents" else quantized
        return choose(batch, self.max_points, gather=self.gather and self.training)

    def _cloud(self, table: Tensor, batch: LatentBatch, *, reuse: bool) -> Cloud:
        """The pairs of this call's codebook: those kept if they serve, else newly searched, here or beside."""
        self._calls = self._calls + 1 if batch.step == self._step else 0
        self._step = batch.step
        kept = self._clouds.get(self._calls)
        if reuse and kept is not None and kept.serves(table, batch.step, self.refresh):
            return kept
        waits = (
            not reuse
            or self._calls >= MOST_CLOUDS
            or background_search.waits(self.wait, table.device)
        )
        backend = (
            backends.get(self.backend, beside=not waits) if self.signature.needs_loops else None
        )
        search = clouds.search if waits else partial(self._beside.search, self._calls)
        cloud = search(
            table,
            batch.manifold,
            step=batch.step,
            limit=self.max_points,
            backend=backend,
            edge_quantile=self.edge_quantile,
        )
        if cloud is None:  # not there yet
            return (
                kept
                if kept is not None and kept.fits(table, batch.step)
                else clouds.empty(table, batch.step)
            )
        cloud = replace(cloud, median=_running(kept.median if kept else 0.0, cloud.median))
        if self._calls < MOST_CLOUDS:
            self._clouds[self._calls] = cloud
        return cloud

    def get_extra_state(self) -> Tensor:
        """The pairs in use and the running medians, as a vector that safetensors can hold."""
        return clouds.pack(self._clouds)

    def set_extra_state(self, state: Tensor) -> None:
        """Restore what ``get_extra_state`` gave."""
        self._clouds, self._step = clouds.unpack(state), None
        self._beside.forget()


def _members(table: Tensor, rows: Tensor) -> Tensor:
    """The points (n, A) of a cloud; the first finite one in place of those that have ceased to be finite since."""
    points = clouds.in_full_precision(table).index_select(0, rows)
    finite = torch.isfinite(points).all(1)
    places = torch.arange(len(rows), device=rows.device)
    first = torch.where(finite, places, len(rows)).amin() if len(rows) else 0
    return points.index_select(
        0, torch.where(finite, places, first).clamp(max=max(len(rows) - 1, 0))
    )


def _running(past: float, new: float) -> float:
    if past == 0 or new == 0:  # no loops yet, or none this time
        return past or new
    return MEDIAN_DECAY * past + (1 - MEDIAN_DECAY) * new


def _outside_of_graphs(
    function: Callable[[LatentBatch], Tensor],
) -> Callable[[LatentBatch], Tensor]:
    """The function, run as it is also under torch.compile, which would unroll the search. A no-op elsewhere."""
    return torch.compiler.disable(function) if torch.compiler.is_compiling() else function
