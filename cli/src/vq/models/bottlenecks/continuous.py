"""Bottlenecks without codes: their base class and the plain autoencoder."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor, nn

from vq.models.eval_mode import eval_mode
from vqcore.errors import SettingError
from vqcore.interfaces.manifold import Manifold, require_dim
from vqcore.interfaces.output import Output
from vqcore.interfaces.quantizer import Quantized
from vqcore.numerics.indices import Indices
from vqcore.numerics.layouts import channel_first
from vqcore.plugin.component_config import require_total_dim

Decode: TypeAlias = Callable[[Tensor], Tensor]


class ContinuousBottleneck(nn.Module, ABC):
    """A bottleneck of vectors without indices, with the interface of ``VectorQuantizer``.

    Linear maps lead in and out if the backbone's width does not fit.

    Args:
        width: size of the axis of the backbone's latents.
        dim: D of the tangent vectors.
        manifold: whose tangent vectors they are.
        channel_first: the width is axis 1 instead of the last.

    Attributes:
        name: the value of the setting ``bottleneck`` that selects it.
        parts: number of vectors of D in the encoder's output.
    """

    name: str
    parts = 1
    codebook_size = 0
    codebook: None = None
    unrecordable: tuple[str, ...] = ()
    phase = ()

    def __init__(
        self, *, width: int, dim: int, manifold: Manifold, channel_first: bool = False
    ) -> None:
        super().__init__()
        require_dim(manifold, dim)
        require_total_dim(manifold.total_dim, dim)
        self.dim, self.manifold, self.channel_first = dim, manifold, channel_first
        emitted = self.parts * dim
        self.project_in = nn.Identity() if width == emitted else nn.Linear(width, emitted)
        self.project_out = nn.Identity() if width == dim else nn.Linear(dim, width)

    @abstractmethod
    def vectors(self, z: Tensor, values: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Tangent vectors (..., D) of an encoder's output (..., parts D), and losses by name.

        Args:
            z: float32 or float64, width last.
            values: values per sample, by which losses are divided as reconstruction is.
        """

    def forward(
        self, z: Tensor, *, inputs: Tensor | None = None, decode: Decode | None = None
    ) -> Output:
        """The vectors of latents z and their reconstruction; counts, errors and sizes are empty."""
        values = 1 if inputs is None else math.prod(inputs.shape[1:])
        u, losses = self._vectors(z, values)
        quantized = self._write(u, z)
        none = torch.zeros((), dtype=torch.int64, device=z.device)
        return Output(
            quantized=quantized,
            indices=_no_indices(z),
            loss=torch.stack(list(losses.values())).sum() if losses else u.sum() * 0,
            losses=losses,
            counts=none.new_zeros(0, 0),
            error_sums=u.new_zeros(0),
            error_sum=u.new_zeros(()),
            tokens=none,
            bad_tokens=none,
            replaced_codes=none,
            codebook_sizes=(),
            reconstruction=None if decode is None else decode(quantized),
        )

    @torch.no_grad()
    def inspect(self, z: Tensor) -> Quantized:
        """The vectors (..., D) as in eval mode, in the form of ``VectorQuantizer.inspect``."""
        with eval_mode(self):
            u, _ = self._vectors(z, 1)
        return Quantized(u, _no_indices(z), {}, ())

    def encode(self, z: Tensor) -> Tensor:
        """Always a ``SettingError``, since there are no indices."""
        raise no_codes(self.name)

    def decode(self, indices: Indices) -> Tensor:
        """As ``encode``."""
        raise no_codes(self.name)

    def update(self, optimizer: torch.optim.Optimizer | None = None) -> None:
        """Does nothing: there are no codes."""

    def replayed(self) -> None:
        """See ``VectorQuantizer.replayed``."""

    def _vectors(self, z: Tensor, values: int) -> tuple[Tensor, dict[str, Tensor]]:
        z = z.movedim(1, -1) if self.channel_first else z
        # half precision cannot resolve points of curved spaces
        with torch.autocast(z.device.type, enabled=False):
            z = z.to(torch.promote_types(z.dtype, torch.float32))
            return self.vectors(self.project_in(z), values)

    def _write(self, u: Tensor, like: Tensor) -> Tensor:
        with torch.autocast(u.device.type, enabled=False):
            out = self.project_out(u)
        return (channel_first(out, like) if self.channel_first else out).to(like.dtype)


class Autoencoder(ContinuousBottleneck):
    """The latents as they are: an infinite codebook.

    The manifold's scaling and clipping remain, so that only the codes are missing.
    """

    name = "none"

    def vectors(self, z: Tensor, values: int) -> tuple[Tensor, dict[str, Tensor]]:
        """See ``ContinuousBottleneck.vectors``; no losses."""
        return self.manifold.tangent(z), {}


def no_codes(name: str) -> SettingError:
    """The error for a run with this bottleneck where indices are needed."""
    fix = "train one with bottleneck = vq"
    return SettingError("bottleneck", name, "vq: this run has no codes", fix)


def tangent_scale(tangent: Callable[[Tensor], Tensor], dim: int) -> float | Tensor:
    """The factor that a manifold's or quantizer's ``tangent`` applies in D dimensions.

    Where it differs among them, as on a product of manifolds, that of each, (D,) in float64.
    """
    along_all = torch.full((1, dim), 1e-3, dtype=torch.float64)
    along_one = along_all * (torch.arange(dim) == 0)
    scales = (tangent(along_all) / along_all)[0].detach()
    if torch.allclose(scales, scales[0]):
        return float(tangent(along_one)[0, 0].detach() / along_one[0, 0])
    return scales


def _no_indices(z: Tensor) -> Tensor:
    return torch.zeros(z.shape[0], 0, dtype=torch.int64, device=z.device)
