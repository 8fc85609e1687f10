"""The model and the data that the training loops of this folder share."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from vqcore import VectorQuantizer
from vqcore.interfaces.output import Output


class Autoencoder(nn.Module):
    """Encoder, quantizer and decoder of images (B, 1, 8, 8), with 2 x 2 codes an image."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(1, 64, 4, 2, 1), nn.ReLU(), nn.Conv2d(64, 64, 4, 2, 1), nn.ReLU(),
            nn.Conv2d(64, 8, 1),
        )  # fmt: skip
        self.vq = VectorQuantizer(dim=8, codebook_size=128, channel_first=True)
        self.decoder = nn.Sequential(
            nn.Conv2d(8, 64, 1), nn.ReLU(), nn.ConvTranspose2d(64, 64, 4, 2, 1), nn.ReLU(),
            nn.ConvTranspose2d(64, 1, 4, 2, 1),
        )  # fmt: skip

    def forward(self, images: Tensor) -> tuple[Tensor, Output]:
        """Reconstructions (B, 1, 8, 8), and what the quantizer returned."""
        out: Output = self.vq(self.encoder(images))
        return self.decoder(out.quantized), out

    def loss(self, images: Tensor) -> tuple[Tensor, Output]:
        """The mean squared error plus the quantizer's own terms."""
        reconstruction, out = self(images)
        return nn.functional.mse_loss(reconstruction, images) + out.loss, out

    def parameter_groups(self, weight_decay: float) -> list[dict[str, object]]:
        """Groups for an optimizer: weight decay would pull codes towards the origin.

        Codes need no learning rate of their own: ``lr_scale`` of the quantizer sees to that.
        """
        networks = [*self.encoder.parameters(), *self.decoder.parameters()]
        return [
            {"params": networks, "weight_decay": weight_decay},
            {"params": list(self.vq.parameters()), "weight_decay": 0.0},
        ]


def digits() -> tuple[Tensor, Tensor]:
    """Images (N, 1, 8, 8) in [-1, 1] to train and to test with."""
    images = torch.tensor(load_digits().images, dtype=torch.float32).unsqueeze(1) / 8 - 1
    return images[:1500], images[1500:]


def shuffled(images: Tensor, batch_size: int, epoch: int) -> Iterator[Tensor]:
    """Whole batches in an order that depends on the epoch alone, so that a resumed run has it."""
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(epoch))
    for rows in torch.split(order, batch_size)[: len(images) // batch_size]:
        yield images[rows]
