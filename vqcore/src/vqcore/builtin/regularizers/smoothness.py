"""Decoder smoothness (hyperbolic VQ-VAE): equal output for a latent and for its code."""

from __future__ import annotations

import torch
from torch import Tensor

from vqcore.errors import UsageError
from vqcore.interfaces.latent_batch import LatentBatch
from vqcore.interfaces.regularizer import Regularizer


class DecoderSmoothness(Regularizer):
    """MSE(dec(sg z), dec(sg z_q)), which trains the decoder alone.

    At masked tokens both inputs are zero, and so is the difference if the decoder treats positions
    independently. The sum of squares is divided by the number of outputs that belong to tokens that
    count.

    Cost: two more passes of the decoder, forward and backward.
    """

    scope = "model"
    recordable = True

    def forward(self, batch: LatentBatch) -> Tensor:
        """See ``Regularizer.forward``. 0 if no token counts.

        Raises:
            UsageError: if the layer did not receive the decoder.
        """
        if batch.decode is None:
            needed = "the decoder: call the layer with decode=your_decoder"
            raise UsageError(f"regularizer 'smoothness' needs {needed}")
        difference = batch.decode(batch.z.detach()) - batch.decode(batch.z_q.detach())
        squares = difference.to(torch.promote_types(difference.dtype, torch.float32)).square()
        if batch.mask is None:
            return squares.sum() / max(squares.numel(), 1)
        outputs = squares.numel() / max(batch.mask.numel(), 1) * batch.mask.sum()
        return torch.where(outputs > 0, squares.sum() / torch.where(outputs > 0, outputs, 1), 0)
