"""What must hold for every backbone."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vqcore.builtin.manifolds.euclidean import Euclidean
from vqcore.interfaces.backbone import Backbone
from vqcore.interfaces.manifold import Manifold
from vqcore.testing.backbone_parts import decode, decoded_by, halves_of, latents_of, positions_of
from vqcore.testing.programs import exported_alike
from vqcore.testing.rules import expect, finite, near, rule, same
from vqcore.testing.samples import gradients, normal, same_state, seeded, state_of, untouched
from vqcore.testing.waits import device, no_waits

#: Samples of a batch, and classes of a backbone that emits logits.
SAMPLES, CLASSES = 3, 4
#: Relative and absolute error of a float32 network that sums in another order.
ORDER = (1e-3, 1e-4)


class BackboneConformance:
    """Subclass it, return your backbone from ``make``, and let pytest or ``violations`` run it.

    Attributes:
        shapes: of samples to check on, the first of which is used where one is enough.
        dims: D to ask for.
        emits: that of the class: with ``logits``, ``make`` gets ``classes`` too.
    """

    shapes: Sequence[tuple[int, ...]] = ((1, 8, 8), (3, 16, 24))
    dims: Sequence[int] = (1, 5)
    emits: str = "samples"

    def make(self, *, shape: tuple[int, ...], dim: int, **classes: int) -> Backbone:
        """A new backbone, built with the options to be tested."""
        raise NotImplementedError("make: return the backbone to be tested")

    def manifold(self) -> Manifold:
        """The manifold of the bottleneck, which ``attach`` gets."""
        return Euclidean()

    @rule
    def test_latents_have_the_declared_shape(self) -> None:
        """Latents are (B, *latent_shape, D), or (B, D, *latent_shape) with ``channel_first``.

        D is ``dim`` of the backbone if that is set, else the one asked for.
        """
        for shape in self.shapes:
            for dim in self.dims:
                backbone = self._built(shape, dim)
                counts = [n for positions in positions_of(backbone) for n in positions]
                whole = all(type(n) is int and n > 0 for n in counts)
                expect(whole, f"positions {positions_of(backbone)} of {shape}")
                z = latents_of(backbone, self._samples(shape))
                for each, positions in zip(z, positions_of(backbone), strict=True):
                    wide = backbone.dim or dim
                    first = backbone.channel_first
                    sides = (wide, *positions) if first else (*positions, wide)
                    found, wanted = tuple(each.shape), (SAMPLES, *sides)
                    expect(found == wanted, f"latents {found} of {shape} instead of {wanted}")

    @rule
    def test_decoded_have_the_shape_of_samples(self) -> None:
        """``decode`` gives (B, *shape), or logits (B, classes) where the backbone emits these."""
        for shape in self.shapes:
            backbone = self._built(shape)
            expect(backbone.emits == self.emits, f"emits {backbone.emits}, not {self.emits}")
            found = tuple(decoded_by(backbone, self._samples(shape)).shape)
            wanted = (SAMPLES, CLASSES) if self.emits == "logits" else (SAMPLES, *shape)
            expect(found == wanted, f"{found} instead of {wanted}")

    @rule
    def test_gradient_reaches_every_parameter(self) -> None:
        """Every parameter that can be trained has a finite gradient."""
        for shape in self.shapes:
            backbone = self._built(shape)
            named = {n: p for n, p in backbone.named_parameters() if p.requires_grad}
            total = decoded_by(backbone, self._samples(shape)).square().sum()
            for name, found in zip(named, gradients(total, list(named.values())), strict=True):
                expect(found is not None, f"{name} has no gradient on samples {shape}")
                finite(found, f"the gradient of {name}")

    @rule
    def test_dtype_is_kept(self) -> None:
        """float64 stays float64 and float32 float32, in latents and what is decoded."""
        for dtype in (torch.float32, torch.float64):
            backbone, x = self._built().to(dtype), self._samples().to(dtype)
            for each in (*latents_of(backbone, x), decoded_by(backbone, x)):
                expect(each.dtype == dtype, f"{each.dtype} of {dtype}")

    @rule
    def test_autocast_is_finite(self) -> None:
        """Under autocast to bfloat16, the pass and its gradients are finite."""
        backbone, x = self._built(), self._samples()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            decoded = decoded_by(backbone, x)
        finite(decoded, "what is decoded")
        for each in gradients(decoded.float().square().sum(), _trained(backbone)):
            finite(each, "a gradient")

    @rule
    def test_eval_changes_nothing(self) -> None:
        """In eval two calls agree to the bit, and no state changes."""
        backbone, x = self._built().eval(), self._samples()
        before = state_of(backbone)
        same(decoded_by(backbone, x), decoded_by(backbone, x), "a second call")
        same_state(backbone, before, "state after eval")

    @rule
    def test_samples_are_independent(self) -> None:
        """In eval a sample's latents and decoding do not depend on the others of its batch."""
        backbone, x = self._built().eval(), self._samples()
        together, alone = latents_of(backbone, x), latents_of(backbone, x[:1])
        for every, one in zip(together, alone, strict=True):
            near(every[:1], one, "the latents of a sample", *ORDER)
        near(decoded_by(backbone, x)[:1], decoded_by(backbone, x[:1]), "a sample", *ORDER)

    @rule
    def test_layout_in_memory_changes_nothing(self) -> None:
        """Images whose channels lie last in memory, as in a run, give the same."""
        for shape in self.shapes:
            if len(shape) == 3:
                backbone, x = self._built(shape).eval(), self._samples(shape)
                found = decoded_by(backbone, x.contiguous(memory_format=torch.channels_last))
                near(found, decoded_by(backbone, x), f"samples {shape}", *ORDER)

    @rule
    def test_input_is_untouched(self) -> None:
        """Samples and latents are not written to."""
        backbone, x = self._built(), self._samples()
        with untouched(samples=x):
            z = latents_of(backbone, x)
        kept = {f"latents_{level}": each for level, each in enumerate(z)}
        with torch.no_grad(), untouched(**kept):
            decode(backbone, z)

    @rule
    def test_weights_follow_the_seed(self) -> None:
        """Built twice after the same global seed, all weights are the same."""
        with seeded(5):
            first = state_of(self._made())
        with seeded(5):
            same_state(self._made(), first, "weights")

    @rule
    def test_state_is_complete(self) -> None:
        """A backbone of another seed that loads the state dict strictly gives the same."""
        first, second, x = self._built(), self._built(seed=1), self._samples()
        decoded_by(first, x)  # which may change running statistics
        second.load_state_dict(state_of(first), strict=True)
        same(decoded_by(second.eval(), x), decoded_by(first.eval(), x), "after loading")

    @rule
    def test_copies_are_independent(self) -> None:
        """A deep copy gives the same, and shares no parameter with the original."""
        first, x = self._built().eval(), self._samples()
        other, before = copy.deepcopy(first), decoded_by(first, x)
        same(decoded_by(other, x), before, "a copy")
        with torch.no_grad():
            for each in other.parameters():
                each.add_(1)
        same(decoded_by(first, x), before, "the original after its copy has changed")

    @rule
    def test_manifold_is_not_registered(self) -> None:
        """``attach`` registers neither the manifold nor its parameters: the bottleneck has them."""
        backbone, space = self._made(), _Space()
        names = list(backbone.state_dict())
        backbone.attach(space, 1.0, 1)
        same(list(backbone.state_dict()), names, "entries of the state dict")
        expect(all(each is not space for each in backbone.modules()), "the manifold is a submodule")

    @rule
    def test_last_layer_is_the_decoders(self) -> None:
        """``last_layer`` is None, or a parameter of the backbone on which every sample depends."""
        backbone = self._built()
        last = backbone.last_layer
        if last is None:
            return
        own = any(last is each for each in backbone.parameters())
        expect(own, "last_layer is no parameter of the backbone")
        (found,) = gradients(decoded_by(backbone, self._samples()).square().sum(), [last])
        expect(found is not None and (found != 0).any(), "last_layer has no gradient")

    @rule
    def test_other_sides_are_taken(self) -> None:
        """Where the strides are told, samples of twice the sides have twice the positions."""
        for shape in self.shapes:
            backbone = self._built(shape)
            channels, *sides = shape
            told = all(len(each) == len(sides) for each in positions_of(backbone))
            if not backbone.channel_first or not told or self.emits == "logits":
                continue
            larger = (channels, *(2 * side for side in sides))
            z = latents_of(backbone, self._samples(larger))
            for each, positions in zip(z, positions_of(backbone), strict=True):
                found, wanted = tuple(each.shape[2:]), tuple(2 * n for n in positions)
                expect(found == wanted, f"positions {found} of {larger} instead of {wanted}")
            decoded = tuple(decode(backbone, z).shape[1:])
            expect(decoded == larger, f"decoded to {decoded} instead of {larger}")

    @rule
    def test_any_batch_can_be_exported(self) -> None:
        """``torch.export`` with a dynamic batch gives what eager does, for other batch sizes."""
        backbone = self._built().eval()
        for part, inputs in halves_of(backbone, self._samples()):
            exported_alike(part, inputs, *ORDER)

    @rule
    def test_no_step_waits(self) -> None:
        """A training pass does not wait for the device."""
        backbone, x = self._built().to(device()), self._samples().to(device())
        _pass(backbone, x)  # the first one may prepare something
        with no_waits("a training pass"):
            _pass(backbone, x)

    def _made(self, shape: tuple[int, ...] | None = None, dim: int | None = None) -> Backbone:
        classes = {"classes": CLASSES} if self.emits == "logits" else {}
        return self.make(shape=shape or self.shapes[0], dim=dim or self.dims[-1], **classes)

    def _built(
        self, shape: tuple[int, ...] | None = None, dim: int | None = None, seed: int = 0
    ) -> Backbone:
        """A backbone as a model has it."""
        with seeded(seed):
            backbone = self._made(shape, dim)
        backbone.attach(self.manifold(), 1.0, 1)
        return backbone

    def _samples(self, shape: tuple[int, ...] | None = None) -> Tensor:
        return normal(SAMPLES, *(shape or self.shapes[0])).tanh()


class _Space(Euclidean):
    """A manifold with a parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.zeros(()))


def _trained(backbone: Backbone) -> list[Tensor]:
    return [each for each in backbone.parameters() if each.requires_grad]


def _pass(backbone: Backbone, x: Tensor) -> None:
    total = decoded_by(backbone, x).square().sum()
    if total.requires_grad:  # as it does not where there is no network
        total.backward()
