"""Whether a saved state of an optimizer is one of the optimizer that the config describes.

``load_state_dict`` takes almost anything: it lets saved hyperparameters override those of the
config, and moments of a wrong shape fail only in the first step.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from vqcore.errors import RunError, shown

#: What changes while a run trains.
_MOVING = ("lr", "initial_lr", "params")


def check_optimizer_state(
    optimizer: torch.optim.Optimizer,
    saved: Mapping[str, Any],
    saved_class: str | None,
    options: Mapping[str, Any],
) -> None:
    """Refuse the state of another optimizer.

    Args:
        optimizer: newly built from the config.
        saved: what its ``state_dict`` returned.
        saved_class: the class of the one that was saved; None of a version that did not record it.
        options: of the optimizer in the config.

    Raises:
        RunError: naming what differs: the kind of optimizer, its groups, an option, or a moment.
        Exception: of other kinds, where the saved state has no such structure.
    """
    found = type(optimizer).__name__
    if saved_class not in (None, found):
        raise RunError(f"saved with the optimizer {shown(saved_class)}, the config has {found!r}")
    groups, before = optimizer.param_groups, saved["param_groups"]
    sizes, had = ([len(group["params"]) for group in each] for each in (groups, before))
    if sizes != had:
        raise RunError(f"saved with parameter groups of {had} tensors, the optimizer has {sizes}")
    known = isinstance(optimizer, torch.optim.Adam)  # of another, a group may hold anything
    for now, then in zip(groups, before, strict=True):
        # a later torch has more, and defaults for what an earlier one did not save
        _check_options(now, then, [*options, *(name for name in now if known and name in then)])
        _check_rate(then)
    if known:
        parameters = [each for group in groups for each in group["params"]]
        _check_moments(parameters, saved["state"])


def _check_rate(then: Mapping[str, Any]) -> None:
    """The rate of the last step, and whether it was on its way to that of another schedule."""
    easing = then.get("easing") or {"rate": 0.0, "step": 0, "steps": 1}
    numbers = [then["lr"], easing["rate"], easing["step"], easing["steps"]]
    if not all(type(each) in (int, float) and 0 <= each < 1e300 for each in numbers):
        raise RunError(
            f"its learning rate is {shown(then['lr'])}, and was to change by {shown(easing)}"
        )


def _check_options(now: Mapping[str, Any], then: Mapping[str, Any], names: Iterable[str]) -> None:
    for name in names:
        if name in now and name not in _MOVING and not _equal(now[name], then[name]):
            values = f"{shown(then[name])}, the config has {shown(now[name])}"
            raise RunError(f"saved with optimizer.{name} = {values}; this cannot change")


def _check_moments(parameters: list[Tensor], state: Mapping[Any, Mapping[str, Any]]) -> None:
    """Adam's state of each parameter that ever had a gradient."""
    for number, moments in state.items():
        shape = tuple(parameters[number].shape)
        expected = {"step": (), "exp_avg": shape, "exp_avg_sq": shape}
        for name in expected:
            value = torch.as_tensor(moments[name])
            dense = value.layout is torch.strided and value.device.type == "cpu"
            real = value.is_floating_point() or type(moments[name]) is int  # geoopt counts in int
            if not dense or not real or value.shape != expected[name]:
                found = f"expected numbers of shape {expected[name]}"
                raise RunError(f"{name} of parameter {number}: {found}")


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(_equal, one, other))
    return type(one) is type(other) and bool(one == other)
