"""The learning rate of a run: its schedule, and how a resumed run approaches another one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from vq.config.run_config import RunConfig
from vq.training.schedule import eased, easing_steps, rate_factor
from vqcore.errors import shown


class LearningRate:
    """Sets the learning rates of an optimizer's groups, each the schedule's share of its own.

    Args:
        optimizer: with the rates that the config gives.
        total_steps: of the run.
        settings: have the schedule.

    Attributes:
        notice: how the rate of a resumed run changes, empty where it goes on as before.
    """

    def __init__(
        self, optimizer: torch.optim.Optimizer, total_steps: int, settings: RunConfig
    ) -> None:
        self._optimizer, self._total_steps, self._settings = optimizer, total_steps, settings
        self._rates = [group["lr"] for group in optimizer.param_groups]
        self.notice = ""

    def set(self, step: int) -> None:
        """Set the rates of the step that follows ``step`` others."""
        factor = rate_factor(step, self._total_steps, self._settings)
        for group in self._optimizer.param_groups:
            rate = group.setdefault("initial_lr", group["lr"]) * factor
            group["lr"] = eased(rate, step, group.get("easing"))

    def state(self, step: int) -> dict[str, Any]:
        """What the rate follows from, for a checkpoint."""
        schedule = {"steps": self._total_steps, "schedule": self._settings.schedule}
        return {"last_epoch": step, **schedule, "lr": self._rates[0]}

    def resume(self, step: int, saved: Mapping[str, Any]) -> None:
        """Set the rates of the first step after a checkpoint, which has the ``state`` ``saved``.

        Where the schedule, or the length that it spans, is another one than before, the rate
        approaches it over a few steps. The optimizer's groups keep from where, so that the run can
        be resumed in between.
        """
        groups = self._optimizer.param_groups
        before = [group["lr"] for group in groups]
        for group, rate in zip(groups, self._rates, strict=True):
            group["initial_lr"] = rate
        self.set(step)
        steps = easing_steps(self._total_steps - step)
        for group, rate in zip(groups, before, strict=True):
            if group["lr"] != rate:
                group["easing"] = {"rate": rate, "step": step, "steps": steps}
        changed = [
            f"{name} = {shown(value)} instead of {shown(saved[name])}"
            for name, value in self.state(step).items()
            if name in saved and value != saved[name]
        ]
        now = groups[0]["lr"]
        if steps and (changed or now != before[0]):
            self.notice = (
                f"{_change(changed, before[0], now, steps)}, its value here in a run of "
                f"{self._total_steps} steps (schedule {self._settings.schedule}); "
                "--schedule and --lr choose another"
            )
        self.set(step)


def _change(changed: Sequence[str], before: float, now: float, steps: int) -> str:
    """What of the schedule was changed, and how the learning rate follows."""
    why = f"resumed with {', '.join(changed)}: " if changed else ""
    if before == now:
        return f"{why}the learning rate stays {now:.3g}"
    over = "in one step" if steps == 1 else f"over {steps} steps"
    return f"{why}the learning rate goes from {before:.3g} to {now:.3g} {over}"
