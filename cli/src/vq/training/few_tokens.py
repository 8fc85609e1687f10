"""A notice for runs whose tokens are few, or stand for many values each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from vq.models.autoencoder import VQModel

#: The notice is given from this factor f on, by which the sides of a picture shrink, and below this
#: number of tokens a sample.
LARGE_FACTOR, FEW_TOKENS = 16, 64


def few_tokens(model: VQModel, shape: tuple[int, ...], options: Any) -> str | None:
    """The notice for a model whose samples (C, *sides) have few tokens for their size, if they do.

    Args:
        model: the model of the run.
        shape: of a sample. Of vectors, which have no sides, nothing is said.
        options: of the backbone; the one that makes more tokens is named.
    """
    if not model.has_codes or len(shape) == 1:
        return None
    tokens, positions, sides = math.prod(model.index_shape), model.latent_shapes[-1], shape[1:]
    factor = _factor(sides, positions)
    if tokens >= FEW_TOKENS and not _is_large(factor, sides):
        return None
    laid = _by(positions) + (f", f = {factor}" if factor else "")
    fewer = f", fewer than {FEW_TOKENS}," if tokens < FEW_TOKENS else ""
    more = _more(options, sides, factor)
    return f"{tokens} tokens a sample ({laid}){fewer} keep little detail{more}"


def _factor(sides: Sequence[int], positions: Sequence[int]) -> int:
    """By how much the sides of the plane shrink; 0 if tokens do not lie as values do."""
    if len(sides) != len(positions):
        return 0
    return max(side // each for side, each in zip(sides[-2:], positions[-2:], strict=True))


def _is_large(factor: int, sides: Sequence[int]) -> bool:
    """Whether f is large for a picture; for a signal, which has one side, hundreds are usual."""
    return len(sides) > 1 and factor >= LARGE_FACTOR


def _more(options: Any, sides: Sequence[int], factor: int) -> str:
    """The option that makes more tokens, with the largest value that needs no notice."""
    names = type(options).model_fields if options is not None else {}
    if getattr(options, "tokens", None):
        return f"; --set backbone.tokens={FEW_TOKENS} makes more"
    if "multipliers" in names:
        return "; fewer backbone.multipliers make more"
    while (factor := factor // 2) > 1:
        grid = [side // factor for side in sides[-2:]]
        if math.prod(grid) >= FEW_TOKENS and not _is_large(factor, sides):
            values = {"downsamplings": factor.bit_length() - 1, "patch_size": factor}
            name = next((each for each in values if each in names), None)
            return f"; --set backbone.{name}={values[name]} makes {_by(grid)}" if name else ""
    return ""


def _by(sides: Sequence[int]) -> str:
    return " x ".join(map(str, sides)) or "1"
