"""A training loop in plain PyTorch: python examples/loops/plain_pytorch.py"""

from __future__ import annotations

from pathlib import Path

import torch
from autoencoder import Autoencoder, digits, shuffled
from torch import Tensor


def train(epochs: int, checkpoint: Path) -> Autoencoder:
    """Train, and go on from the checkpoint if there is one."""
    device = torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
    torch.manual_seed(0)
    model = Autoencoder().to(device)
    optimizer = torch.optim.AdamW(model.parameter_groups(weight_decay=0.01), lr=2e-3)
    images, held_out = digits()
    first = 0
    if checkpoint.exists():
        saved = torch.load(checkpoint, map_location=device, weights_only=True)
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        first = saved["epochs"]
    for epoch in range(first, epochs):
        for batch in shuffled(images, 100, epoch):
            loss, _ = model.loss(batch.to(device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            model.vq.update(optimizer)  # after the step: averages, and codes that nobody uses
        state = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
        torch.save({**state, "epochs": epoch + 1}, checkpoint)
        print(f"epoch {epoch + 1}: {evaluate(model, held_out.to(device))}")
    return model


@torch.no_grad()
def evaluate(model: Autoencoder, images: Tensor) -> str:
    """The held-out loss and the perplexity of the codes; in eval mode, no code changes."""
    model.eval()
    loss, out = model.loss(images)
    model.train()
    return f"loss {loss.item():.4f}, perplexity {out.metrics['perplexity'].item():.1f}"


if __name__ == "__main__":
    train(epochs=20, checkpoint=Path("plain.pt"))
