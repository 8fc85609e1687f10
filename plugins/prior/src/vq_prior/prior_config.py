"""Options of a prior, and their defaults for an amount of data. Torch-free."""

from __future__ import annotations

import math
from typing import Any, Self

from pydantic import model_validator

from vqcore.errors import SettingError
from vqcore.plugin.bounds import Count, Decay, Depth, Rate, Seed, Size, Steps, Weight, check_total
from vqcore.plugin.component_config import ComponentConfig


class PriorConfig(ComponentConfig):
    """All options of a prior. None takes the default for the amount of data, see ``filled``."""

    layers: Depth | None = None
    """Transformer blocks."""
    width: Size | None = None
    """Size of a position's vector."""
    heads: Size | None = None
    """Attention heads, a divisor of width."""
    dropout: Decay | None = None
    """Dropout of each residual branch in training."""
    tied: bool = True
    """Share one table between token embeddings and output logits."""
    epochs: Steps | None = None
    """Largest number of passes over the training codes; training may stop early."""
    patience: Steps | None = None
    """Epochs without a lower validation loss after which training stops."""
    lr: Rate | None = None
    """Peak learning rate, after a warm-up over a twentieth of the steps; then cosine decay."""
    weight_decay: Weight = 0.1
    """Decoupled weight decay (AdamW)."""
    batch_size: Count = 64
    """Sequences in a step."""
    classes: bool = False
    """Condition on the class of each sample, from the data set's labels."""
    seed: Seed = 0
    """Seed of every random draw."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        check_total("layers and width", 12 * (self.layers or 1) * (self.width or 1) ** 2)
        return self

    def filled(self, sequences: int, length: int) -> FilledPriorConfig:
        """The config with every None replaced, for a number of training sequences and their length.

        More tokens give a larger model and fewer epochs. Heads that do not divide the width are a
        SettingError.
        """
        # 0 at 3e4 tokens, 3 from 3e7 tokens on
        scale = min(3, max(0, round(math.log10(sequences * length / 3e4))))
        width = self.width or 64 * 2**scale
        heads = self.heads or (4, 4, 4, 8)[scale]
        if width % heads:
            raise SettingError("heads", heads, f"a divisor of the width, {width}")
        epochs = self.epochs or max(2, min(60, 1_280_000 // sequences))
        chosen: dict[str, Any] = {
            "layers": self.layers or (3, 4, 6, 8)[scale],
            "width": width,
            "heads": heads,
            "dropout": (0.2, 0.1, 0.1, 0.0)[scale] if self.dropout is None else self.dropout,
            "epochs": epochs,
            "patience": self.patience or max(2, epochs // 6),
            "lr": self.lr or 3e-3 * math.sqrt(64 / width),
        }
        return FilledPriorConfig(**self.model_dump() | chosen)


class FilledPriorConfig(PriorConfig):
    """A ``PriorConfig`` without None."""

    layers: Depth
    width: Size
    heads: Size
    dropout: Decay
    epochs: Steps
    patience: Steps
    lr: Rate
