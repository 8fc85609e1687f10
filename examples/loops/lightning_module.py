"""The same with Lightning: python examples/loops/lightning_module.py"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning
import torch
from autoencoder import Autoencoder, digits
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset


class LitAutoencoder(lightning.LightningModule):
    """The autoencoder with its optimizer."""

    def __init__(self) -> None:
        super().__init__()
        self.model = Autoencoder()

    def training_step(self, batch: list[Tensor], batch_index: int) -> Tensor:
        """The loss of a batch."""
        loss, out = self.model.loss(batch[0])
        self.log_dict({"loss": loss, "perplexity": out.metrics["perplexity"]})
        return loss

    def validation_step(self, batch: list[Tensor], batch_index: int) -> None:
        """The held-out loss; Lightning has set eval mode, in which no code changes."""
        loss, _ = self.model.loss(batch[0])
        self.log("val_loss", loss, prog_bar=True, sync_dist=True)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """See ``Autoencoder.parameter_groups``."""
        return torch.optim.AdamW(self.model.parameter_groups(weight_decay=0.01), lr=2e-3)

    def optimizer_step(
        self,
        epoch: int,
        batch_idx: int,
        optimizer: Any,
        optimizer_closure: Callable[[], Any] | None = None,
    ) -> None:
        """The step, then the codes: once a step, however many batches accumulate for it."""
        super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)
        self.model.vq.update(optimizer.optimizer)  # the one that Lightning's own wraps


def train(epochs: int, folder: Path) -> LitAutoencoder:
    """Train, and go on from the last checkpoint if there is one."""
    lightning.seed_everything(0, verbose=False)
    module = LitAutoencoder()
    trainer = lightning.Trainer(
        accelerator="auto",
        max_epochs=epochs,
        default_root_dir=folder,
        callbacks=[ModelCheckpoint(folder, save_last=True)],
        logger=False,
    )
    images, held_out = (TensorDataset(each) for each in digits())
    batches = DataLoader(images, 100, shuffle=True, drop_last=True), DataLoader(held_out, 100)
    last = folder / "last.ckpt"
    trainer.fit(module, *batches, ckpt_path=last if last.exists() else None)
    return module


if __name__ == "__main__":
    train(epochs=20, folder=Path("lightning"))
