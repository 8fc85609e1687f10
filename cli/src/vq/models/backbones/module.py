"""Any module with an encoder and a decoder as a backbone."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from vq.models.eval_mode import eval_mode
from vqcore.errors import SettingError, describe_error
from vqcore.interfaces.backbone import Backbone


class ModuleBackbone(Backbone):
    """A module with methods (or submodules) ``encode`` and ``decode``.

    Latents of four or more dimensions are (B, dim, ...), others (B, ..., dim); an attribute
    ``channel_first`` of the module says otherwise.

    Raises:
        SettingError: if the module lacks one of the two, or cannot take samples of this shape.
    """

    def __init__(self, module: Any, *, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.name = type(module).__name__
        methods = [getattr(module, each, None) for each in ("encode", "decode")]
        if not isinstance(module, nn.Module) or not all(map(callable, methods)):
            expected = "an nn.Module with encode(x) and decode(z), or a vqcore.Backbone"
            raise SettingError("backbone", self.name, expected)
        self.module: Any = module
        z, decoded = self._probe(shape)
        if decoded.shape[1:] != shape:
            expected = f"decode(encode(x)) of shape {shape}, found {tuple(decoded.shape[1:])}"
            raise SettingError("backbone", self.name, expected)
        self.channel_first = bool(getattr(module, "channel_first", z.ndim >= 4))
        self.dim = int(z.shape[1] if self.channel_first else z.shape[-1])
        self.latent_shape = tuple(z.shape[2:] if self.channel_first else z.shape[1:-1])

    @property
    def last_layer(self) -> nn.Parameter | None:
        """The module's own ``last_layer``, if that is a parameter."""
        found = getattr(self.module, "last_layer", None)
        return found if isinstance(found, nn.Parameter) else None

    def encode(self, x: Tensor) -> Tensor:
        """See ``Backbone.encode``."""
        return self.module.encode(x)

    def decode(self, z: Tensor) -> Tensor:
        """See ``Backbone.decode``."""
        return self.module.decode(z)

    @torch.no_grad()
    def _probe(self, shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        """Latents and reconstruction of two samples, in eval mode to keep running statistics."""
        try:
            with eval_mode(self.cpu()):
                z = self.encode(torch.zeros(2, *shape))
                return z, self.decode(z)
        except Exception as error:  # a user's own code may raise anything
            expected = f"encode and decode for samples of shape {shape}; {describe_error(error)}"
            raise SettingError("backbone", self.name, expected) from error
