"""Layers in sequence, whose blocks may be computed twice to save memory (arXiv:1604.06174)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


class Stack(nn.Sequential):
    """An ``nn.Sequential``, with its names of parameters.

    Args:
        checkpointing: of each layer that is made of several, keep the input alone in training, and
            compute the rest again for the gradient. Values and gradients are the same. Layers must
            make no random draws, which would differ the second time.
    """

    def __init__(self, *layers: nn.Module, checkpointing: bool = False) -> None:
        super().__init__(*layers)
        self.checkpointing = checkpointing

    def forward(self, x: Tensor) -> Tensor:
        """The last layer's output."""
        for layer in self:
            if self.checkpointing and self.training and any(layer.children()):
                # keeping the state of random draws would wait for a GPU
                x = checkpoint(layer, x, use_reentrant=False, preserve_rng_state=False)
            else:
                x = layer(x)
        return x
