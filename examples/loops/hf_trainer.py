"""The same with the Trainer of Hugging Face: python examples/loops/hf_trainer.py"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from autoencoder import Autoencoder, digits
from torch import Tensor, nn
from torch.utils.data import Dataset
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import get_last_checkpoint


class TrainedAutoencoder(nn.Module):
    """The autoencoder as the Trainer calls it: by the keys of a sample, for a loss by name."""

    def __init__(self) -> None:
        super().__init__()
        self.model = Autoencoder()

    def forward(self, pixel_values: Tensor, return_loss: bool = True) -> dict[str, Tensor]:
        """By ``return_loss`` the Trainer knows that there is a loss without labels."""
        loss, _ = self.model.loss(pixel_values)
        return {"loss": loss}


class UpdateCodes(TrainerCallback):
    """Updates the codes after each step of the optimizer."""

    def on_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Once a step, however many batches accumulate for it."""
        kwargs["model"].model.vq.update(kwargs["optimizer"])


class Images(Dataset[dict[str, Tensor]]):
    """Images as samples by name."""

    def __init__(self, images: Tensor) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, number: int) -> dict[str, Tensor]:
        return {"pixel_values": self.images[number]}


def train(epochs: int, folder: Path) -> Trainer:
    """Train, and go on from the last checkpoint if there is one."""
    torch.manual_seed(0)
    module = TrainedAutoencoder()
    groups = module.model.parameter_groups(weight_decay=0.01)
    images, held_out = digits()
    trainer = Trainer(
        module,
        TrainingArguments(
            output_dir=str(folder),
            num_train_epochs=epochs,
            per_device_train_batch_size=100,
            dataloader_drop_last=True,
            eval_strategy="epoch",
            save_strategy="epoch",
            save_total_limit=2,
            report_to="none",
        ),
        train_dataset=Images(images),
        eval_dataset=Images(held_out),
        optimizers=(torch.optim.AdamW(groups, lr=2e-3), None),
        callbacks=[UpdateCodes()],
    )
    last = get_last_checkpoint(str(folder)) if folder.exists() else None
    trainer.train(resume_from_checkpoint=last)
    return trainer


if __name__ == "__main__":
    train(epochs=20, folder=Path("hf"))
