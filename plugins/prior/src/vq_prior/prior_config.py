"""Options of the prior over codes, and what they are where they are left out. Torch-free."""

from __future__ import annotations

import math
from typing import Annotated, Any

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt

from vqcore.errors import SettingError
from vqcore.plugin.component_config import ComponentConfig


class PriorConfig(ComponentConfig):
    """Everything that decides what a prior becomes. None stands for what suits the amount of data, see ``filled``."""

    layers: PositiveInt | None = None
    """Transformer blocks."""
    width: PositiveInt | None = None
    """Size of a position's vector."""
    heads: PositiveInt | None = None
    """Heads of the attention, a divisor of width."""
    dropout: Annotated[float, Field(ge=0, lt=1)] | None = None
    """Share of what each layer adds that is left out in training."""
    tied: bool = True
    """Read probabilities from the table that tokens enter by."""
    epochs: PositiveInt | None = None
    """Passes over the training codes at most; training stops early."""
    patience: PositiveInt | None = None
    """Passes without progress on the codes set aside after which training stops."""
    lr: PositiveFloat | None = None
    """Largest learning rate; it rises over the first twentieth of the steps and falls along a cosine."""
    weight_decay: NonNegativeFloat = 0.1
    """Decoupled weight decay (AdamW)."""
    batch_size: PositiveInt = 64
    """Sequences in a step."""
    classes: bool = False
    """Learn a distribution for each class of the data set's labels."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """Seed of every random draw."""

    def filled(self, sequences: int, length: int) -> PriorConfig:
        """The same with every None decided by the size of the data: the more tokens, the larger and the fewer passes.

        Args:
            sequences: to train on.
            length: tokens of each.

        Raises:
            SettingError: if heads do not divide the width.
        """
        scale = min(
            3, max(0, round(math.log10(sequences * length / 3e4)))
        )  # 3e4 tokens: 0; 3e7 or more: 3
        width, heads = self.width or 64 * 2**scale, self.heads or (4, 4, 4, 8)[scale]
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
        return self.model_copy(update=chosen)
