"""The regularizer ``homology`` (HC-VQ, arXiv:2211.14363)."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from vq_homology import backends, pair_search, spanning_tree
from vq_homology.background_search import BackgroundSearch, must_wait
from vq_homology.entropy_ratio import EntropyRatio
from vq_homology.homology_config import HomologyConfig
from vq_homology.pair_search import SearchOptions, SearchResult
from vq_homology.point_clouds import sample_latents, sample_used_codes
from vq_homology.statistics import Cloud, spanned_cloud, whole_cloud
from vq_homology.targets import STATISTICS, Target, TargetCost
from vqcore.interfaces.latent_batch import LatentBatch
from vqcore.interfaces.manifold import Manifold
from vqcore.interfaces.regularizer import Regularizer

#: Default ``max_points``; a codebook alone is not searched on every step.
DEFAULT_MAX_POINTS = {"latents": 256, "quantized": 256, "codebook": 1024}
#: Decay of the running median lifetime, per search.
MEDIAN_DECAY = 0.9
#: Codebooks whose pairs are kept; any more in one step are searched each time.
MAX_CODEBOOKS = 256


class Homology(Regularizer):
    """w sum_s weight_s cost_s over statistics s of a persistence diagram, with targets t.

    - ``h0``: mean_k max(0, 1 - s_k / t)^2, s_k = death_k / spread. Deaths are the edge lengths of
      the minimum spanning tree; spread is the RMS distance to the centroid.
      ``h0_form="mean"`` takes the mean death.
    - ``h0_entropy``: max(0, t - s), s = E / log(n-1), E the persistent entropy of the deaths.
    - ``h1``: (s - t)^2, s the soft count of loops per point, its width half the running median
      of their lifetimes.
    - ``h1_total``: (s/t - 1)^2, s the sum of the loops' lifetimes / spread, per point.
    - ``h1_entropy``: max(0, t - s), s = E / log m, E the persistent entropy of the m loops.
    - ``h1_alive``: (s/t - 1)^2, s the smoothed number of loops per point that are alive at distance
      ``alive_scale`` spread.

    Distances are geodesic, and scaling the cloud changes no statistic. w is 1, or with
    ``strength="entropy-ratio"`` |1 - mean S(Q) / mean S(X)| of the entropies of codes and inputs.
    Gradients flow through the lengths of the pairs' edges; codes without gradient (EMA) do not
    move. In distributed training the ranks share one cloud, and their averaged gradients are those
    of a single process.

    Cost: n^2 distances of n points and a minimum spanning tree in O(n^2), on each step for latents
    and on every ``refresh``-th for a codebook; for loops also a Vietoris-Rips complex on the
    shortest ``edge_quantile`` of the edges. On a GPU one kernel finds the tree of latents, and no
    step waits for it. Other pairs are found on the CPU: the host waits for loops of latents, and a
    thread searches a codebook, whose term is 0 until the first pairs are found.

    Args:
        options: the fields of ``HomologyConfig``.
    """

    computes_on_host = True

    def __init__(self, **options: Any) -> None:
        self.config = config = HomologyConfig(**options)
        super().__init__(weight=config.weight, every=config.every, start=config.start)
        targets = {
            name: Target(getattr(config, f"{name}_target"), getattr(config, f"{name}_weight"))
            for name in STATISTICS
        }
        self.cost = TargetCost(targets, h0_form=config.h0_form, alive_scale=config.alive_scale)
        is_constant = config.strength == "constant"
        self.strength = None if is_constant else EntropyRatio(config.period, config.entropy)
        self.max_points = config.max_points or DEFAULT_MAX_POINTS[config.points]
        self._background = BackgroundSearch()
        self._results: dict[int, SearchResult] = {}
        self._step: int | None = None
        self._codebook = 0

    @property
    def recordable(self) -> bool:  # type: ignore[override]  # follows from the options
        """See ``Regularizer``: where all pairs are found on the device."""
        is_sampled = self.config.points != "codebook"
        return is_sampled and not self.cost.needs_loops and self.strength is None

    def forward(self, batch: LatentBatch) -> Tensor:
        """See ``Regularizer.forward``. 0 for fewer than two points; only finite points count."""
        evaluate = self._evaluate
        if torch.compiler.is_compiling():  # which would trace into the search
            evaluate = torch.compiler.disable(evaluate)
        return evaluate(batch)

    def _evaluate(self, batch: LatentBatch) -> Tensor:
        with torch.autocast(batch.z.device.type, enabled=False):
            points, kept = self._points(batch)
            if self.cost.needs_loops or kept is None:
                cloud, width = self._searched(points, kept, batch)
            else:
                cloud, width = _spanned(points, kept, batch.manifold), 0.0
            term = self.cost(cloud, batch.manifold, width)
            if self.strength is not None:
                term = term * self.strength(batch)
        return term.to(torch.promote_types(batch.z.dtype, torch.float32))

    def _points(self, batch: LatentBatch) -> tuple[Tensor, Tensor | None]:
        """The points (K, A) of this step; of a sample also which count, (K,) bool.

        Eval enters no collective.
        """
        if self.config.points == "codebook" and batch.codebook is not None:
            return batch.codebook, None
        sample = sample_latents if self.config.points == "latents" else sample_used_codes
        return sample(batch, self.max_points, gather=self.config.gather and self.training)

    def _searched(
        self, table: Tensor, kept: Tensor | None, batch: LatentBatch
    ) -> tuple[Cloud, float]:
        """The cloud with the pairs that a search on the host found, and the width of the count."""
        found = self._pairs(table, kept, batch).to(table.device)
        members = _members(table, found.rows)
        return whole_cloud(members, found.edges, found.filled), 0.5 * found.median_lifetime

    def _pairs(self, table: Tensor, kept: Tensor | None, batch: LatentBatch) -> SearchResult:
        """The pairs of this call's codebook, identified by its order among those of the step."""
        self._codebook = self._codebook + 1 if batch.step == self._step else 0
        self._step = batch.step
        last = self._results.get(self._codebook)
        is_codebook = kept is None
        if is_codebook and last and last.is_fresh(table, batch.step, self.config.refresh):
            return last
        found = self._search(table, kept, batch)
        if found is None:  # the background search is not done
            if last is not None and last.fits(table, batch.step):
                return last
            return pair_search.empty(table, batch.step)
        if last and last.median_lifetime > 0:
            median = last.median_lifetime
            if found.median_lifetime > 0:  # a cloud without loops does not change it
                median = MEDIAN_DECAY * median + (1 - MEDIAN_DECAY) * found.median_lifetime
            found = replace(found, median_lifetime=median)
        if self._codebook < MAX_CODEBOOKS:
            self._results[self._codebook] = found
        return found

    def _search(
        self, table: Tensor, kept: Tensor | None, batch: LatentBatch
    ) -> SearchResult | None:
        """Search here, or in the background, where the result is None until it is there."""
        in_background = (
            kept is None
            and self._codebook < MAX_CODEBOOKS
            and not must_wait(self.config.wait, table.device)
        )
        backend = None
        if self.cost.needs_loops:
            backend = backends.get(self.config.backend, in_background=in_background)
        options = SearchOptions(self.max_points, backend, self.config.edge_quantile)
        if in_background:
            return self._background.search(
                self._codebook, table, batch.manifold, batch.step, options
            )
        return pair_search.search(table, batch.manifold, batch.step, options, kept)

    def get_extra_state(self) -> Tensor:
        """The pairs in use and the running medians, as a vector that safetensors can hold."""
        return pair_search.pack(self._results)

    def set_extra_state(self, state: Tensor) -> None:
        """Restore the state that ``get_extra_state`` returned."""
        self._results = pair_search.unpack(state)
        self._step = None
        self._background = BackgroundSearch()  # without the searches of the other state


def _spanned(points: Tensor, kept: Tensor, manifold: Manifold) -> Cloud:
    """The cloud of the ``kept`` (n,) points (n, A) with its spanning tree; the host never waits."""
    points = pair_search.to_full_precision(points)
    with torch.no_grad():
        kept = kept & _finite(points)
        # one that is not finite would spoil a product
        order = manifold.pairwise_order(points.nan_to_num(0, 0, 0))
    return spanned_cloud(points, *spanning_tree.find(order, kept))


def _members(table: Tensor, rows: Tensor) -> Tensor:
    """The cloud's points (n, A); the first finite one replaces those not finite any more."""
    points = pair_search.to_full_precision(table)
    if not len(rows):
        return points[:0]
    finite = _finite(points).index_select(0, rows)
    first = rows.index_select(0, finite.int().argmax(0, keepdim=True))
    return points.index_select(0, torch.where(finite, rows, first))


def _finite(points: Tensor) -> Tensor:
    """Which of points (n, A) are finite, (n,) bool."""
    return torch.linalg.vector_norm(points.detach(), math.inf, 1) < math.inf
