"""What must hold for the state of every quantizer: what changes it, and that it is complete."""

from __future__ import annotations

import copy
import io

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from vqcore.interfaces.manifold import Manifold
from vqcore.layer import VectorQuantizer
from vqcore.testing.collectives import refused
from vqcore.testing.quantizer.bench import TOKENS, QuantizerBench, Step, train_step
from vqcore.testing.quantizer.tokens import near_states
from vqcore.testing.rules import expect, finite, near, rule, same, valid
from vqcore.testing.samples import same_state, seeded, state_of
from vqcore.testing.waits import device, no_waits

#: Steps before a state is loaded, and steps compared from there: past a tenth step, on which dead
#: codes are replaced.
DONE, FOLLOWED = 3, 8


class TrainingRules(QuantizerBench):
    """Part of ``QuantizerConformance``."""

    @rule
    def test_eval_changes_nothing(self, manifold: Manifold) -> None:
        """In eval no state changes, two calls agree, and training continues as if without them."""
        for layer in self.both(manifold):
            other, before = copy.deepcopy(layer), state_of(layer)
            z = self.latents(layer, seed=1)
            layer.eval()
            first, again = layer(z), layer(z)
            layer.decode(layer.encode(z))
            layer.lookup(first.indices)
            layer.train().inspect(z)
            same(again.indices, first.indices, "indices of a second call")
            same(again.quantized, first.quantized, "vectors of a second call")
            same_state(layer, before, "state after eval")
            for step in range(2):
                z = self.latents(layer, seed=step)
                _same_step(train_step(layer, z), train_step(other, z), "after eval")

    @rule
    def test_eval_enters_no_collective(self, manifold: Manifold) -> None:
        """Eval enters no collective: neither forward nor encode, decode or lookup."""
        layer = self.started(manifold).eval()
        z = self.latents(layer)
        with refused("eval"):
            indices = layer(z).indices
            layer.encode(z)
            layer.decode(indices)
            layer.lookup(indices)

    @rule
    def test_forward_enters_no_collective(self, manifold: Manifold) -> None:
        """Once started, a training forward enters no collective: update() has them all."""
        layer = self.started(manifold)
        with refused("a training forward"):
            layer(self.latents(layer))

    @rule
    def test_no_step_waits(self, manifold: Manifold) -> None:
        """Once started, no training step waits for the device, nor do encode, decode and lookup."""
        layer = self.started(manifold).to(device())
        z, *batches = (
            self.latents(layer, seed=seed).to(device()) for seed in range(DONE + FOLLOWED)
        )
        train_step(layer, z)  # a kernel that is compiled for the first time is waited for
        with no_waits("a training step"):
            for z in batches:
                train_step(layer, z)
        with no_waits("encode, decode or lookup"):
            indices = layer.eval().encode(z)
            layer.decode(indices)
            layer.lookup(indices)

    @rule
    def test_only_update_moves_codes(self, manifold: Manifold) -> None:
        """Once started, training forwards do not change the codes: update() alone does."""
        layer = self.started(manifold)
        probe = layer.quantizer.encode(self.tangents(layer))
        before = copy.deepcopy(layer)
        for seed in range(3):
            layer(self.latents(layer, seed=seed))
        expected = before.quantizer.decode(probe)
        same(layer.quantizer.decode(probe), expected, "decode after three forwards")
        same(layer.codebook, before.codebook, "codebook after three forwards")

    @rule
    def test_update_needs_no_forward(self, manifold: Manifold) -> None:
        """update() without a forward before it is allowed and moves no code."""
        for layer in self.both(manifold):
            probe = layer.quantizer.encode(self.tangents(layer))
            before = layer.quantizer.decode(probe).detach().clone()
            layer.update()
            same(layer.quantizer.decode(probe), before, "codes after update() alone")

    @rule
    def test_codes_stay_on_the_manifold(self, manifold: Manifold) -> None:
        """After training steps all state is finite and the codes are valid points."""
        layer = self.fresh(manifold)
        for seed in range(FOLLOWED):
            train_step(layer, 3 * self.latents(layer, seed=seed))
        for name, value in state_of(layer).items():
            finite(value, name)
        if layer.codebook is not None:
            valid(layer.manifold, layer.codebook, f"after {FOLLOWED} steps")

    @rule
    def test_gradients_accumulate(self, manifold: Manifold) -> None:
        """Two forwards before an update give the statistics of one forward of both batches."""
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
        """Under torch.utils.checkpoint, of either kind, gradients and state are the same."""
        for layer in self.both(manifold):
            z, plain = self.latents(layer), copy.deepcopy(layer)
            expected = _checkpointed(plain, z, None)
            for reentrant in (False, True):
                other, kind = copy.deepcopy(layer), f"with use_reentrant={reentrant}"
                for name, gradient in _checkpointed(other, z, reentrant).items():
                    wanted = expected[name]
                    if gradient is None or wanted is None:
                        expect(gradient is wanted, f"{kind} only one has a gradient of {name}")
                    else:
                        near(gradient, wanted, f"the gradient of {name} {kind}", 1e-5, 1e-7)
                near_states(other, plain, f"state {kind}")

    @rule
    def test_draws_ignore_the_global_seed(self, manifold: Manifold) -> None:
        """After construction nothing depends on torch's global generator."""
        layer = self.fresh(manifold)
        other = copy.deepcopy(layer)
        for step in range(3):
            z = self.latents(layer, seed=step)
            with seeded(1):
                one = train_step(layer, z)
            with seeded(2):
                two = train_step(other, z)
            _same_step(one, two, f"step {step} under another global seed")

    @rule
    def test_state_is_complete(self, manifold: Manifold) -> None:
        """A layer of another seed that loads the state dict strictly continues to the bit."""
        for done, followed in ((0, 2), (DONE, FOLLOWED)):
            layer, twin = self.fresh(manifold), self.fresh(manifold, seed=1)
            for step in range(done):
                train_step(layer, self.latents(layer, seed=step))
            twin.load_state_dict(state_of(layer), strict=True)
            for step in range(done, done + followed):
                z = self.latents(layer, seed=step)
                what = f"step {step} after loading the state of step {done}"
                _same_step(train_step(twin, z), train_step(layer, z), what)
            what = f"state {followed} steps after loading that of step {done}"
            same_state(twin, state_of(layer), what)

    @rule
    def test_state_can_be_saved(self, manifold: Manifold) -> None:
        """All state is tensors, as safetensors and torch.load with weights_only require."""
        layer = self.started(manifold)
        for name, value in layer.state_dict().items():
            expect(isinstance(value, Tensor), f"{name} is a {type(value).__name__}")
        file = io.BytesIO()
        torch.save(layer.state_dict(), file)
        file.seek(0)
        same_state(torch.load(file, weights_only=True), state_of(layer), "state after saving")

    @rule
    def test_copies_are_independent(self, manifold: Manifold) -> None:
        """A deep copy trains as the original would, and does not change the original."""
        layer = self.started(manifold)
        layer(self.latents(layer))  # statistics of a forward are copied too
        twin, before, z = copy.deepcopy(layer), state_of(layer), self.latents(layer, seed=1)
        theirs = train_step(twin, z)
        same_state(layer, before, "the original after its copy was trained")
        _same_step(train_step(layer, z), theirs, "the original after its copy")


def _same_step(found: Step, expected: Step, what: str) -> None:
    same(found.out.indices, expected.out.indices, f"indices, {what}")
    same(found.out.quantized, expected.out.quantized, f"vectors, {what}")
    for name, loss in expected.out.losses.items():
        same(found.out.losses[name], loss, f"{name}, {what}")


def _checkpointed(
    layer: VectorQuantizer, z: Tensor, reentrant: bool | None
) -> dict[str, Tensor | None]:
    """Gradients of a step, its forward recomputed unless ``reentrant`` is None; then an update."""
    named = {"z": z.clone().requires_grad_(), **dict(layer.named_parameters())}

    def forward(latents: Tensor) -> tuple[Tensor, Tensor]:
        out = layer(latents)
        return out.quantized, out.loss

    if reentrant is None:
        quantized, loss = forward(named["z"])
    else:
        quantized, loss = checkpoint(forward, named["z"], use_reentrant=reentrant)
    # ``backward`` is the only way that both kinds of checkpointing allow.
    (quantized.square().sum() / TOKENS + loss).backward()
    layer.update()
    return {name: value.grad for name, value in named.items()}
