"""What must hold for every regularizer."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NoReturn

import torch
from torch import Tensor, nn

from vqcore.builtin.manifolds.euclidean import Euclidean
from vqcore.interfaces.latent_batch import LatentBatch
from vqcore.interfaces.manifold import Manifold
from vqcore.interfaces.regularizer import Regularizer
from vqcore.layer import VectorQuantizer
from vqcore.resolve import Choice
from vqcore.testing.rules import expect, fail, finite, near, rule, same
from vqcore.testing.samples import (
    gradients,
    normal,
    same_state,
    seeded,
    some_mask,
    state_of,
    untouched,
)
from vqcore.testing.waits import device, no_waits

#: Dimension, codes and tokens of a batch; positions of a sample for terms of scope ``model``.
DIM, CODES, TOKENS, POSITIONS = 6, 8, 64, 4


class RegularizerConformance:
    """Subclass it, return your regularizer from ``make``, and let pytest or ``violations`` run it.

    A term of scope ``codebook`` receives one codebook and its tokens (N, d); one of scope ``model``
    receives latents (B, 4, D) with inputs, decoder and reconstruction.

    Attributes:
        computes_on_host: whether the term, where latents are on the CPU, is computed by the host,
            in NumPy for example: then only a GPU can tell whether a step waits for it.
    """

    computes_on_host: bool = False

    def make(self, **options: Any) -> Regularizer:
        """A new regularizer with ``options``, any of weight, every and start."""
        raise NotImplementedError("make: return the regularizer to be tested")

    def manifolds(self) -> Sequence[Manifold]:
        """The manifolds to check on."""
        return [Euclidean()]

    def quantizers(self) -> Sequence[Choice]:
        """The quantizers to combine it with inside the layer."""
        return ["vqcore/codebook"]

    @rule
    def test_term_is_a_scalar(self, manifold: Manifold) -> None:
        """The term is a finite scalar in the dtype of the latents."""
        for dtype in (torch.float32, torch.float64):
            module, space = self.make().to(dtype), manifold.to(dtype)
            z, codes = (normal(n, DIM, seed=n, dtype=dtype) for n in (TOKENS, CODES))
            term = module(_batch(module, space, z, codes))
            expect(term.shape == (), f"shape {tuple(term.shape)}")
            expect(term.dtype == dtype, f"{term.dtype} for latents in {dtype}")
            finite(term, "the term")

    @rule
    def test_gradient_is_finite(self, manifold: Manifold) -> None:
        """The term has a finite gradient, for the latents, the codes or the decoder."""
        module = self.make()
        found = _check_finite(module, _batch(module, manifold), "a batch")
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
                    batch = _batch(module, manifold, z, codes)
                    _check_finite(module, batch, f"{what} and {count} {kind} codes")

    @rule
    def test_no_token_is_finite(self, manifold: Manifold) -> None:
        """Term and gradient are finite for no token, one token, or all of them masked."""
        module = self.make()
        for count in (0, 1):
            batch = _batch(module, manifold, normal(count, DIM))
            _check_finite(module, batch, f"{count} tokens")
        masked = _batch(module, manifold, mask=torch.zeros(TOKENS, dtype=torch.bool))
        _check_finite(module, masked, "tokens that are all masked")

    @rule
    def test_implicit_codebook_works(self, manifold: Manifold) -> None:
        """Term and gradient are finite for a codebook of None, an implicit one."""
        module = self.make()
        batch = _batch(module, manifold)
        implicit = replace(batch, codebook=None, z_q=batch.z_q.detach())
        _check_finite(module, implicit, "an implicit codebook")

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
        masked = _batch(module, manifold, z, mask=mask)
        found = module(masked if with_mask else replace(masked, mask=None))
        expected = self.make()(_batch(module, manifold, z[mask]))
        near(found, expected, "the term with masked tokens", 1e-4, 1e-6)

    @rule
    def test_masked_samples_have_no_effect(self, manifold: Manifold) -> None:
        """In the layer, masking samples and last positions is the same as leaving them out."""
        for quantizer in self.quantizers():
            layer, name = _layer(self.make(weight=1.0), manifold, quantizer)
            z, extras = normal(6, POSITIONS + 1, DIM), _extras(6)
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
    def test_schedule_is_kept(self) -> None:
        """The term acts on steps divisible by ``every``, from ``start``, and never at weight 0."""
        module = self.make(weight=1.0, every=3, start=4)
        acted = [step for step in range(13) if module.acts_on(step)]
        expect(acted == [6, 9, 12], f"every=3 and start=4: acts on {acted}, not [6, 9, 12]")
        silent = self.make(weight=0.0)
        expect(not any(silent.acts_on(step) for step in range(5)), "it acts at weight 0")
        expect(self.make(weight=0.25).weight == 0.25, "its weight is not the one given")

    @rule
    def test_acts_in_training_alone(self) -> None:
        """The layer evaluates the term neither in eval nor at weight 0, and applies its weight."""
        for weight, mode in ((1.0, False), (0.0, True)):
            module = self.make(weight=weight)
            layer, name = _layer(module, Euclidean(), "vqcore/codebook")
            module.forward = _refuse_to_run  # type: ignore[method-assign]
            out = layer.train(mode)(normal(16, POSITIONS, DIM), **_extras(16))
            where = f"at weight {weight:g} in {'training' if mode else 'eval'}"
            expect(name not in out.losses, f"a loss {where}")
        terms = []
        for weight in (1.0, 3.0):
            layer, name = _layer(self.make(weight=weight), Euclidean(), "vqcore/codebook")
            terms.append(layer(normal(16, POSITIONS, DIM), **_extras(16)).losses[name])
        near(terms[1], 3 * terms[0], "the term at three times the weight", 1e-5, 1e-7)

    @rule
    def test_input_is_untouched(self, manifold: Manifold) -> None:
        """The batch is not written to."""
        module = self.make()
        batch = _batch(module, manifold)
        held = {name: value for name, value in vars(batch).items() if isinstance(value, Tensor)}
        with untouched(**held):
            module(batch)

    @rule
    def test_repeated_calls_agree(self, manifold: Manifold) -> None:
        """A second call with a batch gives the same term, and does not affect later batches."""
        module, other = self.make(), self.make()
        for step in range(3):
            batch = _batch(module, manifold, normal(TOKENS, DIM, seed=step), step=step)
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
            batches.append(_batch(module, manifold, z, codes, step=step))
        for batch in batches[:4]:
            module(batch)
        twin.load_state_dict(state_of(module), strict=True)
        same_state(twin, state_of(module), "state after loading")
        for batch in batches[4:]:
            what = f"the term of step {batch.step} after loading the state of step 3"
            same(twin(batch), module(batch), what)

    @rule
    def test_degenerate_batches_in_the_layer(self, manifold: Manifold) -> None:
        """In the layer the term and gradients are finite for latents that say little.

        Residuals of as many latents as codes are zero after the first stage.
        """
        few = normal(CODES // POSITIONS, POSITIONS, DIM)
        latents = {"as many latents as codes": few, "one latent": few[:1, :1], "bad": few / 0}
        latents |= {"equal": torch.ones(2, POSITIONS, DIM), "tiny": 1e-20 * few, "zero": 0 * few}
        for quantizer in self.quantizers():
            layer, name = _layer(self.make(weight=1.0), manifold, quantizer)
            for what, z in latents.items():
                made, x = copy.deepcopy(layer), z.clone().requires_grad_()
                out = made(x, **_extras(len(x)))
                finite(out.losses[name], f"the term of {what} with {quantizer}")
                for gradient in gradients(out.loss, [x, *made.parameters()]):
                    finite(gradient, f"a gradient of {what} with {quantizer}")

    @rule
    def test_works_in_the_layer(self, manifold: Manifold) -> None:
        """In the layer, with each quantizer, the term and the gradients of the loss are finite."""
        for quantizer in self.quantizers():
            layer, name = _layer(self.make(weight=1.0), manifold, quantizer)
            for step in range(2):
                z = normal(16, POSITIONS, DIM, seed=step).requires_grad_()
                out = layer(z, **_extras(16))
                expect(name in out.losses, f"no term with {quantizer}")
                finite(out.losses[name], f"the term with {quantizer}")
                for gradient in gradients(out.loss, [z, *layer.parameters()]):
                    finite(gradient, f"a gradient with {quantizer}")
                layer.update()

    @rule
    def test_no_step_waits(self, manifold: Manifold) -> None:
        """In the layer, with each quantizer, a training step does not wait for the device."""
        if self.computes_on_host and device().type == "cpu":
            return
        for quantizer in self.quantizers():
            layer, _ = _layer(self.make(weight=1.0), manifold, quantizer)
            layer.to(device())
            extras = {name: each.to(device()) for name, each in _extras(16).items()}
            z = normal(16, POSITIONS, DIM).to(device()).requires_grad_()
            for _ in range(2):  # the first starts the codes, and may start work in the background
                _step(layer, z, extras)
            with no_waits(f"a training step with {quantizer}"):
                _step(layer, z, extras)


def _step(layer: VectorQuantizer, z: Tensor, extras: dict[str, Any]) -> None:
    layer(z, **extras).loss.backward()
    layer.update()


def _layer(
    module: Regularizer, manifold: Manifold, quantizer: Choice
) -> tuple[VectorQuantizer, str]:
    """A layer with one regularizer, and the name of its loss."""
    with seeded(0):
        layer = VectorQuantizer(
            dim=DIM,
            codebook_size=CODES,
            manifold=manifold,
            quantizer=quantizer,
            regularizers=[module],
        )
    return layer, next(iter(layer.regularizers))


def _extras(samples: int) -> dict[str, Any]:
    """What a layer receives in addition to its latents (samples, POSITIONS, DIM)."""
    return {"inputs": normal(samples, 10, seed=7), "decode": _decoder()}


def _decoder(dtype: torch.dtype = torch.float32) -> nn.Linear:
    with seeded(3):
        return nn.Linear(DIM, 3).to(dtype)


def _batch(
    module: Regularizer,
    manifold: Manifold,
    z: Tensor | None = None,
    codes: Tensor | None = None,
    mask: Tensor | None = None,
    step: int = 0,
) -> LatentBatch:
    """What the layer would pass for latents z (N, D) and codes (K, D); normal by default."""
    z = normal(TOKENS, DIM) if z is None else z
    codes = normal(CODES, DIM, seed=1) if codes is None else codes
    u, c = (manifold.tangent(each).detach().requires_grad_() for each in (z, codes))
    points = manifold.expmap0(c)
    kept = torch.ones(len(z), dtype=torch.bool) if mask is None else mask
    nearest = manifold.nearest(manifold.expmap0(u), points)
    indices = torch.where(kept, nearest, -1)
    z_q = c[nearest] * kept.unsqueeze(1)
    if module.scope == "codebook":
        return LatentBatch(u, z_q, indices, points, manifold, step, kept)
    positions = POSITIONS if len(z) % POSITIONS == 0 else 1
    samples = len(z) // positions
    u, z_q = (each.reshape(samples, positions, DIM) for each in (u, z_q))
    indices, kept = (each.reshape(samples, positions) for each in (indices, kept))
    inputs, decoder = normal(samples, 10, seed=7, dtype=z.dtype), _decoder(z.dtype)
    return LatentBatch(u, z_q, indices, points, manifold, step, kept, inputs, decoder(z_q), decoder)


def _check_finite(module: Regularizer, batch: LatentBatch, what: str) -> list[Any]:
    """The gradients of latents, codes and decoder, which are finite, as the term is."""
    term = module(batch)
    finite(term, f"the term of {what}")
    inputs = [batch.z, batch.z_q] + ([] if batch.codebook is None else [batch.codebook])
    inputs += list(batch.decode.parameters()) if isinstance(batch.decode, nn.Module) else []
    found = gradients(term, [each for each in inputs if each.requires_grad])
    for gradient in found:
        finite(gradient, f"a gradient of {what}")
    return found


def _refuse_to_run(batch: LatentBatch) -> NoReturn:
    fail(f"the term was evaluated on step {batch.step}")
