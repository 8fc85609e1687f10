"""A search by descent in a binary tree over the codes, built anew for each search.

The codes are its leaves. They are halved at the median of the coordinate that varies most, as in a
k-d tree (Bentley 1975, doi:10.1145/361002.361007), until each is alone. A node stands for its
leaves by their centroid, and a point descends to the nearest ones, as in tree-searched vector
quantization (Buzo et al. 1980, doi:10.1109/TASSP.1980.1163445). All sizes follow from K and the
beam: no step waits for a GPU.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from vqcore import Manifold


@torch.no_grad()
def search(x: Tensor, codes: Tensor, manifold: Manifold, beam: int) -> Tensor:
    """The index (N,) int64 of a code (K, A) near each point x (N, A), among about beam log K."""
    depth = (len(codes) - 1).bit_length()
    coordinates = manifold.to_ambient(codes)
    leaves = arranged(coordinates, depth)
    coordinates = coordinates.index_select(0, leaves)
    level = max(min(beam.bit_length(), depth) - 1, 0)  # with no more nodes than the beam is wide
    kept = torch.arange(2**level, device=x.device).expand(x.shape[0], -1)
    while level < depth:
        level += 1
        nodes = codes.index_select(0, leaves)
        if level < depth:
            means = coordinates.view(2**level, -1, coordinates.shape[1]).mean(1)
            nodes = manifold.from_ambient(means).to(codes.dtype)
        children = torch.stack([2 * kept, 2 * kept + 1], -1).flatten(1)
        distances = manifold.squared_dist(x.unsqueeze(1), F.embedding(children, nodes))
        width = min(beam, children.shape[1]) if level < depth else 1
        kept = children.gather(1, distances.topk(width, largest=False, sorted=False).indices)
    return leaves[kept[:, 0]]


def arranged(coordinates: Tensor, depth: int) -> Tensor:
    """The codes (K, M) in the order of the tree's 2^depth leaves; some twice, to fill it."""
    rows = torch.arange(2**depth, device=coordinates.device) % len(coordinates)
    for level in range(depth):
        groups = rows.view(2**level, -1)
        members = coordinates[groups]
        axis = members.var(1).argmax(1)
        along = members.gather(2, axis.view(-1, 1, 1).expand(-1, groups.shape[1], 1)).squeeze(2)
        rows = groups.gather(1, along.argsort(1)).flatten()
    return rows
