"""What every quantizer must hold of tokens that do not count, of losses, and at the edges of what numbers can say."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from vqcore.interfaces.manifold import Manifold
from vqcore.layer import VectorQuantizer
from vqcore.plugin.registry import default_registry
from vqcore.testing.quantizer.bench import QuantizerBench, Step, backward, train_step
from vqcore.testing.rules import expect, finite, near, rule, same
from vqcore.testing.samples import normal, state_of

#: Lengths of latents at which formulas break.
FACTORS = {"zero": 0.0, "tiny": 1e-20, "huge": 1e5}


class TokenRules(QuantizerBench):
    """Part of ``QuantizerConformance``."""

    # -- masks ---------------------------------------------------------------

    @rule
    def test_mask_is_trimming(self, manifold: Manifold) -> None:
        """A masked batch gives what one without those tokens does: indices, losses, counts, gradients, new codes."""
        for layer in (self.fresh(manifold), self.started(manifold)):
            other = copy.deepcopy(layer)
            mask = normal(self.tokens, seed=5) > -0.5
            for seed in range(2):
                z = self.latents(layer, seed=seed)
                z[~mask] *= 1e3
                masked, trimmed = train_step(layer, z, mask), train_step(other, z[mask])
                _compare(masked, trimmed, mask)
            near_states(layer, other, "state after two steps")

    @rule
    def test_masked_tokens_are_minus_one_and_zero(self, manifold: Manifold) -> None:
        """A masked token has index -1 and a zero vector, from the bare quantizer and from the layer."""
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
        """The layer's ``lengths`` mean the mask of each sample's first positions."""
        layer = self.started(manifold).eval()
        z, lengths = self.latents(layer, 3, 5, 2), torch.tensor([5, 0, 3])
        by_mask = layer(z, mask=(torch.arange(5) < lengths[:, None])[..., None].repeat(1, 1, 2))
        by_lengths = layer(z, lengths=lengths)
        same(by_lengths.indices, by_mask.indices, "indices")
        same(by_lengths.quantized.detach(), by_mask.quantized.detach(), "vectors")

    @rule
    def test_no_token_is_no_loss(self, manifold: Manifold) -> None:
        """An empty batch or one that is masked whole gives losses of 0 with finite gradients, and changes no code."""
        for layer in (self.fresh(manifold), self.started(manifold)):
            before = copy.deepcopy(layer)
            for count in (0, 3):
                z = self.latents(layer, count).requires_grad_()
                out = layer(z, mask=torch.zeros(count, dtype=torch.bool))
                for name, loss in out.losses.items():
                    expect(loss == 0, f"{name} = {loss.item():.3g} with {count} masked tokens")
                for name, gradient in backward(layer, z, out).items():
                    finite(gradient, f"the gradient of {name}")
                layer.update()
            after = layer.train(False).quantizer(self.tangents(layer)).z_q
            same(
                after.detach(),
                before.train(False).quantizer(self.tangents(layer)).z_q.detach(),
                "codes afterwards",
            )

    @rule
    def test_bad_tokens_are_left_out(self, manifold: Manifold) -> None:
        """A token with NaN or inf is counted, has index -1, and leaves gradients and codes as if it were not there."""
        for bad in (float("nan"), float("inf"), -float("inf")):
            layer = self.started(manifold)
            other = copy.deepcopy(layer)
            z, good = self.latents(layer), torch.ones(self.tokens, dtype=torch.bool)
            z[5, 3 % layer.dim], good[5] = bad, False
            step = train_step(layer, z)
            counted = int(step.out.metrics["bad_tokens"])
            expect(counted == 1, f"{counted} tokens counted as bad instead of 1")
            finite(step.grads["z"], f"the gradient of latents with {bad}")
            _compare(step, train_step(other, z[good]), good)
            near_states(layer, other, f"state after a token with {bad}")

    # -- losses --------------------------------------------------------------

    @rule
    def test_losses_are_scalars(self, manifold: Manifold) -> None:
        """Losses are finite scalars in the number type of the latents."""
        layer = self.started(manifold)
        for dtype in (torch.float32, torch.float64):
            for name, loss in (
                layer.to(dtype).quantizer(self.tangents(layer, dtype=dtype)).losses.items()
            ):
                expect(loss.shape == (), f"{name} has shape {tuple(loss.shape)}")
                expect(loss.dtype == dtype, f"{name} is {loss.dtype} for {dtype}")
                finite(loss, name)

    @rule
    def test_losses_are_means(self, manifold: Manifold) -> None:
        """Losses are means over tokens: a batch that holds every token twice has the same ones."""
        layer = self.started(manifold)
        z = self.tangents(layer)
        once, twice = (
            copy.deepcopy(layer).quantizer(each).losses for each in (z, torch.cat([z, z]))
        )
        for name, loss in once.items():
            near(twice[name], loss, f"{name} with every token twice", 1e-4, 1e-6)

    @rule
    def test_losses_have_names_of_their_own(self, manifold: Manifold) -> None:
        """No loss is named like a regularizer: the layer could not tell them apart."""
        layer = self.started(manifold)
        taken = set(layer.quantizer(self.tangents(layer)).losses) & set(
            default_registry().names("regularizer")
        )
        expect(not taken, f"{', '.join(sorted(taken))} is a regularizer's name")

    # -- edges ---------------------------------------------------------------

    @rule
    def test_finite_at_the_edges(self, manifold: Manifold) -> None:
        """Zero, equal, tiny and huge latents, and a single one, give finite values, gradients and codes."""
        fresh, started = self.fresh(manifold), self.started(manifold)
        many, one = self.latents(fresh), self.latents(fresh, 1)
        edges = {
            f"{len(z)} {what} latents": factor * z
            for z in (many, one)
            for what, factor in FACTORS.items()
        }
        edges["equal latents"] = torch.ones_like(many)
        for layer in (fresh, started):
            for what, z in edges.items():
                _check_finite(copy.deepcopy(layer), z, what)

    @rule
    def test_autocast_changes_no_index(self, manifold: Manifold) -> None:
        """Under autocast to bfloat16 the layer chooses the same codes, and its losses stay float32."""
        layer = self.started(manifold)
        z = self.latents(layer)
        plain = copy.deepcopy(layer)(z)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            out = layer(z)
            same(layer.eval().encode(z), layer(z).indices, "encode and forward under autocast")
        same(out.indices, plain.indices, "indices under autocast")
        for name, loss in out.losses.items():
            same(loss.detach(), plain.losses[name].detach(), f"{name} under autocast")

    @rule
    def test_float64_stays_float64(self, manifold: Manifold) -> None:
        """In float64 the vectors, losses, codes and gradients are float64, also after a step."""
        for layer in (self.fresh(manifold).double(), self.started(manifold).double()):
            z = self.latents(layer, dtype=torch.float64)
            step = train_step(layer, z)
            named = {"quantized": step.out.quantized, **step.out.losses, **step.grads}
            named |= {
                "codebook": layer.codebook,
                "decode": layer.decode(step.out.indices),
            }  # None where implicit
            named |= dict(layer.named_parameters())
            result = layer.quantizer(self.tangents(layer, dtype=torch.float64))
            named |= {"z_q": result.z_q, "lookup": layer.quantizer.lookup(result.indices)}
            for name, value in named.items():
                kind = torch.float64 if value is None else value.dtype
                expect(kind == torch.float64, f"{name} is {kind}")

    @rule
    def test_half_precision_and_back(self, manifold: Manifold) -> None:
        """A layer moved to bfloat16 works on bfloat16 latents, and moved back to float32 trains on."""
        layer = self.started(manifold).to(torch.bfloat16)
        z = self.latents(layer)
        out = copy.deepcopy(layer)(z.bfloat16())
        expect(out.quantized.dtype == torch.bfloat16, f"{out.quantized.dtype} for bfloat16 latents")
        finite(out.quantized, "the output in bfloat16")
        finite(out.loss, "the loss in bfloat16")
        layer = layer.float()
        step = train_step(layer, z)
        expect(
            step.out.quantized.dtype == torch.float32,
            f"{step.out.quantized.dtype} after the way back",
        )
        finite(step.out.loss, "the loss after the way back")
        out = layer.eval()(z)
        same(
            layer.decode(layer.encode(z)).detach(),
            out.quantized.detach(),
            "decode(encode(z)) after the way back",
        )


def _check_finite(layer: VectorQuantizer, z: Tensor, what: str) -> None:
    step = train_step(layer, z)
    for name, value in {
        **step.out.losses,
        **step.out.metrics,
        "quantized": step.out.quantized,
    }.items():
        finite(value, f"{name} of {what}")
    for name, gradient in step.grads.items():
        finite(gradient, f"the gradient of {name} for {what}")
    for name, value in state_of(layer).items():
        if isinstance(value, Tensor):
            finite(value, f"{name} after {what}")
    finite(layer.eval()(z).quantized, f"the eval output of {what}")


def _compare(masked: Step, trimmed: Step, mask: Tensor) -> None:
    """A step on tokens of which ``mask`` (N,) counts, beside one on those alone."""
    same(masked.out.indices[mask], trimmed.out.indices, "indices of the tokens that count")
    expect(
        (masked.out.indices[~mask] == -1).all(),
        "an index other than -1 for a token that does not count",
    )
    same(masked.out.counts, trimmed.out.counts, "counts")
    near(masked.out.quantized[mask], trimmed.out.quantized, "vectors", 1e-4, 1e-5)
    for name, loss in trimmed.out.losses.items():
        near(masked.out.losses[name], loss, name, 1e-4, 1e-6)
    for name, gradient in trimmed.grads.items():
        found = masked.grads[name]
        expect((found is None) == (gradient is None), f"only one of both has a gradient of {name}")
        if gradient is not None:
            expect(
                name != "z" or not found[~mask].any(), "a gradient of a token that does not count"
            )
            near(
                found[mask] if name == "z" else found,
                gradient,
                f"the gradient of {name}",
                1e-3,
                1e-5,
            )


def near_states(layer: VectorQuantizer, other: VectorQuantizer, what: str) -> None:
    """Two layers hold the same state, but for the order in which numbers were summed."""
    expected = state_of(other)
    for name, value in state_of(layer).items():
        if isinstance(value, Tensor):
            near(value, expected[name], f"{what}: {name}", 1e-4, 1e-5)
