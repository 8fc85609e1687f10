"""What every regularizer must hold."""

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
from vqcore.testing.samples import gradients, normal, same_state, seeded, state_of, untouched

#: Dimension, codes and tokens of a batch; positions of a sample where a term sees the whole model.
DIM, CODES, TOKENS, POSITIONS = 6, 8, 64, 4


class RegularizerConformance:
    """Subclass it, return your regularizer from ``make``, and let pytest or ``violations`` run it.

    A term of scope ``codebook`` is given one codebook and its tokens (N, d); one of scope ``model`` latents (B, 4, D)
    with inputs, decoder and reconstruction.
    """

    def make(self, **options: Any) -> Regularizer:
        """A new regularizer; ``options`` are those that all have: weight, every, start."""
        raise NotImplementedError("make: return the regularizer to be tested")

    def manifolds(self) -> Sequence[Manifold]:
        """The spaces that the term is checked on."""
        return [Euclidean()]

    def quantizers(self) -> Sequence[Choice]:
        """The quantizers beside which it is checked inside the layer."""
        return ["vqcore/codebook"]

    # -- the value -----------------------------------------------------------

    @rule
    def test_term_is_a_scalar(self, manifold: Manifold) -> None:
        """The term is a finite scalar in the number type of the latents."""
        for dtype in (torch.float32, torch.float64):
            module, space = self.make().to(dtype), manifold.to(dtype)
            z, codes = (normal(n, DIM, seed=n, dtype=dtype) for n in (TOKENS, CODES))
            term = module(_batch(module, space, z, codes))
            expect(term.shape == (), f"shape {tuple(term.shape)}")
            expect(term.dtype == dtype, f"{term.dtype} for latents in {dtype}")
            finite(term, "the term")

    @rule
    def test_gradient_is_finite(self, manifold: Manifold) -> None:
        """The term has a finite gradient, to the latents, the codes or the decoder."""
        module = self.make()
        batch = _batch(module, manifold, normal(TOKENS, DIM), normal(CODES, DIM, seed=1))
        found = _check_finite(module, batch, "a batch")
        expect(
            any(gradient is not None for gradient in found),
            "neither latents, codes nor decoder get a gradient",
        )

    @rule
    def test_collapse_is_finite(self, manifold: Manifold) -> None:
        """Equal codes, equal latents, all of them zero, or a single code: the term and its gradient are finite."""
        module = self.make()
        one, many = torch.ones(20, DIM), normal(20, DIM)
        for count in (1, 2, CODES):
            for codes in (
                torch.ones(count, DIM),
                torch.zeros(count, DIM),
                normal(count, DIM, seed=1),
            ):
                for what, z in {
                    "equal latents": one,
                    "zero latents": 0 * one,
                    "latents": many,
                }.items():
                    equal = "equal" if len(codes.unique(dim=0)) == 1 else "different"
                    _check_finite(
                        module,
                        _batch(module, manifold, z, codes),
                        f"{what} and {count} {equal} codes",
                    )

    @rule
    def test_no_token_is_finite(self, manifold: Manifold) -> None:
        """With no token, one token, or all of them masked, the term and its gradient are finite."""
        module, codes = self.make(), normal(CODES, DIM, seed=1)
        for count in (0, 1):
            _check_finite(
                module, _batch(module, manifold, normal(count, DIM), codes), f"{count} tokens"
            )
        masked = _batch(
            module, manifold, normal(TOKENS, DIM), codes, torch.zeros(TOKENS, dtype=torch.bool)
        )
        _check_finite(module, masked, "tokens that are all masked")

    @rule
    def test_implicit_codebook_works(self, manifold: Manifold) -> None:
        """With a codebook of None, an implicit one, the term and its gradient are finite."""
        module = self.make()
        batch = _batch(module, manifold, normal(TOKENS, DIM), normal(CODES, DIM, seed=1))
        _check_finite(
            module, replace(batch, codebook=None, z_q=batch.z_q.detach()), "an implicit codebook"
        )

    # -- masks ---------------------------------------------------------------

    @rule
    def test_mask_is_trimming(self, manifold: Manifold) -> None:
        """A term of one codebook is, on a masked batch, what it is without those tokens."""
        self._check_masked(manifold, with_mask=True)

    @rule
    def test_minus_one_is_ignored(self, manifold: Manifold) -> None:
        """A term of one codebook leaves out tokens of index -1, also where no mask says so."""
        self._check_masked(manifold, with_mask=False)

    def _check_masked(self, manifold: Manifold, *, with_mask: bool) -> None:
        module, codes = self.make(), normal(CODES, DIM, seed=1)
        if module.scope != "codebook":
            return
        mask, z = normal(TOKENS, seed=5) > -0.5, normal(TOKENS, DIM)
        z[~mask] = 7.0  # where the layer has zeros
        masked = _batch(module, manifold, z, codes, mask)
        found = module(masked if with_mask else replace(masked, mask=None))
        expected = self.make()(_batch(module, manifold, z[mask], codes))
        near(found, expected, "the term with tokens that do not count", 1e-4, 1e-6)

    @rule
    def test_masked_samples_leave_no_trace(self, manifold: Manifold) -> None:
        """In the layer, masking two of six samples and the last position of the others is leaving them out."""
        for quantizer in self.quantizers():
            layer, name = _layer(self.make(weight=1.0), manifold, quantizer)
            z, extras = normal(6, POSITIONS + 1, DIM), _extras(6)
            layer(
                1.3 * z.flip(0), **extras
            )  # codes start beside the latents: on them a residual is rounding alone
            mask = torch.zeros(6, POSITIONS + 1, dtype=torch.bool)
            mask[:4, :POSITIONS] = True
            trimmed = {**extras, "inputs": extras["inputs"][:4]}
            found = []
            for kept, latents, given in (
                (mask, z.clone(), extras),
                (None, z[:4, :POSITIONS].clone(), trimmed),
            ):
                term = copy.deepcopy(layer)(latents.requires_grad_(), mask=kept, **given).losses[
                    name
                ]
                (gradient,) = gradients(term, [latents])
                found.append(
                    (
                        term,
                        torch.zeros_like(latents) if gradient is None else gradient[:4, :POSITIONS],
                    )
                )
            (term, gradient), (expected, expected_gradient) = found
            near(term, expected, f"the masked term beside {quantizer}", 1e-4, 1e-6)
            near(
                gradient[:4, :POSITIONS],
                expected_gradient,
                f"its gradient beside {quantizer}",
                1e-3,
                1e-5,
            )

    # -- when it acts --------------------------------------------------------

    @rule
    def test_schedule_is_kept(self) -> None:
        """The term acts on steps divisible by ``every``, from ``start`` on, and never at weight 0."""
        module = self.make(weight=1.0, every=3, start=4)
        acted = [step for step in range(13) if module.acts_on(step)]
        expect(
            acted == [6, 9, 12],
            f"with every=3 and start=4 it acts on {acted} instead of [6, 9, 12]",
        )
        expect(
            not any(self.make(weight=0.0).acts_on(step) for step in range(5)), "it acts at weight 0"
        )
        expect(self.make(weight=0.25).weight == 0.25, "its weight is not the one given")

    @rule
    def test_acts_in_training_alone(self) -> None:
        """The layer evaluates the term neither in eval nor at weight 0, and in training weighs it with its weight."""
        for weight, mode in ((1.0, False), (0.0, True)):
            module = self.make(weight=weight)
            layer, name = _layer(module, Euclidean(), "vqcore/codebook")
            module.forward = _refuse_to_run  # type: ignore[method-assign]
            out = layer.train(mode)(normal(16, POSITIONS, DIM), **_extras(16))
            expect(
                name not in out.losses,
                f"a loss at weight {weight:g} in {'training' if mode else 'eval'}",
            )
        once, thrice = (self._term_in_layer(weight) for weight in (1.0, 3.0))
        near(thrice, 3 * once, "the term at three times the weight", 1e-5, 1e-7)

    def _term_in_layer(self, weight: float) -> Tensor:
        layer, name = _layer(self.make(weight=weight), Euclidean(), "vqcore/codebook")
        return layer(normal(16, POSITIONS, DIM), **_extras(16)).losses[name]

    # -- what it leaves alone ------------------------------------------------

    @rule
    def test_input_is_untouched(self, manifold: Manifold) -> None:
        """Nothing of the batch is written to."""
        module = self.make()
        batch = _batch(module, manifold, normal(TOKENS, DIM), normal(CODES, DIM, seed=1))
        held = {name: value for name, value in vars(batch).items() if isinstance(value, Tensor)}
        with untouched(**held):
            module(batch)

    @rule
    def test_asking_twice_agrees(self, manifold: Manifold) -> None:
        """Called twice with the same batch the term is the same, and so are those of later batches."""
        module, other = self.make(), self.make()
        for step in range(3):
            batch = _batch(
                module,
                manifold,
                normal(TOKENS, DIM, seed=step),
                normal(CODES, DIM, seed=1),
                step=step,
            )
            first, again = module(batch), module(batch)
            same(again.detach(), first.detach(), f"the term asked for again on step {step}")
            same(
                first.detach(),
                other(batch).detach(),
                f"the term on step {step} after asking twice before",
            )

    @rule
    def test_state_is_complete(self, manifold: Manifold) -> None:
        """A second regularizer that loads the state dict strictly goes on as the first does."""
        module, twin = self.make(), self.make()
        batches = [
            _batch(
                module,
                manifold,
                normal(TOKENS, DIM, seed=step),
                normal(CODES, DIM, seed=step // 3),
                step=step,
            )
            for step in range(12)
        ]
        for batch in batches[:4]:
            module(batch)
        twin.load_state_dict(state_of(module), strict=True)
        same_state(twin, state_of(module), "state after loading")
        for batch in batches[4:]:
            same(
                twin(batch).detach(),
                module(batch).detach(),
                f"the term of step {batch.step} after loading that of 3",
            )

    @rule
    def test_works_in_the_layer(self, manifold: Manifold) -> None:
        """Inside the layer, beside each quantizer, the term and the gradients of the loss are finite."""
        for quantizer in self.quantizers():
            layer, name = _layer(self.make(weight=1.0), manifold, quantizer)
            for step in range(2):
                z = normal(16, POSITIONS, DIM, seed=step).requires_grad_()
                out = layer(z, **_extras(16))
                expect(name in out.losses, f"no term beside {quantizer}")
                finite(out.losses[name], f"the term beside {quantizer}")
                for gradient in gradients(out.loss, [z, *layer.parameters()]):
                    finite(gradient, f"a gradient beside {quantizer}")
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
    """What a layer is given beside its latents (samples, POSITIONS, DIM)."""
    return {"inputs": normal(samples, 10, seed=7), "decode": _decoder()}


def _decoder(dtype: torch.dtype = torch.float32) -> nn.Linear:
    with seeded(3):
        return nn.Linear(DIM, 3).to(dtype)


def _batch(
    module: Regularizer,
    manifold: Manifold,
    z: Tensor,
    codes: Tensor,
    mask: Tensor | None = None,
    step: int = 0,
) -> LatentBatch:
    """What the layer would show the regularizer of latents z (N, D) and codes (K, D), both read as an encoder's."""
    u, c = (manifold.tangent(each).detach().requires_grad_() for each in (z, codes))
    points = manifold.expmap0(c)
    kept = torch.ones(len(z), dtype=torch.bool) if mask is None else mask
    nearest = manifold.nearest(manifold.expmap0(u), points)
    indices, z_q = torch.where(kept, nearest, -1), c[nearest] * kept.unsqueeze(1)
    if module.scope == "codebook":
        return LatentBatch(u, z_q, indices, points, manifold, step, kept)
    samples = len(z) // POSITIONS if len(z) % POSITIONS == 0 else len(z)
    decoder = _decoder(z.dtype)
    u, z_q = (
        each.reshape(samples, -1, DIM) if samples else each.reshape(0, POSITIONS, DIM)
        for each in (u, z_q)
    )
    indices, kept = (each.reshape(u.shape[:2]) for each in (indices, kept))
    inputs = normal(samples, 10, seed=7, dtype=z.dtype)
    return LatentBatch(u, z_q, indices, points, manifold, step, kept, inputs, decoder(z_q), decoder)


def _check_finite(module: Regularizer, batch: LatentBatch, what: str) -> list[Tensor | None]:
    """The gradients of latents, codes and decoder, after seeing that they and the term are finite."""
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
