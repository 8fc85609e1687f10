"""What every quantizer must hold of its indices: layout, range, and the way back."""

from __future__ import annotations

import math

import torch

from vqcore.errors import SettingError
from vqcore.interfaces.manifold import Manifold
from vqcore.layer import VectorQuantizer
from vqcore.testing.quantizer.bench import QuantizerBench
from vqcore.testing.rules import expect, fail, finite, near, rule, same
from vqcore.testing.samples import normal, untouched


class IndexRules(QuantizerBench):
    """Part of ``QuantizerConformance``."""

    @rule
    def test_index_layout(self, manifold: Manifold) -> None:
        """Indices are int64, (..., *index_shape), for tokens in any number of axes, contiguous in memory or not."""
        layer = self.started(manifold).eval()
        for shape in ((6,), (2, 5), (2, 3, 4), (0,)):
            z = self.tangents(layer, *shape)
            apart = torch.stack([z, z], -1)[..., 0]  # strided
            out = layer.quantizer(apart)
            expected = (*shape, *layer.quantizer.index_shape)
            expect(out.indices.dtype == torch.int64, f"indices are {out.indices.dtype}")
            expect(
                out.indices.shape == expected,
                f"shape {tuple(out.indices.shape)} of indices instead of {expected}",
            )
            expect(
                out.z_q.shape == z.shape,
                f"shape {tuple(out.z_q.shape)} of z_q for {tuple(z.shape)}",
            )
            rows = layer.quantizer(z.reshape(-1, z.shape[-1])).indices
            same(out.indices.reshape(rows.shape), rows, f"indices of {shape} and of rows")

    @rule
    def test_index_range(self, manifold: Manifold) -> None:
        """Indices are 0 to codebook_size - 1; in training some of a token's may be -1, of stages that are dropped."""
        layer = self.started(manifold)
        for mode, lowest in ((True, -1), (False, 0)):
            indices = layer.train(mode).quantizer(self.tangents(layer)).indices
            inside = (indices >= lowest) & (indices < layer.codebook_size)
            expect(
                inside.all(),
                f"{int((~inside).sum())} indices outside {lowest} to {layer.codebook_size - 1}",
            )
            expect(
                (indices.reshape(self.tokens, -1) >= 0).any(1).all(),
                "a token that counts has no index at all",
            )

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
        """decode(encode(z)) is the z_q of the eval forward, bit for bit."""
        layer = self.started(manifold).eval()
        for shape in ((self.tokens,), (2, 3, 4), (0,)):
            z = self.tangents(layer, *shape)
            decoded = layer.quantizer.decode(layer.quantizer.encode(z))
            same(decoded.detach(), layer.quantizer(z).z_q.detach(), f"decode(encode(z)) of {shape}")

    @rule
    def test_layouts_agree(self, manifold: Manifold) -> None:
        """The layer gives one answer in every layout, with code_dim too; decode(encode(z)) is its eval output."""
        for channel_first, shapes in ((False, LAST), (True, FIRST)):
            layer = self.started(manifold, channel_first=channel_first).eval()
            for shape in shapes:
                self._check_layout(layer, shape)
            self._check_layout(
                self.started(manifold, wider=3, channel_first=channel_first).eval(), shapes[2]
            )

    def _check_layout(self, layer: VectorQuantizer, shape: tuple[int, ...]) -> None:
        """``shape`` has -1 in the place of the layer's dimension."""
        axis, what = shape.index(-1), f"{shape}, -1 for D"
        z = normal(*(layer.dim if n == -1 else n for n in shape))
        out = layer(z)
        expect(out.quantized.shape == z.shape, f"shape {tuple(out.quantized.shape)} for {what}")
        positions = (*shape[:axis], *shape[axis + 1 :], *layer.quantizer.index_shape)
        expect(out.indices.shape == positions, f"indices {tuple(out.indices.shape)} for {what}")
        same(layer.encode(z), out.indices, f"encode for {what}")
        same(
            layer.decode(out.indices).detach(),
            out.quantized.detach(),
            f"decode(encode(z)) for {what}",
        )
        first, layer.channel_first = layer.channel_first, False
        rows = layer(z.movedim(axis, -1).reshape(-1, layer.dim))
        layer.channel_first = first
        same(rows.indices.flatten(), out.indices.flatten(), f"indices of rows for {what}")

    @rule
    def test_lookup_layout(self, manifold: Manifold) -> None:
        """lookup gives each index its code, (..., *index_shape, d), zero for -1; for one index, what decode does."""
        layer = self.started(manifold).eval()
        result = layer.quantizer(self.tangents(layer, 3, 7))
        found = layer.quantizer.lookup(result.indices)
        expected = (*result.indices.shape, result.assignments[0].z_q.shape[-1])
        expect(found.shape == expected, f"shape {tuple(found.shape)} instead of {expected}")
        finite(found, "codes")
        none = layer.quantizer.lookup(torch.full_like(result.indices, -1))
        same(none.detach(), torch.zeros_like(found), "lookup of -1")
        if layer.quantizer.index_shape == ():
            same(
                found.detach(), layer.quantizer.decode(result.indices).detach(), "lookup and decode"
            )

    @rule
    def test_join_restores_the_whole(self, manifold: Manifold) -> None:
        """join puts the z_q of each of ``assignments`` together to that of the whole."""
        layer = self.started(manifold).eval()
        result = layer.quantizer(self.tangents(layer, 3, 7))
        parts = iter([use.z_q for use in result.assignments])
        whole = layer.quantizer.join(parts, (3, 7))
        near(whole, result.z_q, "join", 1e-5, 1e-6)
        expect(next(parts, None) is None, "join left parts over")

    @rule
    def test_minus_one_decodes_to_zero(self, manifold: Manifold) -> None:
        """decode gives zero for an index of -1, a masked token."""
        layer = self.started(manifold).eval()
        indices = torch.full((4, 5, *layer.quantizer.index_shape), -1)
        same(
            layer.quantizer.decode(indices).detach().abs(),
            torch.zeros(4, 5, layer.quantizer.dim),
            "decode(-1)",
        )

    @rule
    def test_out_of_range_is_refused(self, manifold: Manifold) -> None:
        """decode and lookup raise SettingError for an index below -1 or not below codebook_size."""
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
    def test_uses_cover_all_tokens(self, manifold: Manifold) -> None:
        """``assignments`` hold every token that counts once for each index, (N, d), with counts (K,) of their indices."""
        layer = self.started(manifold)
        mask = normal(self.tokens, seed=5) > -0.5
        for mode in (True, False):
            result = layer.train(mode).quantizer(self.tangents(layer), mask)
            total = sum(int(use.mask.sum()) for use in result.assignments)
            expected = int((result.indices >= 0).sum())
            expect(
                total == expected,
                f"{total} tokens in assignments, {expected} indices that are not -1",
            )
            whole = int(mask.sum()) * math.prod(layer.quantizer.index_shape)
            expect(mode or total == whole, f"{total} tokens in assignments instead of {whole}")
            for use in result.assignments:
                n = use.z.shape[0]
                shapes = [tuple(t.shape) for t in (use.z_q, use.indices, use.mask)]
                expect(
                    shapes == [tuple(use.z.shape), (n,), (n,)],
                    f"shapes {shapes} beside z {tuple(use.z.shape)}",
                )
                same(use.indices >= 0, use.mask, "indices that are not -1, and the mask")
                same(
                    use.counts,
                    torch.bincount(use.indices[use.mask], minlength=len(use.counts)),
                    "counts",
                )

    @rule
    def test_uses_hold_their_codes(self, manifold: Manifold) -> None:
        """In ``assignments``, z_q are the tangent vectors of the codes that the indices name, zero for masked tokens."""
        layer = self.started(manifold)
        mask = normal(self.tokens, seed=5) > -0.5
        for use in layer.quantizer(self.tangents(layer), mask).assignments:
            expect(not use.z_q[~use.mask].any(), "a masked token with a code")
            if use.codebook is not None:
                expect(
                    len(use.codebook) == len(use.counts),
                    f"{len(use.codebook)} codes, {len(use.counts)} counts",
                )
                codes = layer.manifold.logmap0(use.codebook)[use.indices[use.mask]]
                near(use.z_q[use.mask], codes, "z_q and the codes of the indices", 1e-4, 1e-5)

    @rule
    def test_codebook_layout(self, manifold: Manifold) -> None:
        """codebook is None, or valid points (K, A), (..., K, A) of several codebooks; before and after training."""
        for layer in (self.fresh(manifold), self.started(manifold)):
            book = layer.codebook
            if book is None:
                return
            width = layer.manifold.point_dim(
                layer.quantizer(self.tangents(layer)).assignments[0].z.shape[-1]
            )
            shape = (layer.codebook_size, width)
            expect(
                book.shape[-2:] == shape,
                f"shape {tuple(book.shape)}, expected it to end in {shape}",
            )
            several = book.ndim - 2 <= len(layer.quantizer.index_shape)
            expect(
                several, f"shape {tuple(book.shape)} for indices of {layer.quantizer.index_shape}"
            )
            why = layer.manifold.check_points(book)
            expect(why is None, f"codes that are no points: {why}")

    @rule
    def test_input_is_untouched(self, manifold: Manifold) -> None:
        """forward, encode, decode and lookup write to nothing that they are given, in training and eval."""
        for layer in (self.fresh(manifold), self.started(manifold)):
            z, mask = self.tangents(layer), normal(self.tokens, seed=5) > -0.5
            for mode in (True, False):
                with untouched(z=z, mask=mask):
                    indices = layer.train(mode).quantizer(z, mask).indices
                    layer.quantizer.encode(z)
                    layer.quantizer.tangent(z)
                with untouched(indices=indices):
                    layer.quantizer.decode(indices)
                    layer.quantizer.lookup(indices)


#: Layouts with D last, and with D as axis 1.
LAST = ((6, -1), (2, 5, -1), (2, 3, 4, -1), (0, -1))
FIRST = ((6, -1), (2, -1, 5), (2, -1, 3, 4), (2, -1, 2, 3, 2))
