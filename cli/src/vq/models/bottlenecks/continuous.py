"""Bottlenecks without codes: the autoencoder, and what it shares with the variational one."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor, nn

from vqcore.errors import SettingError
from vqcore.interfaces.manifold import Manifold
from vqcore.interfaces.output import Output
from vqcore.interfaces.quantizer import Quantized


class ContinuousBottleneck(nn.Module, ABC):
    """A bottleneck that gives vectors and no indices, called as ``VectorQuantizer`` is.

    Args:
        name: the value of the setting ``bottleneck`` that chooses it.
        width: of what the backbone emits and takes.
        dim: D of the tangent vectors. Linear maps lead in and out where the backbone's width is not what they need.
        parts: how many vectors of D the encoder's output is made of.
        manifold: whose tangent vectors they are.
        channel_first: the width is axis 1 instead of the last.
    """

    codebook_size, codebook = 0, None

    def __init__(
        self,
        name: str,
        *,
        width: int,
        dim: int,
        parts: int,
        manifold: Manifold,
        channel_first: bool,
    ) -> None:
        super().__init__()
        self.name, self.dim, self.manifold, self.channel_first = name, dim, manifold, channel_first
        self.project_in = nn.Identity() if width == parts * dim else nn.Linear(width, parts * dim)
        self.project_out = nn.Identity() if width == dim else nn.Linear(dim, width)

    @abstractmethod
    def vectors(self, z: Tensor, values: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Tangent vectors (..., D) of an encoder's output (..., parts D), and losses per value of a sample.

        Args:
            z: float32 or float64, width last.
            values: numbers that a sample holds, over which reconstruction is averaged.
        """

    def forward(
        self,
        z: Tensor,
        *,
        inputs: Tensor | None = None,
        decode: Callable[[Tensor], Tensor] | None = None,
    ) -> Output:
        """The vectors of latents z and what the decoder makes of them; counts, errors and sizes are of no codebook."""
        values = 1 if inputs is None else math.prod(inputs.shape[1:])
        u, losses = self._vectors(z, values)
        out = self._write(u, z)
        loss = torch.stack(list(losses.values())).sum() if losses else u.sum() * 0
        none = torch.zeros(0, dtype=torch.int64, device=z.device)
        reconstruction = None if decode is None else decode(out)
        indices = none.new_zeros(z.shape[0], 0)
        return Output(
            out, indices, loss, losses, {}, none.view(0, 0), none.float(), none, reconstruction
        )

    @torch.no_grad()
    def inspect(self, z: Tensor) -> Quantized:
        """The vectors (..., D) as in eval, as ``VectorQuantizer.inspect`` gives codes; there is no codebook."""
        was_training = self.training
        self.eval()
        u, _ = self._vectors(z, 1)
        self.train(was_training)
        return Quantized(u, torch.zeros(z.shape[0], 0, dtype=torch.int64, device=z.device), {}, ())

    def encode(self, z: Tensor) -> Tensor:
        """Refused.

        Raises:
            SettingError: there are no indices.
        """
        raise no_codes(self.name)

    def decode(self, indices: Tensor) -> Tensor:
        """Refused, as ``encode``."""
        raise no_codes(self.name)

    def update(self, optimizer: torch.optim.Optimizer | None = None) -> None:
        """Nothing: no code waits for the end of a step."""

    def _vectors(self, z: Tensor, values: int) -> tuple[Tensor, dict[str, Tensor]]:
        moved = z.movedim(1, -1) if self.channel_first else z
        with torch.autocast(
            z.device.type, enabled=False
        ):  # half precision cannot tell points of curved spaces apart
            wide = moved.to(torch.promote_types(moved.dtype, torch.float32))
            return self.vectors(self.project_in(wide), values)

    def _write(self, u: Tensor, like: Tensor) -> Tensor:
        with torch.autocast(u.device.type, enabled=False):
            out = self.project_out(u)
        return (out.movedim(-1, 1) if self.channel_first else out).to(like.dtype)


def no_codes(name: str) -> SettingError:
    """What a command that needs indices says to a run that has none."""
    return SettingError(
        "bottleneck", name, "vq: this run has no codes", "train one with bottleneck = vq"
    )


class Autoencoder(ContinuousBottleneck):
    """No bottleneck but the latents' dimension: what a codebook without end would give.

    The manifold's scaling and clipping stay, so that a run differs from one with codes by the codes alone.
    """

    def __init__(
        self, *, width: int, dim: int, manifold: Manifold, channel_first: bool = False
    ) -> None:
        super().__init__(
            "none", width=width, dim=dim, parts=1, manifold=manifold, channel_first=channel_first
        )

    def vectors(self, z: Tensor, values: int) -> tuple[Tensor, dict[str, Tensor]]:
        """See ``ContinuousBottleneck.vectors``; no loss."""
        return self.manifold.tangent(z), {}


def unit(tangent: Callable[[Tensor], Tensor], dim: int) -> float:
    """What a manifold's or quantizer's ``tangent`` makes of a coordinate of 1 in D dimensions, without its clip."""
    probe = torch.zeros(1, dim, dtype=torch.float64)
    probe[0, 0] = 1e-3
    return float(tangent(probe)[0, 0].detach() / probe[0, 0])
