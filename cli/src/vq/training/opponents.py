"""The turn of losses that are trained against the model, such as discriminators."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from vq.checkpoints.optimizer_state import check_optimizer_state
from vq.models.losses import in_its_precision
from vq.training.objective import Objective
from vqcore.distributed import is_active, sum_over_ranks
from vqcore.errors import RunError
from vqcore.interfaces.loss import LossBatch, TrainedLoss
from vqcore.numerics.stable import in_full_precision

#: The end of the names of their own losses, as they are logged.
OPPONENT = "_opponent"


class Opponents:
    """Trains the losses of an objective that have parameters, by their own optimizers.

    Each process trains them on its own samples. Gradients are summed over micro-batches and
    processes before a step, so all processes do the same one.

    Args:
        objective: whose losses take turns.
        accelerator: this process's precision and gradient scaler.
    """

    def __init__(self, objective: Objective, accelerator: Accelerator) -> None:
        self._objective, self._accelerator = objective, accelerator

    def turn(self, batch: LossBatch, share: float) -> dict[str, Tensor]:
        """Add gradients of a micro-batch.

        Args:
            batch: of the model's pass; may be empty.
            share: of a step's samples that it has, of those on all processes.

        Returns:
            ``NAME`` + ``OPPONENT`` of each loss that acts, detached.
        """
        batch, scaler = batch.detach(), self._accelerator.scaler
        found = {}
        for name, loss in self._acting.items():
            value = batch.decoded.new_zeros(())
            if len(batch.inputs):
                with _trainable(loss):
                    with self._accelerator.autocast(), in_its_precision(loss, batch):
                        value = in_full_precision(loss.opponent(batch))
                    scaled = value * share
                    (scaled if scaler is None else scaler.scale(scaled)).backward()
            found[f"{name}{OPPONENT}"] = value.detach()
        return found

    def step(self) -> None:
        """Do a step of each loss that acts, with the gradients since the last one."""
        scaler = self._accelerator.scaler
        for loss in self._acting.values():
            parameters = list(_parameters(loss))
            if is_active():
                _sum_gradients(parameters)
            if scaler is None:
                loss.optimizer.step()
            elif any(each.grad is not None for each in parameters):
                scaler.step(loss.optimizer)
            loss.optimizer.zero_grad()

    def state(self) -> dict[str, Any]:
        """Module and optimizer of each loss, for a checkpoint."""
        return {
            name: {
                "module": loss.state_dict(),
                "optimizer": loss.optimizer.state_dict(),
                "optimizer_class": type(loss.optimizer).__name__,
            }
            for name, loss in self._objective.trained.items()
        }

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Load what ``state`` returned.

        Raises:
            RunError: if it is of other losses.
        """
        for name, loss in self._objective.trained.items():
            if name not in saved:
                raise RunError(f"it holds no state of the loss {name!r}")
            state = saved[name]
            check_optimizer_state(loss.optimizer, state["optimizer"], state["optimizer_class"], {})
            loss.load_state_dict(state["module"])
            loss.optimizer.load_state_dict(state["optimizer"])

    @property
    def _acting(self) -> dict[str, TrainedLoss]:
        trained = self._objective.trained
        return {name: trained[name] for name in self._objective.acting if name in trained}


def _parameters(loss: TrainedLoss) -> Iterator[torch.nn.Parameter]:
    for group in loss.optimizer.param_groups:
        yield from group["params"]


@contextmanager
def _trainable(loss: TrainedLoss) -> Iterator[None]:
    """Inside, what the optimizer of a loss trains has gradients."""
    parameters = list(_parameters(loss))
    for each in parameters:
        each.requires_grad_(True)
    try:
        yield
    finally:
        for each in parameters:
            each.requires_grad_(False)


def _sum_gradients(parameters: list[torch.nn.Parameter]) -> None:
    """Sum gradients over processes in one exchange; none counts as zeros."""
    for each in parameters:
        if each.grad is None:
            each.grad = torch.zeros_like(each)
    gradients: list[Any] = [each.grad for each in parameters]
    flat = torch.cat([each.flatten() for each in gradients])
    sum_over_ranks(flat)
    parts = flat.split([each.numel() for each in gradients])
    for own, part in zip(gradients, parts, strict=True):
        own.copy_(part.view_as(own))
