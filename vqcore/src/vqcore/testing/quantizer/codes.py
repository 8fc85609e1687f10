"""What must hold for the codes of every quantizer as they are copied, frozen and resized."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn, get_swa_multi_avg_fn

from vqcore.errors import UsageError
from vqcore.interfaces.manifold import Manifold
from vqcore.layer import VectorQuantizer
from vqcore.testing.quantizer.bench import RATE, QuantizerBench, train_step
from vqcore.testing.rules import expect, finite, near, rule, same, valid
from vqcore.testing.samples import state_of

#: Steps before codes are frozen, and steps with frozen codes: past the tenth, on which dead codes
#: are replaced.
DONE, FROZEN = 8, 4

#: Copies the weights of the first layer into the second, and returns that.
Copier = Callable[[VectorQuantizer, VectorQuantizer], VectorQuantizer]


class CodeRules(QuantizerBench):
    """Part of ``QuantizerConformance``."""

    @rule
    def test_copied_weights_keep_the_codes(self, manifold: Manifold) -> None:
        """Whoever copies, averages or loads parameters and buffers alone gets and keeps the codes.

        Nothing else may decide which codes there are: no attribute and no extra state.
        """
        layer = self.started(manifold)
        probe = layer.quantizer.encode(self.tangents(layer))
        for how, copied in COPIERS.items():
            other = copied(layer, self.fresh(manifold, seed=1))
            for mode in (False, True):
                other.train(mode)(self.latents(layer, seed=2))
                what = f"decode after {how}, and a forward with training={mode}"
                same(other.quantizer.decode(probe), layer.quantizer.decode(probe), what)

    @rule
    def test_frozen_codes_stay(self, manifold: Manifold) -> None:
        """Frozen codes do not change in training, started or not, and get no gradient.

        They are frozen by freeze_codes(), by eval() of the quantizer alone, and by
        requires_grad_(False) of the quantizer or of the layer.
        """
        trained = self.started(manifold)
        for step in range(DONE):
            train_step(trained, self.latents(trained, seed=step))
        for layer in (self.fresh(manifold), trained):
            for how, freeze in FREEZERS.items():
                frozen = copy.deepcopy(layer)
                optimizer = _warmed_up(frozen, self.latents(frozen)) if layer is trained else None
                freeze(frozen)
                _check_frozen(frozen, optimizer, self.latents(frozen), f"after {how}")
        frozen.unfreeze_codes()
        expect(not frozen.quantizer.codes_frozen, "unfreeze_codes() left the codes frozen")

    @rule
    def test_resizing_keeps_codes(self, manifold: Manifold) -> None:
        """resize_codebook gives each kept code its new index, or refuses with a UsageError.

        Growing keeps all codes with their indices; a layer of the new size loads the state.
        """
        layer = self.started(manifold)
        for size in (layer.codebook_size + 3, layer.codebook_size - 5):
            before, largest = layer.codebook, layer.codebook_size
            try:
                moved = layer.resize_codebook(size)
            except UsageError:
                return
            assert before is not None
            assert layer.codebook is not None
            shape = tuple(moved.shape)
            expect(shape == before.shape[:-1], f"indices {shape} of codes {tuple(before.shape)}")
            count = int((moved >= 0).sum(-1).amin())
            expect(count == min(size, largest), f"{count} of {largest} codes kept in {size}")
            for codes, old, new in _by_codebook(layer.codebook, before, moved):
                near(codes[new[new >= 0]], old[new >= 0], f"codes kept in {size}", 1e-5, 1e-6)
            if size > largest:
                same(moved, torch.arange(largest).expand(shape), "indices after growing")
            self._check_resized(layer, manifold, size)

    def _check_resized(self, layer: VectorQuantizer, manifold: Manifold, size: int) -> None:
        """A resized layer trains, and is one that was built with the new size."""
        found = layer.codebook_size, layer.quantizer.codebook_size
        expect(found == (size, size), f"codebook_size {found} instead of {size}")
        for step in range(2):
            train_step(layer, self.latents(layer, seed=step))
        for name, value in state_of(layer).items():
            finite(value, f"{name} with {size} codes")
        assert layer.codebook is not None
        valid(layer.manifold, layer.codebook, f"with {size} codes")
        built = self.make(dim=self.dim, codebook_size=size, manifold=copy.deepcopy(manifold))
        built.load_state_dict(state_of(layer.quantizer), strict=True)
        probe = layer.eval().quantizer.encode(self.tangents(layer))
        what = f"decode of a quantizer built with {size} codes"
        same(built.eval().decode(probe), layer.quantizer.decode(probe), what)


@torch.no_grad()
def _copied(layer: VectorQuantizer, other: VectorQuantizer) -> VectorQuantizer:
    targets, sources = ([*each.parameters(), *each.buffers()] for each in (other, layer))
    for target, source in zip(targets, sources, strict=True):
        target.copy_(source)
    return other


def _averaged(multi_avg_fn: Callable[..., None]) -> Copier:
    def copied(layer: VectorQuantizer, other: VectorQuantizer) -> VectorQuantizer:
        averaged = AveragedModel(other, multi_avg_fn=multi_avg_fn, use_buffers=True)
        for _ in range(3):
            averaged.update_parameters(layer)
        module: Any = averaged.module
        return module

    return copied


def _loaded(*, assign: bool) -> Copier:
    def copied(layer: VectorQuantizer, other: VectorQuantizer) -> VectorQuantizer:
        state = {name: value for name, value in state_of(layer).items() if "_extra_" not in name}
        other.load_state_dict(state, strict=False, assign=assign)
        return other

    return copied


COPIERS: dict[str, Copier] = {
    "copying parameters and buffers": _copied,
    # as on an accelerator; the default on a CPU is a formula of its own
    "averaging with equal weights": _averaged(get_swa_multi_avg_fn()),
    "averaging exponentially": _averaged(get_ema_multi_avg_fn(0.9)),
    "load_state_dict without extra state": _loaded(assign=False),
    "load_state_dict(assign=True)": _loaded(assign=True),
}

FREEZERS: dict[str, Callable[[VectorQuantizer], object]] = {
    "freeze_codes()": lambda layer: layer.freeze_codes(),
    "quantizer.eval()": lambda layer: layer.quantizer.eval(),
    "quantizer.requires_grad_(False)": lambda layer: layer.quantizer.requires_grad_(False),
    "requires_grad_(False)": lambda layer: layer.requires_grad_(False),
}


def _warmed_up(layer: VectorQuantizer, z: Tensor) -> torch.optim.Optimizer:
    """An optimizer whose momentum and weight decay would move codes that have no gradient left."""
    space = {id(parameter) for parameter in layer.manifold.parameters()}
    learned = [p for p in layer.parameters() if id(p) not in space]
    learned.append(torch.nn.Parameter(torch.zeros(1)))  # an optimizer needs one
    optimizer = torch.optim.SGD(learned, lr=RATE, momentum=0.9, weight_decay=0.1)
    out = layer(z.clone().requires_grad_())
    (out.loss + out.quantized.sum()).backward()
    optimizer.step()
    layer.update(optimizer)
    return optimizer


def _check_frozen(
    layer: VectorQuantizer, optimizer: torch.optim.Optimizer | None, z: Tensor, how: str
) -> None:
    """Training steps do not change what indices decode to."""
    probe = layer.quantizer.encode(layer.quantizer.tangent(z)).detach()
    expected = layer.quantizer.decode(probe).detach().clone()
    for _ in range(FROZEN):
        if optimizer is not None:
            optimizer.zero_grad()
        out = layer(z.clone().requires_grad_())
        (out.loss + out.quantized.sum()).backward()
        if optimizer is not None:
            optimizer.step()
        layer.update(optimizer)
        found = layer.quantizer.decode(probe)
        expect(not found.requires_grad, f"codes with a gradient {how}")
        same(found, expected, f"decode {how}")


def _by_codebook(
    codebook: Tensor, before: Tensor, moved: Tensor
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """The codes, the old codes and the new indices of each codebook."""
    tables = (codes.reshape(-1, *codes.shape[-2:]) for codes in (codebook, before))
    return zip(*tables, moved.reshape(-1, moved.shape[-1]), strict=True)
