"""Decoder smoothness (hyperbolic VQ-VAE): equal pictures from a latent and from its code."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from vqcore.errors import UsageError
from vqcore.latent import LatentBatch
from vqcore.regularizer import Regularizer


class DecoderSmoothness(Regularizer):
    """MSE(dec(sg z), dec(sg z_q)): the gradient reaches the decoder only."""

    scope = "model"

    def forward(self, batch: LatentBatch) -> Tensor:
        """See ``Regularizer.forward``.

        Raises:
            UsageError: if the layer was not given the decoder.
        """
        if batch.decode is None:
            raise UsageError("regularizer 'smoothness' needs the decoder: call the layer with decode=your_decoder")
        return F.mse_loss(batch.decode(batch.z.detach()), batch.decode(batch.z_q.detach()))
