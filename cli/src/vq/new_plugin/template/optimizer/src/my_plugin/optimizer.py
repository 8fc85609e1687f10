"""Steps by the sign of the mean gradient."""

from collections.abc import Iterable
from typing import Any

import torch
from torch.optim import Optimizer


class MyPart(Optimizer):
    """m <- momentum m + (1 - momentum) g; x <- x - lr sign(m) (arXiv:1802.04434)."""

    def __init__(self, params: Iterable[Any], *, lr: float = 1e-3, momentum: float = 0.9) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    state = self.state[weight]
                    mean = state.setdefault("mean", torch.zeros_like(weight))
                    mean.lerp_(weight.grad, 1 - group["momentum"])
                    weight.sub_(mean.sign(), alpha=group["lr"])
