"""A learning rate of the codes' own, which needs no parameter group of the user's."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from vqcore.codebook.table import CodebookQuantizer
from vqcore.numerics.explicit_gradient import with_gradient
from vqcore.numerics.stable import in_full_precision

#: ``weight`` times ``scale``, whose gradient passes to ``weight`` as it is. So a step of any
#: optimizer moves the product ``scale`` times as far, and the norm of the gradient stays the same.
_scaled = with_gradient(
    lambda weight, scale: (weight * scale,),
    lambda gradient, *_: (gradient, None),
    keeps_inputs=False,
)


class OwnRateCodebook(CodebookQuantizer):
    """A table learned through the parameter ``weight``, ``lr_scale`` times as fast as the rest.

    The encoder's steps move all latents together, and each code only follows those that chose it.
    Codes that learn at the encoder's rate lag behind, the quantization error grows, and the loss
    spikes (docs/defaults.md has measurements).

    ``weight`` holds what is learned divided by ``lr_scale``. The state dict says by what, so that
    it loads into a table of another ``lr_scale``. Weight decay acts as it would without.

    Args:
        lr_scale: the learning rate, relative to the optimizer's; a power of two rounds nothing.
        options: see ``CodebookQuantizer``.
    """

    weight: nn.Parameter

    def __init__(self, *, lr_scale: float = 32.0, **options: Any) -> None:
        super().__init__(**options)
        self.lr_scale = lr_scale

    def _register(self, weight: nn.Parameter, lr_scale: float) -> None:
        """Register what is learned; ``weight`` holds it undivided."""
        self.lr_scale = lr_scale
        weight.data.div_(lr_scale)
        self.weight = weight

    @property
    def weight_scale(self) -> Tensor:
        """``lr_scale`` as it is in the state dict. A buffer would be rounded with the codes."""
        return torch.tensor(self.lr_scale, dtype=torch.float64)

    def learned(self) -> Tensor:
        """What ``weight`` stands for, in float32 at least."""
        weight = in_full_precision(self.weight) if self.weight.dtype.itemsize < 4 else self.weight
        return weight if self.lr_scale == 1 else _scaled(weight, self.lr_scale)

    def _save_to_state_dict(
        self, destination: dict[str, Any], prefix: str, keep_vars: bool
    ) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        destination[f"{prefix}weight_scale"] = self.weight_scale

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *arguments: Any
    ) -> None:
        """As every table does; a weight that is divided by another scale becomes one of this."""
        weight = f"{prefix}weight"
        scale = state_dict.pop(f"{prefix}weight_scale", 1.0)  # without: of before there was one
        if weight in state_dict and not state_dict[weight].is_meta and scale != self.lr_scale:
            state_dict[weight] = state_dict[weight] * (float(scale) / self.lr_scale)
        super()._load_from_state_dict(state_dict, prefix, *arguments)
