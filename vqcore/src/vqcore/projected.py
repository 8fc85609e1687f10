"""From the latents of a model to the vectors of a quantizer, and back."""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqcore.errors import SettingError
from vqcore.interfaces.quantizer import Quantizer
from vqcore.numerics.layouts import channel_first
from vqcore.numerics.masking import largest, usable
from vqcore.numerics.stable import in_full_precision

Decoder = Callable[[Tensor], Tensor]


class Projected(nn.Module):
    """A quantizer of dimension d behind latents (..., D), or (B, D, ...) with ``channel_first``.

    If d is not D, linear maps project into and out of the quantizer's space.
    """

    dim: int  #: D
    channel_first: bool
    quantizer: Quantizer

    def _build_projections(self) -> None:
        outer, inner = self.dim, self.quantizer.dim
        self.project_in = nn.Identity() if inner == outer else nn.Linear(outer, inner)
        self.project_out = nn.Identity() if inner == outer else nn.Linear(inner, outer)

    def _check_width(self, z: Tensor) -> None:
        if not isinstance(z, Tensor) or not z.is_floating_point():
            found = str(z.dtype) if isinstance(z, Tensor) else type(z).__name__
            raise SettingError("input", found, "a tensor of floats")
        axis = 1 if self.channel_first else -1
        width = z.shape[axis] if z.ndim > 1 else None
        if width != self.dim:
            other = next((i for i, n in enumerate(z.shape) if n == self.dim), None)
            fix = "" if other is None else f"axis {other} fits: see channel_first"
            raise SettingError("input", tuple(z.shape), f"dim = {self.dim} on axis {axis}", fix)

    def _quantizer_input(self, z: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """The quantizer's input (..., d), and the tokens that count: those that are not bad.

        Bad are NaN, inf, and numbers so large that their squares or sums would be.
        """
        moved = z.movedim(1, -1) if self.channel_first else z
        moved = in_full_precision(moved)
        kept = usable(moved.detach(), largest(self._narrowest(moved.dtype)))
        kept = kept if mask is None else kept & mask
        clean = torch.where(kept.unsqueeze(-1), moved, 0).contiguous()
        return self.quantizer.tangent(self._project(self.project_in, clean)), kept

    def _narrowest(self, dtype: torch.dtype) -> torch.dtype:
        """float64 if the latents, of type ``dtype``, and the codes are float64, else float32."""
        if dtype == torch.float64:
            for each in chain(self.quantizer.parameters(), self.quantizer.buffers()):
                if each.is_floating_point() and each.dtype != torch.float64:
                    return torch.float32
        return dtype

    def _project_back(self, vectors: Tensor, kept: Tensor, *, clean: bool = False) -> Tensor:
        """The quantizer's vectors (..., d) as the layer's (..., D), zero for masked tokens.

        ``clean`` vectors are already zero there.
        """
        if clean and isinstance(self.project_out, nn.Identity):
            return vectors
        return torch.where(kept.unsqueeze(-1), self._project(self.project_out, vectors), 0)

    @staticmethod
    def _project(projection: nn.Module, vectors: Tensor) -> Tensor:
        """A linear map in the precision of its weights, but never in half precision."""
        if not isinstance(projection, nn.Linear):
            return vectors
        wide = torch.promote_types(projection.weight.dtype, vectors.dtype)
        return F.linear(vectors.to(wide), projection.weight.to(wide), projection.bias.to(wide))

    def _to_layout(self, vectors: Tensor, like: Tensor) -> Tensor:
        moved = channel_first(vectors, like) if self.channel_first else vectors
        return moved.to(like.dtype)

    def _tangent_decoder(
        self, decode: Decoder | None, like: Tensor, kept: Tensor
    ) -> Decoder | None:
        """The decoder as a function of tangent vectors (..., D), under the caller's autocast."""
        if decode is None:
            return None
        kind = like.device.type
        enabled = torch.is_autocast_enabled(kind)
        dtype = torch.get_autocast_dtype(kind)

        def decode_tangents(vectors: Tensor) -> Tensor:
            with torch.autocast(kind, dtype=dtype, enabled=enabled):
                return decode(self._to_layout(self._project_back(vectors, kept), like))

        return decode_tangents
