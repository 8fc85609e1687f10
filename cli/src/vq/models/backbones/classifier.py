"""A classifier in place of a decoder: the codes are learned for the classes of samples alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from vq.models.eval_mode import eval_mode
from vqcore.errors import SettingError
from vqcore.interfaces.backbone import Backbone, LevelBackbone


class Classifier(Backbone):
    """The encoder of another backbone, and a head from all latents of a sample to its classes.

    The head is one hidden layer with ReLU, or with ``hidden`` 0 a linear map. It takes as many
    positions as it was built for, so positions come before the dimension here.

    Args:
        shape: of a sample.
        dim: of a latent.
        classes: their number.
        inner: makes the other backbone.
        hidden: units of the hidden layer.

    Raises:
        SettingError: if ``inner`` has several levels.
    """

    emits = "logits"

    def __init__(
        self,
        *,
        shape: tuple[int, ...],
        dim: int,
        classes: int,
        inner: Callable[..., Backbone],
        hidden: int = 128,
    ) -> None:
        super().__init__()
        try:
            made = inner(shape=shape, dim=dim)
        except SettingError as error:
            if error.setting != "backbone":
                raise
            fix = error.fix.replace("set backbone to", "set backbone.inner to")
            raise SettingError("inner", error.value, error.expected, fix) from error
        if isinstance(made, LevelBackbone):
            expected = "a backbone with one level of latents, as conv"
            raise SettingError("inner", type(made).__name__.lower(), expected)
        self.inner, self.dim, self.latent_shape = made, made.dim, made.latent_shape
        drop_decoder(made, shape)
        emitted = [made.dim or dim, *made.latent_shape]
        width = torch.Size(emitted).numel()
        layers = [nn.Linear(width, hidden), nn.ReLU()] if hidden else []
        self.head = nn.Sequential(nn.Flatten(), *layers, nn.Linear(hidden or width, classes))

    @property
    def last_layer(self) -> nn.Parameter:
        """See ``Backbone.last_layer``."""
        last: Any = self.head[-1]
        return last.weight

    def encode(self, x: Tensor) -> Tensor:
        """(B, *shape) to (B, *positions, dim)."""
        z = self.inner.encode(x)
        return z.movedim(1, -1) if self.inner.channel_first else z

    def decode(self, z: Tensor) -> Tensor:
        """(B, *positions, dim) to logits (B, classes)."""
        return self.head(z)


def drop_decoder(backbone: Backbone, shape: tuple[int, ...]) -> None:
    """Delete the parameters that no latent of samples of this shape depends on."""
    named = [
        (owner, name, each)
        for owner in backbone.modules()
        for name, each in owner.named_parameters(recurse=False)
    ]
    frozen = [each for _, _, each in named if not each.requires_grad]
    backbone.requires_grad_(True)
    with eval_mode(backbone), torch.enable_grad():  # which keeps running statistics
        z = backbone.encode(torch.zeros(2, *shape))
        found: Sequence[Tensor | None] = [None] * len(named)
        if z.requires_grad:  # as it does unless there is no network at all
            found = torch.autograd.grad(z.sum(), [each[2] for each in named], allow_unused=True)
    for parameter in frozen:
        parameter.requires_grad_(False)
    for (owner, name, _), gradient in zip(named, found, strict=True):
        if gradient is None:
            delattr(owner, name)
