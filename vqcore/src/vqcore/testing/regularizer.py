"""What must hold for every regularizer."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NoReturn

import torch
from torch import Tensor

from vqcore.builtin.manifolds.euclidean import Euclidean
from vqcore.interfaces.latent_batch import LatentBatch
from vqcore.interfaces.manifold import Manifold
from vqcore.interfaces.regularizer import Regularizer
from vqcore.resolve import Choice
from vqcore.testing.latent_batches import (
    CODES,
    DIM,
    POSITIONS,
    TOKENS,
    batch_of,
    check_finite,
    draw_latents,
    extras_for,
    layer_with,
    train,
)
from vqcore.testing.rules import expect, fail, finite, near, rule, same, stated, unless_stated
from vqcore.testing.samples import gradients, normal, same_state, some_mask, state_of, untouched
from vqcore.testing.waits import device, no_waits


class RegularizerConformance:
    """Subclass it, return your regularizer from ``make``, and let pytest or ``violations`` run it.

    Attributes:
        computes_on_host: instead of what the regularizer states.
    """

    computes_on_host: bool | None = None

    def make(self, **options: Any) -> Regularizer:
        """A new regularizer with ``options``, any of weight, every and start."""
        raise NotImplementedError("make: return the regularizer to be tested")

    def manifolds(self) -> Sequence[Manifold]:
        """The manifolds to check on."""
        return [Euclidean()]

    def quantizers(self) -> Sequence[Choice]:
        """The quantizers to combine it with inside the layer."""
        return ["vqcore/codebook"]

    # -- the term on its own ---------------------------------------------------

    @rule
    def test_term_is_a_scalar(self, manifold: Manifold) -> None:
        """The term is a finite scalar in the dtype of the latents."""
        for dtype in (torch.float32, torch.float64):
            module, space = self.make().to(dtype), manifold.to(dtype)
            z, codes = (normal(n, DIM, seed=n, dtype=dtype) for n in (TOKENS, CODES))
            term = module(batch_of(module, space, z, codes))
            expect(term.shape == (), f"shape {tuple(term.shape)} instead of ()")
            expect(term.dtype == dtype, f"{term.dtype} for latents in {dtype}")
            finite(term, "the term")

    @rule
    def test_gradient_is_finite(self, manifold: Manifold) -> None:
        """The term has a finite gradient, for the latents, the codes or the decoder."""
        module = self.make()
        found = check_finite(module, batch_of(module, manifold), "a batch")
        reached = any(gradient is not None for gradient in found)
        expect(reached, "neither latents, codes nor decoder get a gradient")

    @rule
    def test_collapse_is_finite(self, manifold: Manifold) -> None:
        """Term and gradient are finite for equal codes, equal or zero latents, or one code."""
        module, ones, some = self.make(), torch.ones(20, DIM), normal(20, DIM)
        latents = {"equal latents": ones, "zero latents": 0 * ones, "latents": some}
        for count in (1, 2, CODES):
            equal, different = torch.ones(count, DIM), normal(count, DIM, seed=1)
            kinds = {"equal": equal, "zero": 0 * equal, "different": different}
            # squares of these are rounded, to fewer digits or to 0
            kinds |= {f"{scale:g} x normal": scale * different for scale in (1e-19, 1e-20, 1e-23)}
            kinds["first zero"] = different * (torch.arange(count) > 0).unsqueeze(1)
            for kind, codes in kinds.items():
                for what, z in latents.items():
                    batch = batch_of(module, manifold, z, codes)
                    check_finite(module, batch, f"{what} and {count} {kind} codes")

    @rule
    def test_no_token_is_finite(self, manifold: Manifold) -> None:
        """Term and gradient are finite for no token, one token, or all of them masked."""
        module = self.make()
        for count in (0, 1):
            batch = batch_of(module, manifold, normal(count, DIM))
            check_finite(module, batch, f"{count} tokens")
        masked = batch_of(module, manifold, mask=torch.zeros(TOKENS, dtype=torch.bool))
        check_finite(module, masked, "tokens that are all masked")

    @rule
    def test_implicit_codebook_works(self, manifold: Manifold) -> None:
        """Term and gradient are finite for a codebook of None, an implicit one."""
        module = self.make()
        batch = batch_of(module, manifold)
        implicit = replace(batch, codebook=None, z_q=batch.z_q.detach())
        check_finite(module, implicit, "an implicit codebook")

    @rule
    def test_mask_is_trimming(self, manifold: Manifold) -> None:
        """A term of one codebook is, on a masked batch, what it is without those tokens."""
        self._check_masked(manifold, with_mask=True)

    @rule
    def test_minus_one_is_ignored(self, manifold: Manifold) -> None:
        """A term of one codebook ignores tokens of index -1, also if there is no mask."""
        self._check_masked(manifold, with_mask=False)

    def _check_masked(self, manifold: Manifold, *, with_mask: bool) -> None:
        module = self.make()
        if module.scope != "codebook":
            return
        mask, z = some_mask(TOKENS), normal(TOKENS, DIM)
        z[~mask] = 7.0  # where the layer has zeros
        masked = batch_of(module, manifold, z, mask=mask)
        found = module(masked if with_mask else replace(masked, mask=None))
        expected = self.make()(batch_of(module, manifold, z[mask]))
        near(found, expected, "the term with masked tokens", 1e-4, 1e-6)

    @rule
    def test_input_is_untouched(self, manifold: Manifold) -> None:
        """The batch is not written to."""
        module = self.make()
        batch = batch_of(module, manifold)
        held = {name: value for name, value in vars(batch).items() if isinstance(value, Tensor)}
        with untouched(**held):
            module(batch)

    @rule
    def test_repeated_calls_agree(self, manifold: Manifold) -> None:
        """A second call with a batch gives the same term, and does not affect later batches."""
        module, other = self.make(), self.make()
        for step in range(3):
            batch = batch_of(module, manifold, normal(TOKENS, DIM, seed=step), step=step)
            first, again = module(batch), module(batch)
            same(again, first, f"the term of a second call on step {step}")
            same(first, other(batch), f"the term on step {step} after repeated calls")

    @rule
    def test_state_is_complete(self, manifold: Manifold) -> None:
        """A second regularizer that loads the state dict strictly continues as the first."""
        module, twin = self.make(), self.make()
        batches = []
        for step in range(12):
            z, codes = normal(TOKENS, DIM, seed=step), normal(CODES, DIM, seed=step // 3)
            batches.append(batch_of(module, manifold, z, codes, step=step))
        for batch in batches[:4]:
            module(batch)
        twin.load_state_dict(state_of(module), strict=True)
        same_state(twin, state_of(module), "state after loading")
        for batch in batches[4:]:
            what = f"the term of step {batch.step} after loading the state of step 3"
            same(twin(batch), module(batch), what)

    @rule
    def test_schedule_is_kept(self) -> None:
        """The term acts on steps divisible by ``every``, from ``start``, and never at weight 0."""
        module = self.make(weight=1.0, every=3, start=4)
        acted = [step for step in range(13) if module.acts_on(step)]
        expect(acted == [6, 9, 12], f"every=3 and start=4: acts on {acted}, not [6, 9, 12]")
        silent = self.make(weight=0.0)
        expect(not any(silent.acts_on(step) for step in range(5)), "it acts at weight 0")
        expect(self.make(weight=0.25).weight == 0.25, "its weight is not the one given")

    # -- in the layer ----------------------------------------------------------

    @rule
    def test_works_in_the_layer(self, manifold: Manifold) -> None:
        """In the layer, with each quantizer, the term and the gradients of the loss are finite."""
        for quantizer in self.quantizers():
            layer, name = layer_with(self.make(weight=1.0), manifold, quantizer)
            for step in range(2):
                z = draw_latents(seed=step).requires_grad_()
                out = layer(z, **extras_for())
                expect(name in out.losses, f"no term with {quantizer}")
                finite(out.losses[name], f"the term with {quantizer}")
                for gradient in gradients(out.loss, [z, *layer.parameters()]):
                    finite(gradient, f"a gradient with {quantizer}")
                layer.update()

    @rule
    def test_degenerate_batches_in_the_layer(self, manifold: Manifold) -> None:
        """In the layer the term and gradients are finite for latents that say little.

        Residuals of as many latents as codes are zero after the first stage.
        """
        few = normal(CODES // POSITIONS, POSITIONS, DIM)
        latents = {"as many latents as codes": few, "one latent": few[:1, :1], "bad": few / 0}
        latents |= {"equal": torch.ones(2, POSITIONS, DIM), "tiny": 1e-20 * few, "zero": 0 * few}
        for quantizer in self.quantizers():
            layer, name = layer_with(self.make(weight=1.0), manifold, quantizer)
            for what, z in latents.items():
                made, x = copy.deepcopy(layer), z.clone().requires_grad_()
                out = made(x, **extras_for(len(x)))
                finite(out.losses[name], f"the term of {what} with {quantizer}")
                for gradient in gradients(out.loss, [x, *made.parameters()]):
                    finite(gradient, f"a gradient of {what} with {quantizer}")

    @rule
    def test_masked_samples_have_no_effect(self, manifold: Manifold) -> None:
        """In the layer, masking samples and last positions is the same as leaving them out."""
        for quantizer in self.quantizers():
            layer, name = layer_with(self.make(weight=1.0), manifold, quantizer)
            z, extras = normal(6, POSITIONS + 1, DIM), extras_for(6)
            # Codes start near the latents: on them a residual is rounding error alone.
            layer(1.3 * z.flip(0), **extras)
            mask = torch.zeros(6, POSITIONS + 1, dtype=torch.bool)
            mask[:4, :POSITIONS] = True
            masked = z.clone().requires_grad_()
            trimmed = z[:4, :POSITIONS].clone().requires_grad_()
            found = copy.deepcopy(layer)(masked, mask=mask, **extras).losses[name]
            extras["inputs"] = extras["inputs"][:4]
            expected = layer(trimmed, **extras).losses[name]
            near(found, expected, f"the masked term with {quantizer}", 1e-4, 1e-6)
            slopes = []
            for term, latents in ((found, masked), (expected, trimmed)):
                (slope,) = gradients(term, [latents])
                slopes.append(torch.zeros_like(latents) if slope is None else slope)
            what = f"its gradient with {quantizer}"
            near(slopes[0][:4, :POSITIONS], slopes[1], what, 1e-3, 1e-5)

    @rule
    def test_acts_in_training_alone(self) -> None:
        """The layer evaluates the term neither in eval nor at weight 0, and applies its weight."""
        for weight, mode in ((1.0, False), (0.0, True)):
            module = self.make(weight=weight)
            layer, name = layer_with(module, Euclidean())
            module.forward = _refuse_to_run  # type: ignore[method-assign]
            out = layer.train(mode)(draw_latents(), **extras_for())
            where = f"at weight {weight:g} in {'training' if mode else 'eval'}"
            expect(name not in out.losses, f"a loss {where}")
        terms = []
        for weight in (1.0, 3.0):
            layer, name = layer_with(self.make(weight=weight), Euclidean())
            terms.append(layer(draw_latents(), **extras_for()).losses[name])
        near(terms[1], 3 * terms[0], "the term at three times the weight", 1e-5, 1e-7)

    @rule
    def test_no_step_waits(self, manifold: Manifold) -> None:
        """In the layer, with each quantizer, a training step does not wait for the device."""
        module = self.make()
        if stated(self, module, "computes_on_host") and device().type == "cpu":
            return
        for quantizer in self.quantizers():
            layer, _ = layer_with(self.make(weight=1.0), manifold, quantizer)
            layer.to(device())
            extras = {name: each.to(device()) for name, each in extras_for().items()}
            z = draw_latents().to(device()).requires_grad_()
            for _ in range(2):  # the first starts the codes, and may start work in the background
                train(layer, z, extras)
            on_host = unless_stated(module, "computes_on_host = True", "the host computes the term")
            with on_host, no_waits(f"a training step with {quantizer}"):
                train(layer, z, extras)


def _refuse_to_run(batch: LatentBatch) -> NoReturn:
    fail(f"the term was evaluated on step {batch.step}")
