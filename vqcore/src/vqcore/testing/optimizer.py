"""What must hold for every optimizer."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from vqcore.builtin.manifolds.euclidean import Euclidean
from vqcore.interfaces.manifold import Manifold
from vqcore.testing.rules import expect, finite, rule, same, valid
from vqcore.testing.samples import normal
from vqcore.testing.waits import device, no_waits, waits

#: Steps that must lower a loss.
STEPS = 100
#: Sizes of gradients at which formulas break.
SCALES = (0.0, 1e-20, 1e-8, 1.0, 1e8)


class OptimizerConformance:
    """Subclass it, return your optimizer from ``make``, and let pytest or ``violations`` run it.

    The rules need no closure: training calls ``step()``.
    """

    def make(self, params: Iterable[Any]) -> torch.optim.Optimizer:
        """A new optimizer of parameters, or of groups of them, with the options to be tested."""
        raise NotImplementedError("make: return the optimizer to be tested")

    def manifolds(self) -> Sequence[Manifold]:
        """Manifolds whose codes, as ``Manifold.parameter`` stores them, it can train."""
        return [Euclidean()]

    @rule
    def test_all_parameters_are_in_groups(self) -> None:
        """It is a torch.optim.Optimizer: each parameter is in one group, which has its ``lr``."""
        for given in (_parameters(), iter(_parameters()), [{"params": _parameters()}]):
            optimizer = self.make(given)
            right = isinstance(optimizer, torch.optim.Optimizer)
            expect(right, f"a {type(optimizer).__name__} is no torch.optim.Optimizer")
            members = [each for group in optimizer.param_groups for each in group["params"]]
            once = len({id(each) for each in members}) == len(members) == len(_parameters())
            expect(once, f"{len(members)} members of groups for {len(_parameters())} parameters")
            for group in optimizer.param_groups:
                number = isinstance(group.get("lr"), int | float)
                expect(number, f"lr = {group.get('lr')!r} of a group, expected a number")

    @rule
    def test_groups_keep_their_options(self) -> None:
        """A group that is given an ``lr`` keeps it; one without takes that of the options."""
        one, other = _parameters(), _parameters()
        usual = self.make(other).param_groups[0]["lr"]
        groups = self.make([{"params": one, "lr": usual / 8}, {"params": other}]).param_groups
        rates = {id(each): group["lr"] for group in groups for each in group["params"]}
        same({rates[id(each)] for each in one}, {usual / 8}, "the lr of the first group")
        same({rates[id(each)] for each in other}, {usual}, "the lr of the second group")

    @rule
    def test_a_quadratic_is_lowered(self) -> None:
        """A hundred steps lower the squared distance to a point, in float32 and float64."""
        for dtype in (torch.float32, torch.float64):
            parameters = _parameters(dtype)
            optimizer = self.make(parameters)
            losses = [_step(optimizer, parameters) for _ in range(STEPS)]
            finite(torch.stack(losses), f"the loss in {dtype}")
            what = f"from {float(losses[0]):g} to {float(losses[-1]):g} in {dtype}"
            expect(losses[-1] < losses[0], what)
            for each in parameters:
                expect(each.dtype == dtype, f"a parameter in {each.dtype} of {dtype}")

    @rule
    def test_no_gradient_is_no_step(self) -> None:
        """A parameter whose ``grad`` is None stays as it is; there may be nothing else."""
        parameters = _parameters()
        optimizer, before = self.make(parameters), parameters[0].detach().clone()
        for _ in range(3):
            _step(optimizer, parameters[1:])
            same(parameters[0].detach(), before, "a parameter without a gradient")
        self.make([nn.Parameter(torch.zeros(0))]).step()  # of a model without parameters

    @rule
    def test_rate_is_that_of_the_groups(self) -> None:
        """The schedule acts: a group whose ``lr`` is set to 0 stays, the others move."""
        one, other = _parameters(), _parameters()
        optimizer = self.make([{"params": one}, {"params": other}])
        _step(optimizer, [*one, *other])
        still = {id(each) for each in one}
        rates: dict[int, float] = {}
        for group in optimizer.param_groups:
            if any(id(each) in still for each in group["params"]):
                group["lr"] = 0.0
            rates |= {id(each): group["lr"] for each in group["params"]}
        before = [each.detach().clone() for each in (*one, *other)]
        _step(optimizer, [*one, *other])
        for now, then in zip((*one, *other), before, strict=True):
            moved, rate = not torch.equal(now, then), rates[id(now)]
            expect(moved == (rate != 0), f"moved = {moved} with lr {rate:g}")

    @rule
    def test_steps_are_finite(self) -> None:
        """Zero, tiny and large gradients give finite parameters."""
        for scale in SCALES:
            parameters = _parameters()
            optimizer = self.make(parameters)
            for _ in range(3):
                for each in parameters:
                    each.grad = scale * torch.ones_like(each)
                optimizer.step()
            for each in parameters:
                finite(each, f"a parameter after gradients of {scale:g}")

    @rule
    def test_gradients_are_untouched(self) -> None:
        """A step writes to no gradient, and ``zero_grad`` clears them."""
        parameters = _parameters()
        optimizer = self.make(parameters)
        for each in parameters:
            each.grad = torch.full_like(each, 0.5)
        optimizer.step()
        for each in parameters:
            same(each.grad, torch.full_like(each, 0.5), "a gradient after the step")
        optimizer.zero_grad()
        cleared = all(each.grad is None or not each.grad.any() for each in parameters)
        expect(cleared, "zero_grad left a gradient")

    @rule
    def test_state_is_complete(self) -> None:
        """An optimizer that loads a saved state, with weights_only, goes on to the bit."""
        for manifold in (None, *self.manifolds()):
            first, second = (self._trained(manifold) for _ in range(2))
            for _ in range(3):
                first.step()
            file = io.BytesIO()
            torch.save(first.optimizer.state_dict(), file)
            file.seek(0)
            with torch.no_grad():
                for ours, theirs in zip(second.parameters, first.parameters, strict=True):
                    ours.copy_(theirs)
            second.optimizer.load_state_dict(torch.load(file, weights_only=True))
            for step in range(3):
                first.step()
                second.step()
                for ours, theirs in zip(second.parameters, first.parameters, strict=True):
                    same(ours.detach(), theirs.detach(), f"a parameter {step} steps after loading")

    @rule
    def test_codes_stay_on_the_manifold(self, manifold: Manifold) -> None:
        """Codes as the manifold stores them come closer to others, and stay valid at each step."""
        trained = self._trained(manifold)
        losses = []
        for _ in range(STEPS):
            losses.append(trained.step())
            _, points = manifold.codes(trained.parameters[0])
            valid(manifold, points, "codes after a step")
        what = f"from {float(losses[0]):g} to {float(losses[-1]):g}"
        expect(losses[-1] < losses[0], what)

    @rule
    def test_no_step_waits(self) -> None:
        """Once its state is there, a step does not wait for the device."""
        parameters = [nn.Parameter(each.detach().to(device())) for each in _parameters()]
        optimizer = self.make(parameters)
        # on a CPU, inside ``waits``, which tells what of its state lies on the host
        with waits() if device().type == "cpu" else nullcontext():
            _step(optimizer, parameters)
        with no_waits("a step"):
            _step(optimizer, parameters)

    def _trained(self, manifold: Manifold | None) -> _Trained:
        if manifold is None:
            return _Trained(self.make, _parameters(), None)
        tangents = manifold.tangent(normal(6, 3, seed=1)).detach()
        codes = manifold.parameter(manifold.expmap0(tangents))
        return _Trained(self.make, [codes], manifold)


class _Trained:
    """An optimizer with its parameters, which come closer to others on a manifold."""

    def __init__(
        self, make: Any, parameters: list[nn.Parameter], manifold: Manifold | None
    ) -> None:
        self.parameters, self.manifold = parameters, manifold
        self.optimizer: torch.optim.Optimizer = make(parameters)

    def step(self) -> Tensor:
        """The loss before a step."""
        space = self.manifold
        if space is None:
            return _step(self.optimizer, self.parameters)
        target = space.expmap0(space.tangent(0.5 * normal(6, 3, seed=2))).detach()
        _, points = space.codes(self.parameters[0])
        return _descend(self.optimizer, space.squared_dist(points, target).sum())


def _parameters(dtype: torch.dtype = torch.float32) -> list[nn.Parameter]:
    """A matrix, a vector and a number."""
    shapes: tuple[tuple[int, ...], ...] = ((4, 3), (5,), ())
    return [nn.Parameter(normal(*shape, seed=n, dtype=dtype)) for n, shape in enumerate(shapes)]


def _step(optimizer: torch.optim.Optimizer, parameters: Sequence[Tensor]) -> Tensor:
    """One step towards 3; returns the loss before it."""
    return _descend(optimizer, torch.stack([(p - 3).square().sum() for p in parameters]).sum())


def _descend(optimizer: torch.optim.Optimizer, loss: Tensor) -> Tensor:
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.detach()
