"""How well the embeddings of nodes follow their tree (Hyperbolic VQ-VAE, table 3)."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from vq.data.tree import Tree
from vq.models.autoencoder import VQModel
from vq.models.bottlenecks.hierarchical import HierarchicalBottleneck
from vq.models.eval_mode import eval_mode
from vqcore.interfaces.dataset import DataSource, Split
from vqcore.interfaces.manifold import Manifold
from vqcore.layer import VectorQuantizer

#: Nodes that are compared, at most; of more, evenly spaced ones.
MOST = 2048
#: Draws of noise; the score of noisy nodes is their mean.
DRAWS = 5
#: Distances that are computed at a time.
_AT_A_TIME = 2**20


def tree_of(source: DataSource, split: Split, model: VQModel) -> Tree | None:
    """The tree whose nodes are a split's samples, or the tokens of its only sample; else None.

    A split whose samples show other nodes says which by its attribute ``nodes``.
    """
    tree: Tree | None = getattr(source, "tree", None)
    if tree is None or hasattr(split, "nodes"):
        return None
    if isinstance(model.bottleneck, HierarchicalBottleneck):
        return None
    (positions,) = model.latent_shapes
    tokens = math.prod(positions) if len(split) == 1 else 0
    return tree if len(tree) in (len(split), tokens) else None


@torch.no_grad()
def tree_metrics(
    model: VQModel, source: DataSource, split: Split, batch_size: int, device: torch.device
) -> dict[str, Any]:
    """The scores of a model whose data set has a tree, of quantized embeddings; else nothing.

    Returns:
        Those of ``embedding_scores``, each after ``tree_``. With codes, ``tree_codes``: how many
        different codes, or combinations of them, the nodes have; and ``tree_correlation_latents``,
        of the embeddings before quantization. With a ``noisy_nodes`` of the data set,
        ``tree_correlation_noisy``: the mean over ``DRAWS`` draws of noise.
    """
    tree = tree_of(source, split, model)
    if tree is None:
        return {}
    manifold = model.bottleneck.manifold

    def embedded(nodes: Split) -> tuple[Tensor, Tensor, Tensor]:
        return _embedded(model, nodes, len(tree), batch_size, device)

    with eval_mode(model):
        quantized, latents, indices = embedded(split)
        found = embedding_scores(quantized, manifold, tree)
        scores: dict[str, Any] = {f"tree_{name}": score for name, score in found.items()}
        if model.has_codes:
            scores["tree_correlation_latents"] = correlation(latents, manifold, tree)
            scores["tree_codes"] = len(indices.unique(dim=0))
        if noisy_nodes := getattr(source, "noisy_nodes", None):
            draws = [embedded(noisy_nodes(draw))[0] for draw in range(DRAWS)]
            noisy = sum(correlation(each, manifold, tree) for each in draws)
            scores["tree_correlation_noisy"] = noisy / DRAWS
    return scores


def embedding_scores(embeddings: Tensor, manifold: Manifold, tree: Tree) -> dict[str, float]:
    """What embeddings say of the tree.

    Args:
        embeddings: tangent vectors (n, ..., d); several of a node are a point in a product space.
        manifold: whose tangent vectors they are.
        tree: its n nodes, in this order.

    Returns:
        ``correlation``: Pearson's, over all pairs of nodes, of their distances t in the tree and d
        in the space. ``radius_level``: Spearman's, of the distance from the origin and the level.
        ``distortion``: the mean of |s d - t| / t over the pairs, with the scale s that makes the
        mean of its squares least. A correlation with what is constant counts as 0. And those of
        ``ancestor_ranks``.
    """
    nodes = compared_nodes(tree)
    edges, points = _pairs(tree, nodes), _points(embeddings, manifold, nodes)
    origin = manifold.expmap0(points.new_zeros(1, points.shape[1], embeddings.shape[-1]))
    between, radius = _between(points, manifold), product_distance(points, origin, manifold).cpu()
    distances = between[_upper(nodes)]
    return {
        "correlation": pearson(edges, distances),
        "radius_level": pearson(_ranks(radius[:, 0]), _ranks(tree.levels[nodes])),
        "distortion": _distortion(edges, distances),
        **ancestor_ranks(between, tree.ancestors[nodes][:, nodes]),
    }


def ancestor_ranks(distances: Tensor, ancestors: Tensor) -> dict[str, float]:
    """Whether the nearest nodes are a node's ancestors (Nickel and Kiela 2017, arXiv:1705.08039).

    Args:
        distances: (n, n) float64; equal ones are in random order, of which the results are means.
        ancestors: bool (n, n): whether node j is an ancestor of node i, at [i, j].

    Returns:
        ``map``: the mean over all nodes with ancestors of the average precision with which the
        other nodes, nearest first, are ancestors. ``mean_rank``: the mean over all pairs of a node
        and an ancestor of the ancestor's place among it and all that are none.
    """
    chosen = ancestors.any(1)
    if not chosen.any():
        return {"map": 0.0, "mean_rank": 0.0}
    itself = torch.eye(len(distances), dtype=torch.bool)
    distances = distances.masked_fill(itself, math.inf)[chosen]
    # Rounded, so that nodes in one place are: what computes distances may differ in the last digit.
    unit = 1e-9 * distances[distances.isfinite()].max()
    distances, order = (distances / torch.where(unit > 0, unit, 1)).round().sort(1)
    found = ancestors[chosen].gather(1, order).double()
    # Of the nodes as near as each: where they begin, how many they are, and how many are ancestors.
    begin = torch.searchsorted(distances, distances, right=False)
    end = torch.searchsorted(distances, distances, right=True)
    upto = F.pad(found.cumsum(1), (1, 0))
    before = upto.gather(1, begin)
    tied, hits = end - begin, upto.gather(1, end) - before
    place = torch.arange(distances.shape[1]).expand_as(order)
    others = (place - begin) * (hits - 1) / (tied - 1).clamp(min=1)
    precision = hits / tied * (before + 1 + others) / (place + 1)
    wrong = begin - before + (tied - hits) / 2
    return {
        "map": float((precision.sum(1) / found.sum(1)).mean()),
        "mean_rank": 1 + float((found * wrong).sum() / found.sum()),
    }


def correlation(embeddings: Tensor, manifold: Manifold, tree: Tree) -> float:
    """The first of ``embedding_scores``."""
    nodes = compared_nodes(tree)
    between = _between(_points(embeddings, manifold, nodes), manifold)
    return pearson(_pairs(tree, nodes), between[_upper(nodes)])


def compared_nodes(tree: Tree) -> Tensor:
    """The nodes that are compared, at most ``MOST``."""
    count = min(len(tree), MOST)
    return torch.arange(count) * len(tree) // count


def _points(embeddings: Tensor, manifold: Manifold, nodes: Tensor) -> Tensor:
    """The points (n, F, A) of some nodes."""
    tangents = embeddings[nodes.to(embeddings.device)].double()
    return manifold.expmap0(tangents.reshape(len(nodes), -1, tangents.shape[-1]))


def _between(points: Tensor, manifold: Manifold) -> Tensor:
    """The distances (n, n) of points (n, F, A)."""
    rows = points.split(max(1, _AT_A_TIME // (len(points) * points.shape[1])))
    return torch.cat([product_distance(each, points, manifold).cpu() for each in rows])


def _pairs(tree: Tree, nodes: Tensor) -> Tensor:
    """The distances in the tree of all pairs of nodes."""
    first, second = _upper(nodes)
    return tree.distance(nodes[first], nodes[second]).double()


def _upper(nodes: Tensor) -> tuple[Tensor, Tensor]:
    """Each pair of nodes once, by their places."""
    first, second = torch.triu_indices(len(nodes), len(nodes), 1)
    return first, second


def product_distance(x: Tensor, y: Tensor, manifold: Manifold) -> Tensor:
    """Distances (N, M) of points x (N, F, A) and y (M, F, A) in a product of F spaces."""
    return manifold.squared_dist(x.unsqueeze(1), y.unsqueeze(0)).sum(-1).sqrt()


def pearson(x: Tensor, y: Tensor) -> float:
    """Pearson's correlation of two vectors, in float64; 0 if one is constant or empty."""
    if not len(x) or x.min() == x.max() or y.min() == y.max():
        return 0.0
    return float(torch.corrcoef(torch.stack([x.double(), y.double()]))[0, 1])


