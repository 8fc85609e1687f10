"""What must hold for the indices of every quantizer: layout, range, and decoding."""

from __future__ import annotations

import math

import torch

from vqcore.errors import SettingError
from vqcore.interfaces.manifold import Manifold
from vqcore.layer import VectorQuantizer
from vqcore.testing.quantizer.bench import QuantizerBench
from vqcore.testing.rules import expect, fail, finite, near, rule, same, valid
from vqcore.testing.samples import normal, some_mask, untouched

#: Layouts with D last, and with D as axis 1; -1 stands for D.
LAST = ((6, -1), (2, 5, -1), (2, 3, 4, -1), (0, -1))
FIRST = ((6, -1), (2, -1, 5), (2, -1, 3, 4), (2, -1, 2, 3, 2))

INTEGERS = (
    torch.uint8, torch.uint16, torch.uint32, torch.uint64,
    torch.int8, torch.int16, torch.int32, torch.int64,
)  # fmt: skip


class IndexRules(QuantizerBench):
    """Part of ``QuantizerConformance``."""

    @rule
    def test_index_layout(self, manifold: Manifold) -> None:
        """Indices are int64, (..., *index_shape), for any number of axes, contiguous or not."""
        quantizer = self.started(manifold).eval().quantizer
        for shape in ((6,), (2, 5), (2, 3, 4), (0,)):
            z = quantizer.tangent(normal(*shape, quantizer.dim)).detach()
            strided = torch.stack([z, z], -1)[..., 0]
            out = quantizer(strided)
            expect(out.indices.dtype == torch.int64, f"indices are {out.indices.dtype}")
            expected = (*shape, *quantizer.index_shape)
            found = tuple(out.indices.shape)
            expect(found == expected, f"shape {found} of indices instead of {expected}")
            found = tuple(out.z_q.shape)
            expect(out.z_q.shape == z.shape, f"shape {found} of z_q for {tuple(z.shape)}")
            rows = quantizer(z.reshape(-1, z.shape[-1])).indices
            same(out.indices.reshape(rows.shape), rows, f"indices of {shape} and of rows")

    @rule
    def test_index_range(self, manifold: Manifold) -> None:
        """Indices are below codebook_size; in training, dropped stages of a token may be -1."""
        layer = self.started(manifold)
        for mode, lowest in ((True, -1), (False, 0)):
            indices = layer.train(mode).quantizer(self.tangents(layer)).indices
            outside = int(((indices < lowest) | (indices >= layer.codebook_size)).sum())
            limits = f"{lowest} to {layer.codebook_size - 1}"
            expect(outside == 0, f"{outside} indices outside {limits}")
            indexed = (indices.reshape(self.tokens, -1) >= 0).any(1)
            expect(indexed.all(), "a token that counts has no index at all")

    @rule
    def test_encode_is_the_eval_forward(self, manifold: Manifold) -> None:
        """encode(z) gives the indices of the eval forward, and has no gradient."""
        layer = self.started(manifold).eval()
        z = self.tangents(layer, 3, 21).requires_grad_()
        found = layer.quantizer.encode(z)
        expect(not found.requires_grad, "indices with a gradient")
        same(found, layer.quantizer(z).indices, "indices of encode and forward")

    @rule
    def test_decode_inverts_encode(self, manifold: Manifold) -> None:
        """decode(encode(z)) is the z_q of the eval forward, to the bit."""
        layer = self.started(manifold).eval()
        for shape in ((self.tokens,), (2, 3, 4), (0,)):
            z = self.tangents(layer, *shape)
            decoded = layer.quantizer.decode(layer.quantizer.encode(z))
            same(decoded, layer.quantizer(z).z_q, f"decode(encode(z)) of {shape}")

    @rule
    def test_layouts_agree(self, manifold: Manifold) -> None:
        """The layer gives the same result in every layout; decode(encode(z)) is its eval output."""
        for channel_first, shapes in ((False, LAST), (True, FIRST)):
            layer = self.started(manifold, channel_first=channel_first).eval()
            wider = self.started(manifold, wider=3, channel_first=channel_first).eval()
            for shape in shapes:
                _check_layout(layer, shape)
            _check_layout(wider, shapes[2])

    @rule
    def test_lookup_layout(self, manifold: Manifold) -> None:
        """lookup gives each index its code, (..., *index_shape, d), and zero for -1."""
        layer = self.started(manifold).eval()
        result = layer.quantizer(self.tangents(layer, 3, 7))
        found = layer.quantizer.lookup(result.indices)
        expected = (*result.indices.shape, result.assignments[0].z_q.shape[-1])
        expect(found.shape == expected, f"shape {tuple(found.shape)} instead of {expected}")
        finite(found, "codes")
        none = layer.quantizer.lookup(torch.full_like(result.indices, -1))
        same(none, torch.zeros_like(found), "lookup of -1")
        if layer.quantizer.index_shape == ():
            same(found, layer.quantizer.decode(result.indices), "lookup and decode")

    @rule
    def test_join_restores_the_whole(self, manifold: Manifold) -> None:
        """join assembles the z_q of ``assignments`` to the whole z_q."""
        layer = self.started(manifold).eval()
        result = layer.quantizer(self.tangents(layer, 3, 7))
        parts = iter([each.z_q for each in result.assignments])
        near(layer.quantizer.join(parts, (3, 7)), result.z_q, "join", 1e-5, 1e-6)
        expect(next(parts, None) is None, "join left parts over")

    @rule
    def test_minus_one_decodes_to_zero(self, manifold: Manifold) -> None:
        """decode gives zero for an index of -1, a masked token."""
        quantizer = self.started(manifold).eval().quantizer
        found = quantizer.decode(torch.full((4, 5, *quantizer.index_shape), -1))
        same(found.abs(), torch.zeros(4, 5, quantizer.dim), "decode(-1)")

    @rule
    def test_indices_of_any_integer_type(self, manifold: Manifold) -> None:
        """The layer decodes tensors of every integer type, and lists, alike, and refuses others."""
        layer = self.started(manifold).eval()
        indices = layer.encode(self.latents(layer, 3, 5)) % 128  # int8 holds these
        for method in (layer.decode, layer.lookup):
            expected = method(indices)
            for dtype in INTEGERS:
                same(method(indices.to(dtype)), expected, f"{method.__name__} of {dtype}")
            same(method(indices.tolist()), expected, f"{method.__name__} of lists")
            for wrong in (indices.float(), indices.double(), indices == 0):
                try:
                    method(wrong)
                except SettingError as error:
                    named = str(wrong.dtype) in str(error)
                    expect(named, f"the message does not name {wrong.dtype}: {error}")
                else:
                    fail(f"{method.__name__} took {wrong.dtype}")

    @rule
    def test_out_of_range_is_refused(self, manifold: Manifold) -> None:
        """decode and lookup raise SettingError for indices below -1 or not below codebook_size."""
        layer = self.started(manifold).eval()
        for bad in (layer.codebook_size, -2):
            indices = torch.zeros((4, *layer.quantizer.index_shape), dtype=torch.int64)
            indices[2] = bad
            for method in (layer.quantizer.decode, layer.quantizer.lookup):
                try:
                    method(indices)
                except SettingError as error:
                    expect(str(bad) in str(error), f"the message does not name {bad}: {error}")
                else:
                    fail(f"{method.__name__} took {bad}, with {layer.codebook_size} codes")

    @rule
    def test_assignments_cover_all_tokens(self, manifold: Manifold) -> None:
        """``assignments`` hold each token once for each of its indices, (N, d), and count them."""
        layer, mask = self.started(manifold), some_mask(self.tokens)
        for mode in (True, False):
            result = layer.train(mode).quantizer(self.tangents(layer), mask)
            total = sum(int(each.mask.sum()) for each in result.assignments)
            expected = int((result.indices >= 0).sum())
            indices = f"{expected} indices that are not -1"
            expect(total == expected, f"{total} tokens in assignments, {indices}")
            whole = int(mask.sum()) * math.prod(layer.quantizer.index_shape)
            expect(mode or total == whole, f"{total} tokens in assignments instead of {whole}")
            for each in result.assignments:
                z, n = tuple(each.z.shape), each.z.shape[0]
                shapes = [tuple(t.shape) for t in (each.z_q, each.indices, each.mask)]
                expect(shapes == [z, (n,), (n,)], f"shapes {shapes} with z {z}")
                same(each.indices >= 0, each.mask, "indices that are not -1, and the mask")
                chosen = each.indices[each.mask]
                same(each.counts, torch.bincount(chosen, minlength=len(each.counts)), "counts")

    @rule
    def test_assignments_hold_their_codes(self, manifold: Manifold) -> None:
        """In ``assignments``, z_q are the codes of the indices, zero for masked tokens."""
        layer, mask = self.started(manifold), some_mask(self.tokens)
        for each in layer.quantizer(self.tangents(layer), mask).assignments:
            expect(not each.z_q[~each.mask].any(), "a masked token with a code")
            if each.codebook is not None:
                sizes = len(each.codebook), len(each.counts)
                expect(sizes[0] == sizes[1], f"{sizes[0]} codes, {sizes[1]} counts")
                codes = layer.manifold.logmap0(each.codebook)[each.indices[each.mask]]
                near(each.z_q[each.mask], codes, "z_q and the codes of the indices", 1e-4, 1e-5)

    @rule
    def test_codebook_layout(self, manifold: Manifold) -> None:
        """codebook is None or valid points (K, A), (..., K, A) if several, trained or not."""
        for layer in self.both(manifold):
            codebook = layer.codebook
            if codebook is None:
                return
            z = layer.quantizer(self.tangents(layer)).assignments[0].z
            expected = (layer.codebook_size, layer.manifold.point_dim(z.shape[-1]))
            shape, index_shape = tuple(codebook.shape), layer.quantizer.index_shape
            expect(shape[-2:] == expected, f"shape {shape}, expected it to end in {expected}")
            fits = codebook.ndim - 2 <= len(index_shape)
            expect(fits, f"shape {shape} for indices of {index_shape}")
            valid(layer.manifold, codebook, "codes that are no points")

    @rule
    def test_input_is_untouched(self, manifold: Manifold) -> None:
        """forward, encode, decode and lookup do not write to their arguments."""
        for layer in self.both(manifold):
            z, mask = self.tangents(layer), some_mask(self.tokens)
            for mode in (True, False):
                with untouched(z=z, mask=mask):
                    indices = layer.train(mode).quantizer(z, mask).indices
                    layer.quantizer.encode(z)
                    layer.quantizer.tangent(z)
                with untouched(indices=indices):
                    layer.quantizer.decode(indices)
                    layer.quantizer.lookup(indices)


def _check_layout(layer: VectorQuantizer, shape: tuple[int, ...]) -> None:
    """The layer's eval output for latents of a shape with -1 for D, against that of rows."""
    axis, what = shape.index(-1), f"{shape}, -1 for D"
    z = normal(*(layer.dim if n == -1 else n for n in shape))
    out = layer(z)
    expect(out.quantized.shape == z.shape, f"shape {tuple(out.quantized.shape)} for {what}")
    expect(out.quantized.is_contiguous(), f"vectors that are not contiguous for {what}")
    positions = (*shape[:axis], *shape[axis + 1 :], *layer.quantizer.index_shape)
    expect(out.indices.shape == positions, f"indices {tuple(out.indices.shape)} for {what}")
    same(layer.encode(z), out.indices, f"encode for {what}")
    same(layer.decode(out.indices), out.quantized, f"decode(encode(z)) for {what}")
    first, layer.channel_first = layer.channel_first, False
    rows = layer(z.movedim(axis, -1).reshape(-1, layer.dim))
    layer.channel_first = first
    same(rows.indices.flatten(), out.indices.flatten(), f"indices of rows for {what}")
