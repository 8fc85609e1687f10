"""Whether a tensor can be samples of a model, said in the model's words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from vqcore.errors import SettingError
from vqcore.interfaces.backbone import Backbone, LevelBackbone

_HALF = (torch.bfloat16, torch.float16)


def as_samples(
    x: Any, backbone: Backbone, shape: tuple[int, ...] | None, kind: torch.dtype
) -> Tensor:
    """x for a model of type ``kind``: float32, as data sets serve, becomes float64 where that is.

    Refused is what the backbone would fail on, or whose edges it would lose. Samples have the shape
    that the model was built for. A backbone of convolutions takes other sides, too, where its
    strides divide them.

    Raises:
        SettingError: if x is no tensor of floats of the model's type, or of another shape.
    """
    if not isinstance(x, Tensor) or not x.is_floating_point():
        found = str(x.dtype) if isinstance(x, Tensor) else type(x).__name__
        raise SettingError("samples", found, "a tensor of floats in the range of the data")
    if (x.dtype, kind) == (torch.float32, torch.float64):
        x = x.double()
    _check_type(x, kind)
    if shape is None or tuple(x.shape[1:]) == shape:
        return x
    channels, *sides = shape
    if not backbone.channel_first or x.ndim != 1 + len(shape) or x.shape[1] != channels:
        expected = ", ".join(map(str, ("B", *shape)))
        last = x.ndim == 1 + len(shape) and x.shape[-1] == channels
        fix = "put the channels first: samples.movedim(-1, 1)" if last and sides else ""
        raise SettingError("samples", tuple(x.shape), f"the shape ({expected})", fix)
    _check_sides(tuple(x.shape), strides(backbone, tuple(sides)))
    return x


def strides(backbone: Backbone, sides: tuple[int, ...]) -> tuple[int, ...]:
    """How many values of each side one position of the coarsest latents stands for; 1 if unknown.

    ``sides`` are those that the backbone was built for.
    """
    positions = backbone.latent_shape
    if isinstance(backbone, LevelBackbone):
        positions = backbone.latent_shapes[0]
    if len(positions) != len(sides):
        return (1,) * len(sides)
    return tuple(
        1 if side % count else side // count for side, count in zip(sides, positions, strict=True)
    )


def _check_sides(shape: tuple[int, ...], steps: tuple[int, ...]) -> None:
    if all(side and side % step == 0 for side, step in zip(shape[2:], steps, strict=True)):
        return
    factor = str(steps[0]) if len(set(steps)) == 1 else _by(steps)
    expected = f"sides divisible by {factor}, the strides of the network"
    fix = f"resize or pad them to {nearest_sides(shape[2:], steps)}"
    raise SettingError("samples", shape, expected, fix)


def nearest_sides(sides: Sequence[int], steps: Sequence[int]) -> str:
    """The next smaller and larger sides that these steps divide, as in ``96 x 64 or 104 x 64``."""
    smaller = [side // step * step for side, step in zip(sides, steps, strict=True)]
    larger = [max(-(-side // step), 1) * step for side, step in zip(sides, steps, strict=True)]
    return " or ".join(_by(each) for each in (smaller, larger) if all(each))


def _check_type(x: Tensor, kind: torch.dtype) -> None:
    if x.dtype == kind:
        return
    mixed = torch.is_autocast_enabled(x.device.type) and torch.float64 not in (kind, x.dtype)
    # a module in half precision may convert what a data set serves
    if mixed or (x.dtype == torch.float32 and kind in _HALF):
        return
    fix = f"convert them: samples.to({kind})"
    raise SettingError("samples", str(x.dtype), f"{kind}, as the model's parameters", fix)


def _by(sizes: Sequence[int]) -> str:
    return " x ".join(map(str, sizes))
