"""What must hold for every loss."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from vqcore.interfaces.dataset import SampleSpec
from vqcore.interfaces.loss import Loss, LossBatch, TrainedLoss
from vqcore.layer import VectorQuantizer
from vqcore.testing.rules import expect, finite, near, rule, same
from vqcore.testing.samples import gradients, normal, state_of, untouched
from vqcore.testing.waits import device, no_waits

#: Samples of a batch, and of the parts that it is cut into; classes of a loss that reads labels.
SAMPLES, PARTS, CLASSES = 6, (2, 4), 3


class LossConformance:
    """Subclass it, return your loss from ``make``, and let pytest or ``violations`` run it.

    Attributes:
        samples: what the losses are made for; pictures in [0, 1] by default.
    """

    samples: SampleSpec = SampleSpec((3, 16, 16), (0.0, 1.0))

    def make(self, **options: Any) -> Loss:
        """A new loss for ``samples`` with ``options``, any of weight and start."""
        raise NotImplementedError("make: return the loss to be tested")

    @rule
    def test_term_is_a_scalar(self) -> None:
        """The term is a finite scalar of floats, and so is what an opponent is trained on."""
        loss = self.make()
        for what, term in _terms(loss, self._batch(loss)).items():
            expect(term.shape == (), f"{what}: shape {tuple(term.shape)} instead of ()")
            expect(term.is_floating_point(), f"{what}: {term.dtype}")
            finite(term, what)

    @rule
    def test_gradient_reaches_the_decoder(self) -> None:
        """The term has a finite gradient for what the decoder emits, which is not 0."""
        loss = self.make()
        batch = self._batch(loss)
        (found,) = gradients(loss(batch), [batch.decoded])
        expect(found is not None and bool(found.abs().sum() > 0), "no gradient")
        finite(found, "the gradient")

    @rule
    def test_edges_are_finite(self) -> None:
        """Value and gradient are finite for equal samples, constant ones and ends of the range."""
        loss, (low, high) = self.make(), self.samples.value_range
        x, decoded = self._values(seed=1), self._decoded(loss, seed=1)
        for what, value in {"equal": None, "low": low, "high": high, "zero": 0.0}.items():
            flat, emitted = (
                each if value is None else torch.full_like(each, value) for each in (x, decoded)
            )
            for other in (flat, x):
                batch = self._batch(loss, other, emitted)
                term = loss(batch)
                finite(term, f"the term of {what}")
                (found,) = gradients(term, [batch.decoded])
                finite(found, f"a gradient of {what}")

    @rule
    def test_terms_are_means_over_samples(self) -> None:
        """Each term is the mean of those of parts, weighted by their samples: they accumulate."""
        loss = self.make()
        if any(isinstance(each, nn.modules.batchnorm._BatchNorm) for each in loss.modules()):
            return  # which compares the samples of a part with one another
        each = self._values(seed=1), self._decoded(loss), self._labels()
        whole = _terms(loss, self._batch(loss, *each))
        split = zip(*(values.split(PARTS) for values in each), strict=True)
        parts = [_terms(loss, self._batch(loss, *part)) for part in split]
        for name, term in whole.items():
            mean = sum(n / SAMPLES * part[name] for n, part in zip(PARTS, parts, strict=True))
            near(torch.as_tensor(mean), term, name, 1e-4, 1e-6)

    @rule
    def test_schedule_is_kept(self) -> None:
        """The term acts from its first step on, and never at weight 0."""
        found = [self.make(start=2).acts_on(step) for step in range(4)]
        expect(found == [False, False, True, True], f"acts on {found} with start = 2")
        expect(not self.make(weight=0.0).acts_on(5), "acts at weight 0")

    @rule
    def test_input_is_untouched(self) -> None:
        """The batch is not written to."""
        loss = self.make()
        batch = self._batch(loss)
        with untouched(inputs=batch.inputs, reconstruction=batch.reconstruction):
            _terms(loss, batch)

    @rule
    def test_state_is_complete(self) -> None:
        """A loss made again, which loads the state dict strictly, goes on as the first."""
        first, second = self.make(), self.make()
        batch = self._batch(first)
        _terms(first, batch)
        second.load_state_dict(state_of(first))
        again = _terms(second, batch)
        for name, term in _terms(first, batch).items():
            same(again[name], term, name)

    @rule
    def test_turns_are_separate(self) -> None:
        """An opponent's loss has a gradient for all that its optimizer has, none for the model."""
        loss = self.make()
        if not isinstance(loss, TrainedLoss):
            return
        batch = self._batch(loss)
        trained = [each for group in loss.optimizer.param_groups for each in group["params"]]
        own = loss.opponent(batch.detach())
        missing = sum(each is None for each in gradients(own, trained))
        expect(not missing, f"{missing} of {len(trained)} tensors have no gradient")
        expect(batch.decoded.grad is None, "the model has a gradient")

    @rule
    def test_no_step_waits(self) -> None:
        """A loss that is ``recordable`` does not wait for the device."""
        loss = self.make().to(device())
        if loss.recordable:
            each = self._values(1), self._decoded(loss), self._labels()
            batch = self._batch(loss, *(values.to(device()) for values in each))
            loss(batch)  # the first call may prepare something
            with no_waits("the term"):
                loss(batch)

    def _values(self, seed: int) -> Tensor:
        low, high = self.samples.value_range
        return low + (high - low) * normal(SAMPLES, *self.samples.shape, seed=seed).sigmoid()

    def _decoded(self, loss: Loss, seed: int = 2) -> Tensor:
        if loss.labels:
            return normal(SAMPLES, CLASSES, seed=seed)
        return self._values(seed)

    def _labels(self) -> Tensor:
        return torch.arange(SAMPLES) % CLASSES

    def _batch(
        self,
        loss: Loss,
        inputs: Tensor | None = None,
        decoded: Tensor | None = None,
        labels: Tensor | None = None,
    ) -> LossBatch:
        """A batch whose decoder emits ``decoded``, as logits where the loss reads them."""
        inputs = self._values(seed=1) if inputs is None else inputs
        labels = self._labels() if labels is None else labels
        decoded = (self._decoded(loss) if decoded is None else decoded).clone().requires_grad_()
        layer = VectorQuantizer(dim=4, codebook_size=4).to(inputs.device)
        out = layer(normal(len(inputs), 4).to(inputs.device))
        reconstruction = decoded.sigmoid() if loss.logits else decoded
        if loss.labels:
            reconstruction = decoded.softmax(1)
        return LossBatch(
            inputs, reconstruction, decoded, out, self.samples.value_range, 0,
            labels=labels if loss.labels else None,
        )  # fmt: skip


def _terms(loss: Loss, batch: LossBatch) -> dict[str, Tensor]:
    """The term, and what the loss itself is trained on."""
    terms = {"the term": loss(batch)}
    if isinstance(loss, TrainedLoss):
        terms["the opponent's loss"] = loss.opponent(batch.detach())
    return terms
