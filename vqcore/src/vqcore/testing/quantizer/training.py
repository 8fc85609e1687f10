"""What every quantizer must hold of its state: who changes it, when, and that nothing is held beside it."""

from __future__ import annotations

import copy
import io

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from vqcore.interfaces.manifold import Manifold
from vqcore.layer import VectorQuantizer
from vqcore.testing import collectives
from vqcore.testing.quantizer.bench import TOKENS, QuantizerBench, Step, train_step
from vqcore.testing.quantizer.tokens import near_states
from vqcore.testing.rules import expect, finite, near, rule, same
from vqcore.testing.samples import same_state, seeded, state_of

#: Steps done before a state is loaded, and followed from there: past a tenth step, on which dead codes are looked for.
DONE, FOLLOWED = 3, 8


class TrainingRules(QuantizerBench):
    """Part of ``QuantizerConformance``."""

    # -- eval ----------------------------------------------------------------

    @rule
    def test_eval_changes_nothing(self, manifold: Manifold) -> None:
        """In eval no state changes, two calls agree, and training goes on as if they had not been made."""
        for layer in (self.fresh(manifold), self.started(manifold)):
            other, before = copy.deepcopy(layer), state_of(layer)
            z = self.latents(layer, seed=1)
            layer.eval()
            first, again = layer(z), layer(z)
            layer.decode(layer.encode(z))
            layer.lookup(first.indices)
            layer.train().inspect(z)
            same(again.indices, first.indices, "indices of a second call")
            same(again.quantized.detach(), first.quantized.detach(), "vectors of a second call")
            same_state(layer, before, "state after eval")
            for step in range(2):
                _same_step(
                    *(train_step(each, self.latents(layer, seed=step)) for each in (layer, other)),
                    "after eval",
                )

    @rule
    def test_eval_asks_no_other_process(self, manifold: Manifold) -> None:
        """Eval enters no collective: neither forward nor encode, decode or lookup."""
        layer = self.started(manifold).eval()
        z = self.latents(layer)
        with collectives.refused("eval"):
            indices = layer(z).indices
            layer.encode(z)
            layer.decode(indices)
            layer.lookup(indices)

    @rule
    def test_forward_asks_no_other_process(self, manifold: Manifold) -> None:
        """Once started, a training forward enters no collective: update() holds them all."""
        layer = self.started(manifold)
        with collectives.refused("a training forward"):
            layer(self.latents(layer))

    # -- training ------------------------------------------------------------

    @rule
    def test_only_update_moves_codes(self, manifold: Manifold) -> None:
        """Once started, training forwards leave the codes as they are: update() alone changes them."""
        layer = self.started(manifold)
        probe = layer.quantizer.encode(self.tangents(layer))
        before = layer.quantizer.decode(probe).detach().clone()
        book = None if layer.codebook is None else layer.codebook.detach().clone()
        for seed in range(3):
            layer(self.latents(layer, seed=seed))
        same(layer.quantizer.decode(probe).detach(), before, "decode after three forwards")
        if book is not None:
            same(layer.codebook.detach(), book, "codebook after three forwards")

    @rule
    def test_update_needs_no_forward(self, manifold: Manifold) -> None:
        """update() without a forward before it is allowed and moves no code."""
        for layer in (self.fresh(manifold), self.started(manifold)):
            probe = layer.quantizer.encode(self.tangents(layer))
            before = layer.quantizer.decode(probe).detach().clone()
            layer.update()
            same(layer.quantizer.decode(probe).detach(), before, "codes after update() alone")

    @rule
    def test_codes_stay_on_the_manifold(self, manifold: Manifold) -> None:
        """After training steps all state is finite and the codes are valid points."""
        layer = self.fresh(manifold)
        for seed in range(FOLLOWED):
            train_step(layer, 3 * self.latents(layer, seed=seed))
        for name, value in state_of(layer).items():
            if isinstance(value, Tensor):
                finite(value, name)
        if layer.codebook is not None:
            why = layer.manifold.check_points(layer.codebook)
            expect(why is None, f"after {FOLLOWED} steps: {why}")

    @rule
    def test_gradients_accumulate(self, manifold: Manifold) -> None:
        """Two forwards before an update leave the statistics that one forward of both batches does."""
        layer = self.started(manifold)
        other = copy.deepcopy(layer)
        a, b = (self.latents(layer, seed=seed) for seed in (1, 2))
        layer(a)
        layer(b)
        other(torch.cat([a, b]))
        layer.update()
        other.update()
        near_states(layer, other, "state after the update")

    @rule
    def test_activation_checkpointing(self, manifold: Manifold) -> None:
        """Under torch.utils.checkpoint, of either kind, gradients and state are those without it."""
        for layer in (self.fresh(manifold), self.started(manifold)):
            plain, *recomputed = (copy.deepcopy(layer) for _ in range(3))
            expected = _checkpointed(plain, self.latents(layer), None)
            for reentrant, other in zip((False, True), recomputed, strict=True):
                kind = f"with use_reentrant={reentrant}"
                for name, gradient in _checkpointed(other, self.latents(layer), reentrant).items():
                    if gradient is None or expected[name] is None:
                        expect(
                            gradient is expected[name], f"{kind} only one has a gradient of {name}"
                        )
                    else:
                        near(gradient, expected[name], f"the gradient of {name} {kind}", 1e-5, 1e-7)
                near_states(other, plain, f"state {kind}")

    @rule
    def test_draws_are_its_own(self, manifold: Manifold) -> None:
        """After construction nothing depends on torch's global generator: neither the start nor training nor eval."""
        layer = self.fresh(manifold)
        other = copy.deepcopy(layer)
        for step in range(3):
            z = self.latents(layer, seed=step)
            with seeded(1):
                one = train_step(layer, z)
            with seeded(2):
                two = train_step(other, z)
            _same_step(one, two, f"step {step} under another global seed")

    # -- state ---------------------------------------------------------------

    @rule
    def test_state_is_complete(self, manifold: Manifold) -> None:
        """A second layer, built under another seed, that loads the state dict strictly goes on bit for bit."""
        for done, followed in ((0, 2), (DONE, FOLLOWED)):
            layer, twin = self.fresh(manifold), self.fresh(manifold, seed=1)
            for step in range(done):
                train_step(layer, self.latents(layer, seed=step))
            twin.load_state_dict(state_of(layer), strict=True)
            for step in range(done, done + followed):
                a, b = (train_step(each, self.latents(layer, seed=step)) for each in (layer, twin))
                _same_step(b, a, f"step {step} after loading the state of step {done}")
            same_state(
                twin, state_of(layer), f"state {followed} steps after loading that of step {done}"
            )

    @rule
    def test_state_can_be_saved(self, manifold: Manifold) -> None:
        """All state is tensors, which safetensors can hold and torch.load reads with weights_only."""
        layer = self.started(manifold)
        for name, value in layer.state_dict().items():
            expect(isinstance(value, Tensor), f"{name} is a {type(value).__name__}")
        file = io.BytesIO()
        torch.save(layer.state_dict(), file)
        file.seek(0)
        same_state(torch.load(file, weights_only=True), state_of(layer), "state after saving")

    @rule
    def test_copies_are_independent(self, manifold: Manifold) -> None:
        """A deep copy trains as the original would, and leaves the original as it was."""
        layer = self.started(manifold)
        layer(self.latents(layer))  # statistics of a forward are copied too
        twin, before = copy.deepcopy(layer), state_of(layer)
        theirs = train_step(twin, self.latents(layer, seed=1))
        same_state(layer, before, "the original after its copy was trained")
        _same_step(
            train_step(layer, self.latents(layer, seed=1)), theirs, "the original after its copy"
        )


def _same_step(found: Step, expected: Step, what: str) -> None:
    same(found.out.indices, expected.out.indices, f"indices, {what}")
    same(found.out.quantized.detach(), expected.out.quantized.detach(), f"vectors, {what}")
    for name, loss in expected.out.losses.items():
        same(found.out.losses[name].detach(), loss.detach(), f"{name}, {what}")


def _checkpointed(
    layer: VectorQuantizer, z: Tensor, reentrant: bool | None
) -> dict[str, Tensor | None]:
    """Gradients of a step, the forward recomputed in the backward pass unless ``reentrant`` is None; then an update."""
    named = {"z": z.clone().requires_grad_(), **dict(layer.named_parameters())}

    def forward(latents: Tensor) -> tuple[Tensor, Tensor]:
        out = layer(latents)
        return out.quantized, out.loss

    if reentrant is None:
        quantized, loss = forward(named["z"])
    else:
        quantized, loss = checkpoint(forward, named["z"], use_reentrant=reentrant)
    (
        quantized.square().sum() / TOKENS + loss
    ).backward()  # the only way that both kinds of checkpointing allow
    layer.update()
    return {name: value.grad for name, value in named.items()}
