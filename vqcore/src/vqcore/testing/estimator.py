"""What must hold for every gradient estimator."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from vqcore.builtin.manifolds.euclidean import Euclidean
from vqcore.interfaces.estimator import GradientEstimator
from vqcore.interfaces.manifold import Manifold
from vqcore.layer import VectorQuantizer
from vqcore.resolve import Choice
from vqcore.testing.rules import expect, finite, rule, same
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

DTYPES = (torch.float32, torch.float64, torch.bfloat16)
#: Pairs of a latent and its code at which formulas break: zero, equal, opposite, tiny, huge.
EDGES = (
    ((1.0, 2.0), (2.0, 1.0)), ((0.0, 0.0), (0.0, 0.0)), ((0.0, 0.0), (1.0, 0.0)),
    ((1.0, 2.0), (0.0, 0.0)), ((3.0, 4.0), (3.0, 4.0)), ((1.0, 0.0), (-2.0, 0.0)),
    ((1e-20, 0.0), (1.0, 1.0)), ((1.0, 1.0), (1e-20, 0.0)), ((1e-20, 1e-20), (-1e-20, 1e-20)),
    ((1e4, 0.0), (0.0, 1e4)), ((1.0, 1e-7), (1.0, 0.0)), ((1.0, 0.0), (-1.0, 1e-7)),
)  # fmt: skip


class EstimatorConformance:
    """Subclass it, return your estimator from ``make``, and let pytest or ``violations`` run it."""

    def make(self, manifold: Manifold) -> GradientEstimator:
        """A new estimator."""
        raise NotImplementedError("make: return the estimator to be tested")

    def manifolds(self) -> Sequence[Manifold]:
        """The manifolds to check on."""
        return [Euclidean()]

    def quantizers(self) -> Sequence[Choice]:
        """The quantizers to combine it with inside the layer."""
        return ["vqcore/codebook"]

    @rule
    def test_value_is_the_code(self, manifold: Manifold) -> None:
        """An exact estimator returns z_q to the bit, in training too, in every dtype."""
        for estimator, z, z_q in self._cases(manifold):
            if estimator.exact:
                same(estimator(z, z_q), z_q, f"the value in {z.dtype}")

    @rule
    def test_eval_value_is_the_code(self, manifold: Manifold) -> None:
        """In eval every estimator, exact or not, returns z_q to the bit, and changes no state."""
        for estimator, z, z_q in self._cases(manifold):
            before = state_of(estimator.eval())
            same(estimator(z, z_q), z_q, f"the value in eval in {z.dtype}")
            same_state(estimator, before, "state after eval")

    @rule
    def test_dtype_is_kept(self, manifold: Manifold) -> None:
        """The value and the gradient have the dtype and shape of z, also in bfloat16."""
        for estimator, z, z_q in self._cases(manifold):
            for mode in (True, False):
                out = estimator.train(mode)(z.requires_grad_(), z_q)
                kept = (out.dtype, out.shape) == (z.dtype, z.shape)
                expect(kept, f"{out.dtype} {tuple(out.shape)} for {z.dtype}")
                (gradient,) = gradients(out.sum(), [z])
                kept = gradient is None or gradient.dtype == z.dtype
                expect(kept, f"a gradient in another dtype than {z.dtype}")

    @rule
    def test_finite_at_the_edges(self, manifold: Manifold) -> None:
        """Value and gradient are finite for z and z_q zero, equal, opposite, tiny or huge."""
        for dtype in DTYPES:
            estimator = self.make(manifold)
            edges = (torch.tensor([pair[i] for pair in EDGES]).to(dtype) for i in range(2))
            z, z_q = (
                manifold.tangent(each.float()).detach().to(dtype).requires_grad_() for each in edges
            )
            with seeded(0):
                out = estimator(z, z_q)
            finite(out, f"the value in {dtype}")
            for_z, for_z_q = gradients(out.float().square().sum(), [z, z_q])
            finite(for_z, f"the gradient of z in {dtype}")
            finite(for_z_q, f"the gradient of z_q in {dtype}")

    @rule
    def test_gradient_reaches_the_latent(self, manifold: Manifold) -> None:
        """z gets a gradient, in training and in eval."""
        for mode in (True, False):
            z, z_q = _pair(manifold)
            out = self.make(manifold).train(mode)(z.requires_grad_(), z_q)
            (gradient,) = gradients((out * normal(20, 6, seed=2)).sum(), [z])
            expect(gradient is not None and (gradient != 0).any(), "no gradient reaches z")

    @rule
    def test_codes_get_no_gradient(self, manifold: Manifold) -> None:
        """An exact estimator passes z_q no gradient: the quantizer's losses train the codes."""
        estimator = self.make(manifold)
        if estimator.exact:
            z, z_q = (each.requires_grad_() for each in _pair(manifold))
            (gradient,) = gradients(estimator(z, z_q).square().sum(), [z_q])
            expect(gradient is None or not gradient.any(), "a gradient of z_q")

    @rule
    def test_masked_tokens_stay_zero(self, manifold: Manifold) -> None:
        """A masked token, with z and z_q zero, stays zero."""
        for mode in (True, False):
            zero = torch.zeros(3, 6)
            value = self.make(manifold).train(mode)(zero, zero.clone())
            same(value.abs(), zero, "the value of masked tokens")

    @rule
    def test_input_is_untouched(self, manifold: Manifold) -> None:
        """z and z_q are not written to."""
        for estimator, z, z_q in self._cases(manifold):
            for mode in (True, False):
                with untouched(z=z, z_q=z_q):
                    estimator.train(mode)(z, z_q)

    @rule
    def test_state_is_complete(self, manifold: Manifold) -> None:
        """A second estimator that loads the state dict continues as the first, seeded alike."""
        estimator, twin = self.make(manifold), self.make(manifold)
        z, z_q = _pair(manifold)
        for _ in range(3):
            estimator(z, z_q)
        twin.load_state_dict(state_of(estimator), strict=True)
        for step in range(3):
            with seeded(step):
                expected = estimator(z, z_q)
            with seeded(step):
                same(twin(z, z_q), expected, f"the value {step} steps after loading")

    @rule
    def test_works_in_the_layer(self, manifold: Manifold) -> None:
        """In the layer, with each quantizer, gradients are finite and eval agrees with decode."""
        for quantizer in self.quantizers():
            self._check_layer(manifold, quantizer)

    def _check_layer(self, manifold: Manifold, quantizer: Choice) -> None:
        layer, mask = self._layer(manifold, quantizer), some_mask(2, 16)
        with seeded(0):
            for seed in range(2):
                z = normal(2, 16, 8, seed=seed).requires_grad_()
                out = layer(z, mask=mask)
                finite(out.quantized, f"the value with {quantizer}")
                expect(not out.quantized[~mask].any(), f"masked tokens not zero with {quantizer}")
                named = {"z": z, **dict(layer.named_parameters())}
                total = (out.quantized * normal(2, 16, 8, seed=9)).sum()
                found = gradients(total, list(named.values()))
                for name, gradient in zip(named, found, strict=True):
                    finite(gradient, f"the gradient of {name} with {quantizer}")
                reached = found[0] is not None and (found[0][mask] != 0).any()
                expect(reached, f"no gradient with {quantizer}")
                expect(not found[0][~mask].any(), f"a gradient of masked tokens with {quantizer}")
                if layer.estimator.exact:
                    same(out.quantized, layer.decode(out.indices), f"the value with {quantizer}")
                layer.update()
            empty = layer(z[:0]).quantized
            expect(empty.shape == z[:0].shape, f"{tuple(empty.shape)} of no token")
            out = layer.eval()(z)
            same(out.quantized, layer.decode(out.indices), f"the value in eval with {quantizer}")

    @rule
    def test_activation_checkpointing(self, manifold: Manifold) -> None:
        """Recomputed under torch.utils.checkpoint, the gradient is the same as without it."""
        layer = self._layer(manifold, self.quantizers()[0])
        z = normal(32, 8, seed=2).requires_grad_()
        layer(z)

        def forward(latents: Tensor) -> Tensor:
            return layer(latents).quantized

        with seeded(3):
            expected = gradients(forward(z).square().sum(), [z])
        with seeded(3):
            recomputed = checkpoint(forward, z, use_reentrant=False)
            found = gradients(recomputed.square().sum(), [z])
        same(found[0], expected[0], "the gradient of z")

    @rule
    def test_no_step_waits(self, manifold: Manifold) -> None:
        """In the layer, with each quantizer, a training step does not wait for the device."""
        for quantizer in self.quantizers():
            layer = self._layer(manifold, quantizer).to(device())
            z = normal(32, 8).to(device()).requires_grad_()
            _step(layer, z)  # which starts the codes
            with no_waits(f"a training step with {quantizer}"):
                _step(layer, z)

    def _layer(self, manifold: Manifold, quantizer: Choice) -> VectorQuantizer:
        with seeded(0):
            estimator = self.make(manifold)
            return VectorQuantizer(
                dim=8, codebook_size=16, manifold=manifold, quantizer=quantizer, estimator=estimator
            )

    def _cases(self, manifold: Manifold) -> Iterator[tuple[GradientEstimator, Tensor, Tensor]]:
        """Estimators with latents and codes in each dtype and several shapes, one of them empty."""
        for dtype in DTYPES:
            for shape in ((50, 7), (2, 3, 4), (0, 5)):
                z, z_q = (each.to(dtype) for each in _pair(manifold, *shape))
                yield self.make(manifold), z, z_q


def _step(layer: VectorQuantizer, z: Tensor) -> None:
    out = layer(z)
    (out.quantized.square().sum() + out.loss).backward()
    layer.update()


def _pair(manifold: Manifold, *shape: int) -> tuple[Tensor, Tensor]:
    """Tangent vectors of latents and of codes, (20, 6) by default."""
    z, z_q = (normal(*(shape or (20, 6)), seed=seed) for seed in range(2))
    return manifold.tangent(z).detach(), manifold.tangent(z_q).detach()
