"""The gradient of a one-hot choice through a softmax over all codes, in tiles."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from vqcore.numerics.explicit_gradient import with_gradient
from vqcore.numerics.stable import without_autocast

#: Probabilities that a tile holds on a CPU, 4 MB in float32, and on an accelerator.
TILE_CPU, TILE = 2**20, 2**24


def _forward(chosen: Tensor, *_: Tensor) -> tuple[Tensor, ...]:
    return (chosen.clone(),)


def _backward(
    gradient: Tensor, inputs: Sequence[Any], kept: Sequence[Tensor], needed: Sequence[bool]
) -> tuple[Any, ...]:
    _, query, keys, codes, sharpness = inputs
    pull = _operator if torch.compiler.is_compiling() else _pull
    pulled = pull(gradient.to(query.dtype), query, keys, codes, sharpness, needed[2])
    return gradient, *pulled, None, None


#: The ``chosen`` codes (N, D) to the bit, with the gradient of sum_k (h_k + p_k - sg p_k) c_k, h
#: one-hot and p = softmax_k(-sharpness query . keys_k), for chosen, query (N, S) and keys (K, S).
#: The codes c (K, D) and the sharpness, a scalar, are constant and in the type of the query.
through_softmax = with_gradient(_forward, _backward)


def _pull(
    gradient: Tensor, query: Tensor, keys: Tensor, codes: Tensor, sharpness: Tensor, for_keys: bool
) -> tuple[Tensor, Tensor]:
    """Gradients for query and keys; that for the keys is 0 unless ``for_keys``.

    With a_k = gradient . c_k, d/d(query . keys_k) = -sharpness p_k (a_k - sum_j p_j a_j).
    """
    rows = max(1, (TILE_CPU if query.device.type == "cpu" else TILE) // len(keys))
    sharp, one = query * -sharpness, torch.ones_like(codes[:, :1])
    to_query, to_keys = [], torch.zeros_like(keys)
    with without_autocast(query.device.type):
        for part, pulled in zip(sharp.split(rows), gradient.split(rows), strict=True):
            soft = torch.softmax(part @ keys.T, 1)
            mean = (pulled * (soft @ codes)).sum(1, keepdim=True)
            # one product gives a_k less its mean
            along = torch.cat([pulled, -mean], 1) @ torch.cat([codes, one], 1).T * soft
            to_query.append(along @ keys)
            if for_keys:
                to_keys = torch.addmm(to_keys, along.T, part)
    return torch.cat(to_query) * -sharpness, to_keys


@torch.library.custom_op("vq_index_backpropagation::pull", mutates_args=())
def _operator(
    gradient: Tensor, query: Tensor, keys: Tensor, codes: Tensor, sharpness: Tensor, for_keys: bool
) -> tuple[Tensor, Tensor]:
    return _pull(gradient, query, keys, codes, sharpness, for_keys)


@_operator.register_fake
def _(gradient: Tensor, query: Tensor, keys: Tensor, *_: Any) -> tuple[Tensor, Tensor]:
    return torch.empty_like(query), torch.empty_like(keys)
