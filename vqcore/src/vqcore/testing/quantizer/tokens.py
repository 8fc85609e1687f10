"""What must hold for masked tokens, losses and extreme latents with every quantizer."""

from __future__ import annotations

import copy
import math
from dataclasses import replace

import torch
from torch import Tensor

from vqcore.interfaces.manifold import Manifold
from vqcore.layer import VectorQuantizer
from vqcore.numerics.masking import largest
from vqcore.plugin.registry import default_registry
from vqcore.testing.quantizer.bench import QuantizerBench, Step, backward, train_step
from vqcore.testing.rules import expect, finite, near, rule, same
from vqcore.testing.samples import normal, some_mask, state_of

#: Coordinates of tokens that do not count.
BAD = {
    torch.float32: (math.nan, math.inf, -math.inf, 1e15, 1e19, -1e25, 3e38),
    torch.float64: (math.nan, math.inf, -math.inf, 1e150, -1e300, 1.79e308),
}
#: Scales of latents at which formulas break.
FACTORS = {"zero": 0.0, "tiny": 1e-20, "huge": 1e5}


class TokenRules(QuantizerBench):
    """Part of ``QuantizerConformance``."""

    @rule
    def test_mask_is_trimming(self, manifold: Manifold) -> None:
        """A masked batch gives the indices, losses, gradients and codes of one without them."""
        for layer in self.both(manifold):
            other, mask = copy.deepcopy(layer), some_mask(self.tokens)
            for seed in range(2):
                z = self.latents(layer, seed=seed)
                z[~mask] *= 1e3
                _compare(train_step(layer, z, mask), train_step(other, z[mask]), mask)
            near_states(layer, other, "state after two steps")

    @rule
    def test_masked_tokens_are_minus_one_and_zero(self, manifold: Manifold) -> None:
        """A masked token has index -1 and a zero vector, in the quantizer and in the layer."""
        layer = self.started(manifold)
        mask = normal(2, 16, seed=5) > 0
        for mode in (True, False):
            result = layer.train(mode).quantizer(self.tangents(layer, 2, 16), mask)
            out = layer(self.latents(layer, 2, 16), mask=mask)
            for indices, vectors in ((result.indices, result.z_q), (out.indices, out.quantized)):
                expect((indices[~mask] == -1).all(), "an index other than -1 for a masked token")
                expect(not vectors[~mask].any(), "a vector other than zero for a masked token")

    @rule
    def test_lengths_are_a_mask(self, manifold: Manifold) -> None:
        """The layer's ``lengths`` mask all but each sample's first positions."""
        layer = self.started(manifold).eval()
        z, lengths = self.latents(layer, 3, 5, 2), torch.tensor([5, 0, 3])
        mask = (torch.arange(5) < lengths[:, None])[..., None].repeat(1, 1, 2)
        by_mask, by_lengths = layer(z, mask=mask), layer(z, lengths=lengths)
        same(by_lengths.indices, by_mask.indices, "indices")
        same(by_lengths.quantized, by_mask.quantized, "vectors")

    @rule
    def test_no_token_is_no_loss(self, manifold: Manifold) -> None:
        """A batch that is empty, masked or bad has no loss, finite gradients, and moves no code."""
        for layer in self.both(manifold):
            before = copy.deepcopy(layer)
            for count, factor, keep in ((0, 1.0, True), (3, 1.0, False), (3, float("inf"), True)):
                z = (factor * self.latents(layer, count)).requires_grad_()
                out = layer(z, mask=torch.full((count,), keep))
                for name, loss in out.losses.items():
                    expect(loss == 0, f"{name} = {loss.item():.3g} with no token of {count}")
                for name, gradient in backward(layer, z, out).items():
                    finite(gradient, f"the gradient of {name}")
                layer.update()
            found, expected = (
                each.eval().quantizer(self.tangents(each)).z_q for each in (layer, before)
            )
            same(found, expected, "codes afterwards")

    @rule
    def test_bad_tokens_are_left_out(self, manifold: Manifold) -> None:
        """Tokens of NaN, inf or huge numbers are counted, get index -1, and move nothing else."""
        for dtype, values in BAD.items():
            layer = self.started(manifold).to(dtype)
            other = copy.deepcopy(layer)
            z, good = self.latents(layer, dtype=dtype), torch.ones(self.tokens, dtype=torch.bool)
            for place, bad in enumerate(values[: self.tokens // 2]):
                z[2 * place, 3 % layer.dim] = bad
                good[2 * place] = False
            step = train_step(layer, z)
            counted, expected = int(step.out.metrics["bad_tokens"]), int((~good).sum())
            expect(counted == expected, f"{counted} tokens counted as bad instead of {expected}")
            finite(step.grads["z"], "the gradient of bad latents")
            _compare(step, train_step(other, z[good]), good)
            near_states(layer, other, f"state after bad tokens in {dtype}")
            indices = layer.eval().encode(z)
            expect((indices[~good] == -1).all(), "encode gives a bad token a code")

    @rule
    def test_the_largest_tokens_are_finite(self, manifold: Manifold) -> None:
        """A step on the largest numbers that count has finite values, gradients and state."""
        for layer in self.both(manifold):
            for dtype in BAD:
                made, z = copy.deepcopy(layer).to(dtype), self.latents(layer, dtype=dtype)
                z = (0.99 * largest(dtype) / z.abs().max() * z).requires_grad_()
                out = made(z)
                grads = backward(made, z, replace(out, quantized=out.quantized.tanh()))
                made.update()
                bad = int(out.metrics["bad_tokens"])
                expect(bad == 0, f"{bad} tokens within the limit of {dtype} counted as bad")
                found = {**out.losses, **out.metrics, "quantized": out.quantized}
                found |= {f"the gradient of {name}": value for name, value in grads.items()}
                for name, value in (found | state_of(made)).items():
                    finite(value, f"{name} for the largest latents in {dtype}")

    @rule
    def test_losses_are_scalars(self, manifold: Manifold) -> None:
        """Losses are finite scalars in the dtype of the latents."""
        layer = self.started(manifold)
        for dtype in (torch.float32, torch.float64):
            losses = layer.to(dtype).quantizer(self.tangents(layer, dtype=dtype)).losses
            for name, loss in losses.items():
                expect(loss.shape == (), f"{name} has shape {tuple(loss.shape)}")
                expect(loss.dtype == dtype, f"{name} is {loss.dtype} for {dtype}")
                finite(loss, name)

    @rule
    def test_losses_are_means(self, manifold: Manifold) -> None:
        """Losses are means over tokens: a batch with every token twice has the same ones."""
        layer = self.started(manifold)
        z = self.tangents(layer)
        twice = copy.deepcopy(layer).quantizer(torch.cat([z, z])).losses
        for name, loss in layer.quantizer(z).losses.items():
            near(twice[name], loss, f"{name} with every token twice", 1e-4, 1e-6)

    @rule
    def test_losses_have_unique_names(self, manifold: Manifold) -> None:
        """No loss has the name of a regularizer: the layer could not tell them apart."""
        layer = self.started(manifold)
        losses = layer.quantizer(self.tangents(layer)).losses
        taken = sorted(set(losses) & set(default_registry().names("regularizer")))
        expect(not taken, f"{', '.join(taken)} is a regularizer's name")

    @rule
    def test_finite_at_the_edges(self, manifold: Manifold) -> None:
        """Zero, equal, tiny and huge latents, and a single one, give finite values and codes."""
        for layer in self.both(manifold):
            many, one = self.latents(layer), self.latents(layer, 1)
            _check_finite(copy.deepcopy(layer), torch.ones_like(many), "equal latents")
            for z in (many, one):
                for what, factor in FACTORS.items():
                    _check_finite(copy.deepcopy(layer), factor * z, f"{len(z)} {what} latents")

    @rule
    def test_autocast_changes_no_index(self, manifold: Manifold) -> None:
        """Under autocast to bfloat16 the layer chooses the same codes, and losses stay float32."""
        layer = self.started(manifold)
        z = self.latents(layer)
        plain = copy.deepcopy(layer)(z)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            out = layer(z)
            same(layer.eval().encode(z), layer(z).indices, "encode and forward under autocast")
        same(out.indices, plain.indices, "indices under autocast")
        for name, loss in out.losses.items():
            same(loss, plain.losses[name], f"{name} under autocast")

    @rule
    def test_float64_stays_float64(self, manifold: Manifold) -> None:
        """In float64 vectors, losses, codes and gradients are float64, also after a step."""
        for layer in (self.fresh(manifold).double(), self.started(manifold).double()):
            step = train_step(layer, self.latents(layer, dtype=torch.float64))
            result = layer.quantizer(self.tangents(layer, dtype=torch.float64))
            named = {**step.out.losses, **step.grads, **dict(layer.named_parameters())}
            named |= {"quantized": step.out.quantized, "z_q": result.z_q}
            named["codebook"] = layer.codebook  # None if implicit
            named["decode"] = layer.decode(step.out.indices)
            named["lookup"] = layer.quantizer.lookup(result.indices)
            for name, value in named.items():
                dtype = torch.float64 if value is None else value.dtype
                expect(dtype == torch.float64, f"{name} is {dtype}")

    @rule
    def test_half_precision_and_back(self, manifold: Manifold) -> None:
        """A layer works in bfloat16, and moved back to float32 it continues to train."""
        layer = self.started(manifold).to(torch.bfloat16)
        z = self.latents(layer)
        out = copy.deepcopy(layer)(z.bfloat16())
        expect(out.quantized.dtype == torch.bfloat16, f"{out.quantized.dtype} for bfloat16 latents")
        finite(out.quantized, "the output in bfloat16")
        finite(out.loss, "the loss in bfloat16")
        out = train_step(layer.float(), z).out
        expect(out.quantized.dtype == torch.float32, f"{out.quantized.dtype} back in float32")
        finite(out.loss, "the loss back in float32")
        found = layer.eval().decode(layer.encode(z))
        same(found, layer(z).quantized, "decode(encode(z)) back in float32")


def _check_finite(layer: VectorQuantizer, z: Tensor, what: str) -> None:
    """A training step on z, its state and the eval output are finite."""
    step = train_step(layer, z)
    found = {**step.out.losses, **step.out.metrics, "quantized": step.out.quantized}
    found |= {f"the gradient of {name}": value for name, value in step.grads.items()}
    found |= {f"{name} afterwards": value for name, value in state_of(layer).items()}
    for name, value in found.items():
        finite(value, f"{name} for {what}")
    finite(layer.eval()(z).quantized, f"the eval output for {what}")


def _compare(masked: Step, trimmed: Step, mask: Tensor) -> None:
    """A step on tokens that ``mask`` (N,) keeps equals a step on those alone."""
    found, expected = masked.out, trimmed.out
    same(found.indices[mask], expected.indices, "indices of the tokens that count")
    expect((found.indices[~mask] == -1).all(), "an index other than -1 for a masked token")
    same(found.counts, expected.counts, "counts")
    near(found.quantized[mask], expected.quantized, "vectors", 1e-4, 1e-5)
    for name, loss in expected.losses.items():
        near(found.losses[name], loss, name, 1e-4, 1e-6)
    for name, gradient in trimmed.grads.items():
        other = masked.grads[name]
        expect((other is None) == (gradient is None), f"only one of both has a gradient of {name}")
        if gradient is not None:
            if name == "z":
                expect(not other[~mask].any(), "a gradient of a masked token")
                other = other[mask]
            near(other, gradient, f"the gradient of {name}", 1e-3, 1e-5)


def near_states(layer: VectorQuantizer, other: VectorQuantizer, what: str) -> None:
    """Two layers hold the same state up to the order of summation."""
    expected = state_of(other)
    for name, value in state_of(layer).items():
        near(value, expected[name], f"{what}: {name}", 1e-4, 1e-5)
