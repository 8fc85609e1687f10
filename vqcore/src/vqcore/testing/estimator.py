"""What every gradient estimator must hold."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from vqcore.builtin.manifolds.euclidean import Euclidean
from vqcore.interfaces.estimator import GradientEstimator
from vqcore.interfaces.manifold import Manifold
from vqcore.layer import VectorQuantizer
from vqcore.resolve import Choice
from vqcore.testing.rules import expect, finite, rule, same
from vqcore.testing.samples import gradients, normal, same_state, seeded, state_of, untouched

DTYPES = (torch.float32, torch.float64, torch.bfloat16)
#: Pairs of a latent and its code at which formulas break: zero, equal, opposite, tiny, huge, and zero beside any.
EDGES = (
    ((1.0, 2.0), (2.0, 1.0)), ((0.0, 0.0), (0.0, 0.0)), ((0.0, 0.0), (1.0, 0.0)), ((1.0, 2.0), (0.0, 0.0)),
    ((3.0, 4.0), (3.0, 4.0)), ((1.0, 0.0), (-2.0, 0.0)), ((1e-20, 0.0), (1.0, 1.0)), ((1.0, 1.0), (1e-20, 0.0)),
    ((1e-20, 1e-20), (-1e-20, 1e-20)), ((1e4, 0.0), (0.0, 1e4)), ((1.0, 1e-7), (1.0, 0.0)), ((1.0, 0.0), (-1.0, 1e-7)),
)  # fmt: skip


class EstimatorConformance:
    """Subclass it, return your estimator from ``make``, and let pytest or ``violations`` run it."""

    def make(self, manifold: Manifold) -> GradientEstimator:
        """A new estimator."""
        raise NotImplementedError("make: return the estimator to be tested")

    def manifolds(self) -> Sequence[Manifold]:
        """The spaces that the estimator is checked on."""
        return [Euclidean()]

    def quantizers(self) -> Sequence[Choice]:
        """The quantizers beside which it is checked inside the layer."""
        return ["vqcore/codebook"]

    @rule
    def test_value_is_the_code(self, manifold: Manifold) -> None:
        """An exact estimator returns z_q to the bit, in training too, in every number type."""
        for estimator, z, z_q in self._cases(manifold):
            if estimator.exact:
                same(estimator(z, z_q).detach(), z_q, f"the value in {z.dtype}")

    @rule
    def test_eval_value_is_the_code(self, manifold: Manifold) -> None:
        """In eval every estimator, exact or not, returns z_q to the bit, and changes no state."""
        for estimator, z, z_q in self._cases(manifold):
            before = state_of(estimator.eval())
            same(estimator(z, z_q).detach(), z_q, f"the value in eval in {z.dtype}")
            same_state(estimator, before, "state after eval")

    @rule
    def test_dtype_is_kept(self, manifold: Manifold) -> None:
        """The value and the gradient have the number type and shape of z, bfloat16 too."""
        for estimator, z, z_q in self._cases(manifold):
            for mode in (True, False):
                z.requires_grad_()
                out = estimator.train(mode)(z, z_q)
                expect(
                    (out.dtype, out.shape) == (z.dtype, z.shape),
                    f"{out.dtype} {tuple(out.shape)} for {z.dtype}",
                )
                (gradient,) = gradients(out.sum(), [z])
                expect(
                    gradient is None or gradient.dtype == z.dtype,
                    f"a gradient in another type than {z.dtype}",
                )

    @rule
    def test_finite_at_the_edges(self, manifold: Manifold) -> None:
        """Value and gradient are finite where z or z_q is zero, where they are equal, opposite, tiny or huge."""
        for dtype in DTYPES:
            estimator = self.make(manifold)
            z, z_q = (torch.tensor([pair[i] for pair in EDGES]).to(dtype) for i in range(2))
            z, z_q = (
                manifold.tangent(each.float()).detach().to(dtype).requires_grad_()
                for each in (z, z_q)
            )
            with seeded(0):
                out = estimator(z, z_q)
            finite(out, f"the value in {dtype}")
            for name, gradient in zip(
                ("z", "z_q"), gradients(out.float().square().sum(), [z, z_q]), strict=True
            ):
                finite(gradient, f"the gradient of {name} in {dtype}")

    @rule
    def test_gradient_reaches_the_latent(self, manifold: Manifold) -> None:
        """z gets a gradient, in training and in eval."""
        for mode in (True, False):
            z, z_q = (manifold.tangent(normal(20, 6, seed=seed)).detach() for seed in range(2))
            out = self.make(manifold).train(mode)(z.requires_grad_(), z_q)
            (gradient,) = gradients((out * normal(20, 6, seed=2)).sum(), [z])
            expect(gradient is not None and bool((gradient != 0).any()), "no gradient reaches z")

    @rule
    def test_codes_get_no_gradient(self, manifold: Manifold) -> None:
        """An exact estimator passes no gradient to z_q: codes are learned by the quantizer's losses."""
        estimator = self.make(manifold)
        if estimator.exact:
            z, z_q = (
                manifold.tangent(normal(20, 6, seed=seed)).detach().requires_grad_()
                for seed in range(2)
            )
            (gradient,) = gradients(estimator(z, z_q).square().sum(), [z_q])
            expect(gradient is None or not gradient.any(), "a gradient of z_q")

    @rule
    def test_masked_tokens_stay_zero(self, manifold: Manifold) -> None:
        """A masked token, with z and z_q zero, stays zero."""
        for mode in (True, False):
            zero = torch.zeros(3, 6)
            same(
                self.make(manifold).train(mode)(zero, zero.clone()).detach().abs(),
                zero,
                "the value of masked tokens",
            )

    @rule
    def test_input_is_untouched(self, manifold: Manifold) -> None:
        """z and z_q are not written to."""
        for estimator, z, z_q in self._cases(manifold):
            for mode in (True, False):
                with untouched(z=z, z_q=z_q):
                    estimator.train(mode)(z, z_q)

    @rule
    def test_state_is_complete(self, manifold: Manifold) -> None:
        """A second estimator that loads the state dict strictly goes on as the first does, under one global seed."""
        estimator, twin = self.make(manifold), self.make(manifold)
        z, z_q = (manifold.tangent(normal(20, 6, seed=seed)).detach() for seed in range(2))
        for _ in range(3):
            estimator(z, z_q)
        twin.load_state_dict(state_of(estimator), strict=True)
        for step in range(3):
            values = []
            for each in (estimator, twin):
                with seeded(step):
                    values.append(each(z, z_q).detach())
            same(values[1], values[0], f"the value {step} steps after loading")

    @rule
    def test_works_in_the_layer(self, manifold: Manifold) -> None:
        """Inside the layer, beside each quantizer, training gives finite gradients and eval what decode gives."""
        for quantizer in self.quantizers():
            self._check_layer(manifold, quantizer)

    def _check_layer(self, manifold: Manifold, quantizer: Choice) -> None:
        layer = self._layer(manifold, quantizer)
        with seeded(0):
            for seed in range(2):
                z = normal(2, 16, 8, seed=seed).requires_grad_()
                mask = normal(2, 16, seed=5) > -0.5
                out = layer(z, mask=mask)
                finite(out.quantized, f"the value beside {quantizer}")
                expect(
                    not out.quantized[~mask].any(),
                    f"masked tokens that are not zero beside {quantizer}",
                )
                named = {"z": z, **dict(layer.named_parameters())}
                found = gradients(
                    (out.quantized * normal(2, 16, 8, seed=9)).sum(), list(named.values())
                )
                for name, gradient in zip(named, found, strict=True):
                    finite(gradient, f"the gradient of {name} beside {quantizer}")
                expect(
                    found[0] is not None and bool((found[0][mask] != 0).any()),
                    f"no gradient beside {quantizer}",
                )
                expect(not found[0][~mask].any(), f"a gradient of masked tokens beside {quantizer}")
                if layer.estimator.exact:
                    same(
                        out.quantized.detach(),
                        layer.decode(out.indices).detach(),
                        f"the value beside {quantizer}",
                    )
                layer.update()
            empty = layer(z[:0])
            expect(
                empty.quantized.shape == z[:0].shape, f"{tuple(empty.quantized.shape)} of no token"
            )
            out = layer.eval()(z)
            same(
                out.quantized.detach(),
                layer.decode(out.indices).detach(),
                f"the value in eval beside {quantizer}",
            )

    @rule
    def test_activation_checkpointing(self, manifold: Manifold) -> None:
        """Recomputed in the backward pass under torch.utils.checkpoint, the gradient is that without it."""
        layer = self._layer(manifold, self.quantizers()[0])
        z, found = normal(32, 8, seed=2).requires_grad_(), []
        layer(z)

        def forward(latents: Tensor) -> Tensor:
            return layer(latents).quantized

        for run in (forward, lambda latents: checkpoint(forward, latents, use_reentrant=False)):
            with seeded(3):
                found += gradients(run(z).square().sum(), [z])
        same(found[1], found[0], "the gradient of z")

    def _layer(self, manifold: Manifold, quantizer: Choice) -> VectorQuantizer:
        with seeded(0):
            estimator = self.make(manifold)
            return VectorQuantizer(
                dim=8, codebook_size=16, manifold=manifold, quantizer=quantizer, estimator=estimator
            )

    def _cases(self, manifold: Manifold) -> list[tuple[GradientEstimator, Tensor, Tensor]]:
        """Estimators with latents and codes in each number type and several shapes, no token included."""
        cases = []
        for dtype in DTYPES:
            for shape in ((50, 7), (2, 3, 4), (0, 5)):
                z, z_q = (
                    manifold.tangent(normal(*shape, seed=seed)).detach().to(dtype)
                    for seed in range(2)
                )
                cases.append((self.make(manifold), z, z_q))
        return cases
