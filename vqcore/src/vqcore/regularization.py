"""The regularizers of a layer: which of them act on a step, and their terms of its loss."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from vqcore.errors import UsageError
from vqcore.interfaces.latent_batch import LatentBatch
from vqcore.interfaces.quantizer import Quantized, mean_of
from vqcore.numerics.stable import without_autocast


def acting(regularizers: nn.ModuleDict, step: int) -> tuple[str, ...]:
    """The names of the regularizers that act on training step ``step``."""
    modules: Any = regularizers.items()
    return tuple(name for name, module in modules if module.acts_on(step))


def unrecordable(regularizers: nn.ModuleDict) -> tuple[str, ...]:
    """The names of those whose steps cannot be replayed from a CUDA graph."""
    modules: Any = regularizers.items()
    return tuple(name for name, one in modules if one.weight and not one.recordable)


def weighted_terms(
    regularizers: nn.ModuleDict, names: tuple[str, ...], batch: LatentBatch, result: Quantized
) -> dict[str, Tensor]:
    """The weighted terms of the named regularizers; of scope ``codebook``, means over codebooks.

    Raises:
        UsageError: if a loss of the quantizer has the name of one.
    """
    terms = {}
    with without_autocast(batch.z.device.type):  # half precision cannot tell distances apart
        for name in names:
            module: Any = regularizers[name]
            seen = [batch]
            if module.scope == "codebook":
                seen = [batch.of_codebook(each) for each in result.assignments]
            terms[name] = module.weight * mean_of([module(one) for one in seen])
    if result.losses.keys() & terms.keys():
        both = ", ".join(result.losses.keys() & terms.keys())
        raise UsageError(f"regularizers: {both}: a loss of the quantizer has the same name")
    return terms