def _ranks(x: Tensor) -> Tensor:
    """The ranks of numbers, up to a constant: equal numbers share the mean of theirs."""
    _, place, counts = x.unique(return_inverse=True, return_counts=True)
    return (counts.cumsum(0) - counts / 2)[place]


def _distortion(edges: Tensor, distances: Tensor) -> float:
    ratio = distances / edges
    squares = ratio.square().sum()
    scale = ratio.sum() / torch.where(squares > 0, squares, 1)
    return float((scale * ratio - 1).abs().mean()) if len(ratio) else 0.0


def _embedded(
    model: VQModel, split: Split, nodes: int, batch_size: int, device: torch.device
) -> tuple[Tensor, Tensor, Tensor]:
    """Of each node the quantized and the plain embedding, (n, F, d), and the indices (n, I)."""
    layer: Any = model.bottleneck
    factors = layer.quantizer.factors if isinstance(layer, VectorQuantizer) else 1
    parts = []
    for batch in split.batches(torch.arange(len(split)).split(batch_size), device):
        z = model.latents(batch)
        result = layer.inspect(z)
        plain = layer.tangent(z) if isinstance(layer, VectorQuantizer) else result.z_q
        vectors = [each.unflatten(-1, (factors, -1)) for each in (result.z_q, plain)]
        parts.append((*vectors, result.indices))
    quantized, plain, indices = (torch.cat(each) for each in zip(*parts, strict=True))
    places = (each.reshape(nodes, -1, each.shape[-1]) for each in (quantized, plain))
    return (*places, indices.reshape(nodes, -1))  # type: ignore[return-value]  # of three
