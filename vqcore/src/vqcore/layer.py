"""VectorQuantizer: manifold, quantizer, estimator and regularizers composed into one layer."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from itertools import chain
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqcore.codebook.resizing import check_size
from vqcore.codebook.usage import forward_metrics
from vqcore.errors import SettingError, UsageError
from vqcore.interfaces.estimator import GradientEstimator
from vqcore.interfaces.latent_batch import LatentBatch
from vqcore.interfaces.manifold import Manifold
from vqcore.interfaces.output import Output
from vqcore.interfaces.quantizer import CodeAssignment, Quantized, Quantizer
from vqcore.interfaces.regularizer import Regularizer
from vqcore.numerics.indices import Indices, as_indices
from vqcore.numerics.layouts import channel_first
from vqcore.numerics.masking import largest, mask_of, usable
from vqcore.numerics.stable import without_autocast
from vqcore.plugin.registry import Registry
from vqcore.resolve import Choice, build, by_name

#: Training forwards without an update after which a warning is issued.
PATIENCE = 100

Decoder = Callable[[Tensor], Tensor]


class VectorQuantizer(nn.Module):
    """A vector-quantized bottleneck for any model.

    Call it on (N, D), (B, N, D) or any (..., D); with ``channel_first`` on (B, D, ...), as from
    convolutions. In training call ``update()`` after each ``optimizer.step()``: EMA codes and
    dead-code replacement happen there.

    If the quantizer works on another dimension than D, because of ``code_dim`` or its own structure
    (one dimension for each bit, for example), linear maps project into and out of it. Losses,
    estimator and regularizers see the quantizer's dimension.

    Components are chosen by name, by a mapping of name and options, or given as built modules.

    Args:
        dim: D.
        codebook_size: K, codes in each codebook.
        manifold, quantizer, estimator: one choice each.
        regularizers: any number of choices, each name once.
        channel_first: the input's dimension D is axis 1 instead of the last.
        code_dim: dimension of the codes; None takes D.
        registry: where names are looked up; the installed plugins by default.

    Raises:
        ComponentError: if a name is unknown, ambiguous or broken.
        UsageError, SettingError: if an option is invalid.
    """

    def __init__(
        self,
        *,
        dim: int,
        codebook_size: int,
        manifold: Choice | Manifold = "vqcore/euclidean",
        quantizer: Choice | Quantizer = "vqcore/codebook",
        estimator: Choice | GradientEstimator = "vqcore/straight-through",
        regularizers: Iterable[Choice | Regularizer] | Mapping[str, Any] = (),
        channel_first: bool = False,
        code_dim: int | None = None,
        registry: Registry | None = None,
    ) -> None:
        super().__init__()
        for name, value in (("dim", dim), ("codebook_size", codebook_size), ("code_dim", code_dim)):
            if value is not None:
                check_size(value, name)
        self.dim = dim
        self.channel_first = channel_first
        self.manifold: Manifold = build(registry, "manifold", manifold)
        sizes = {"dim": code_dim or dim, "codebook_size": codebook_size, "manifold": self.manifold}
        self.quantizer: Quantizer = build(registry, "quantizer", quantizer, **sizes)
        if isinstance(quantizer, nn.Module):
            _check_built(quantizer, sizes)
        self.codebook_size = self.quantizer.codebook_size
        inner = self.quantizer.dim
        if code_dim is not None and inner != code_dim:
            expected = f"{inner}, which this quantizer works on"
            raise SettingError("code_dim", code_dim, expected, "leave it out")
        self.project_in = nn.Identity() if inner == dim else nn.Linear(dim, inner)
        self.project_out = nn.Identity() if inner == dim else nn.Linear(inner, dim)
        self.estimator: GradientEstimator = build(
            registry, "estimator", estimator, manifold=self.manifold
        )
        self.regularizers = nn.ModuleDict()
        for name, choice in by_name(regularizers).items():
            self.regularizers[name] = build(registry, "regularizer", choice)
        self.step = 0
        self._forwards = 0
        self._choose_acting()

    # -- the layer -----------------------------------------------------------

    def forward(
        self,
        z: Tensor,
        *,
        mask: Tensor | None = None,
        lengths: Tensor | None = None,
        inputs: Tensor | None = None,
        decode: Decoder | None = None,
    ) -> Output:
        """Quantize z.

        Args:
            z: latents, see the class.
            mask: (...) bool without D, True for tokens that count; the others get index -1 and a
                zero vector.
            lengths: (B,), instead of a mask: how many of the first positions of each sample count
                (along the first of several axes of positions).
            inputs: the encoder's input, for regularizers that compare with it.
            decode: the decoder. If given, the output holds the reconstruction, and regularizers
                may use both.

        Raises:
            SettingError: if z is not a tensor of floats, or D or the mask's shape does not fit.
        """
        self._check_width(z)
        mask = mask_of(z, self.channel_first, mask, lengths)
        with without_autocast(z.device.type):
            u, kept, bad = self._quantizer_input(z, mask)
            result = self.quantizer(u, kept)
            estimated = self.estimator.estimate(u, result, self.quantizer)
            if self.quantizer.synchronized > 0:
                straight = result.z_q - result.z_q.detach()
                estimated = estimated + self.quantizer.synchronized * straight
            quantized = self._to_layout(
                self._project_back(estimated, kept, clean=self.estimator.exact), z
            )
        reconstruction = decode(quantized) if decode is not None else None
        losses = dict(result.losses)
        if self.training:
            if not torch.compiler.is_compiling():
                self._warn_if_not_updated()
            if self._acting:
                codebook = None
                if len(result.assignments) == 1:
                    codebook = result.assignments[0].codebook
                batch = LatentBatch(
                    u, result.z_q, result.indices, codebook, self.manifold, self.step, kept,
                    inputs, reconstruction, self._tangent_decoder(decode, z, kept),
                    self.quantizer.factors,
                )  # fmt: skip
                losses |= self._regularize(batch, result)
        loss = torch.stack(list(losses.values())).sum() if losses else u.sum() * 0
        metrics, counts, errors, sizes = forward_metrics(u, result.z_q, kept, result.assignments)
        replaced = self.quantizer.replaced_codes()
        metrics["bad_tokens"] = bad
        metrics["replaced_codes"] = torch.zeros_like(bad) if replaced is None else replaced.clone()
        return Output(
            quantized, result.indices, loss, losses, metrics, counts, errors, sizes, reconstruction
        )

    @torch.no_grad()
    def encode(self, z: Tensor) -> Tensor:
        """Indices of latents, as the eval forward gives them, in the input's layout without D."""
        self._check_width(z)
        with without_autocast(z.device.type):
            u, kept, _ = self._quantizer_input(z, None)
            indices = self.quantizer.encode(u)
        wide = kept.reshape(kept.shape + (1,) * len(self.quantizer.index_shape))
        return torch.where(wide, indices, -1)

    @torch.no_grad()
    def inspect(self, z: Tensor) -> Quantized:
        """The quantizer's own result for latents z in eval: indices, codebooks and their tokens."""
        self._check_width(z)
        training = {module: module.training for module in self.modules()}
        self.eval()
        try:
            with without_autocast(z.device.type):
                u, kept, _ = self._quantizer_input(z, None)
                return self.quantizer(u, kept)
        finally:
            for module, mode in training.items():
                module.training = mode

    def decode(self, indices: Indices) -> Tensor:
        """The layer's output for indices, in the layout of its input; -1 gives zeros.

        Indices are a tensor of any integer type, a NumPy array or nested lists.

        Raises:
            SettingError: if an index is no whole number or out of range, or group or stage axes
                do not fit.
        """
        whole = self._whole(indices)
        parts = len(self.quantizer.index_shape)
        kept = (whole >= 0).flatten(whole.ndim - parts).any(-1) if parts else whole >= 0
        with without_autocast(whole.device.type):
            codes = self._project_back(self.quantizer.decode(whole), kept, clean=True)
        return channel_first(codes) if self.channel_first else codes

    def lookup(self, indices: Indices) -> Tensor:
        """The code of each index, (..., d) tangent vectors; of each group or stage if several.

        Indices are given, and refused, as in ``decode``.
        """
        whole = self._whole(indices)
        with without_autocast(whole.device.type):
            return self.quantizer.lookup(whole)

    def update(self, optimizer: torch.optim.Optimizer | None = None) -> None:
        """Apply what training forwards gathered; call it after each optimizer step.

        With the optimizer given, its moments of replaced codes are reset.
        """
        self.quantizer.update(optimizer)
        self.step += 1
        self._forwards = 0
        self._choose_acting()

    def freeze_codes(self) -> None:
        """Keep the codes as they are while the rest trains, see ``Quantizer.freeze_codes``."""
        self.quantizer.freeze_codes()

    def unfreeze_codes(self) -> None:
        """Let the codes learn again."""
        self.quantizer.unfreeze_codes()

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """As ``nn.Module`` does; codes that are no parameters are frozen, too."""
        super().requires_grad_(requires_grad)
        self.quantizer.requires_grad_(requires_grad)
        return self

    def resize_codebook(
        self, codebook_size: int, optimizer: torch.optim.Optimizer | None = None
    ) -> Tensor:
        """Change the number of codes of each codebook, see ``Quantizer.resize_codebook``.

        Close a ``UsageMeter`` of the layer before: it cannot add counts of another size.

        Returns:
            The new index of each old code, int64, -1 for one that is gone: (K,), or (G, K).
        """
        moved = self.quantizer.resize_codebook(codebook_size, optimizer)
        self.codebook_size = self.quantizer.codebook_size
        return moved

    @property
    def codebook(self) -> Tensor | None:
        """Points (K, A), or (G, K, A) for several codebooks; None if the codebook is implicit."""
        return self.quantizer.codebook

    # -- layouts -------------------------------------------------------------

    def _check_width(self, z: Tensor) -> None:
        if not isinstance(z, Tensor) or not z.is_floating_point():
            found = str(z.dtype) if isinstance(z, Tensor) else type(z).__name__
            raise SettingError("input", found, "a tensor of floats")
        axis = 1 if self.channel_first else -1
        width = z.shape[axis] if z.ndim > 1 else None
        if width != self.dim:
            other = next((i for i, n in enumerate(z.shape) if n == self.dim), None)
            fix = "" if other is None else f"axis {other} fits: see channel_first"
            raise SettingError("input", tuple(z.shape), f"dim = {self.dim} on axis {axis}", fix)

    def _whole(self, given: Indices) -> Tensor:
        indices = as_indices(given, self)
        shape = self.quantizer.index_shape
        if shape and tuple(indices.shape[-len(shape) :]) != shape:
            expected = f"a shape that ends in {shape}, groups or stages last"
            raise SettingError("indices", tuple(indices.shape), expected)
        return indices

    def _quantizer_input(self, z: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """The quantizer's input (..., d), the tokens that count, and how many were bad.

        Bad are NaN, inf, and numbers so large that their squares or sums would be.
        """
        moved = z.movedim(1, -1) if self.channel_first else z
        moved = moved.to(torch.promote_types(moved.dtype, torch.float32))
        good = usable(moved.detach(), largest(self._narrowest(moved.dtype)))
        kept = good if mask is None else good & mask
        bad = (~good if mask is None else ~good & mask).sum()
        clean = torch.where(kept.unsqueeze(-1), moved, 0).contiguous()
        return self.quantizer.tangent(self._project(self.project_in, clean)), kept, bad

    def _narrowest(self, dtype: torch.dtype) -> torch.dtype:
        """float64 if the latents, of type ``dtype``, and the codes are float64, else float32."""
        if dtype == torch.float64:
            for each in chain(self.quantizer.parameters(), self.quantizer.buffers()):
                if each.is_floating_point() and each.dtype != torch.float64:
                    return torch.float32
        return dtype

    def _project_back(self, vectors: Tensor, kept: Tensor, *, clean: bool = False) -> Tensor:
        """The quantizer's vectors (..., d) as the layer's (..., D), zero for masked tokens.

        ``clean`` vectors are already zero there.
        """
        if clean and isinstance(self.project_out, nn.Identity):
            return vectors
        return torch.where(kept.unsqueeze(-1), self._project(self.project_out, vectors), 0)

    @staticmethod
    def _project(projection: nn.Module, vectors: Tensor) -> Tensor:
        """A linear map in the precision of its weights, but never in half precision."""
        if not isinstance(projection, nn.Linear):
            return vectors
        wide = torch.promote_types(projection.weight.dtype, vectors.dtype)
        return F.linear(vectors.to(wide), projection.weight.to(wide), projection.bias.to(wide))

    def _to_layout(self, vectors: Tensor, like: Tensor) -> Tensor:
        moved = channel_first(vectors, like) if self.channel_first else vectors
        return moved.to(like.dtype)

    def _tangent_decoder(
        self, decode: Decoder | None, like: Tensor, kept: Tensor
    ) -> Decoder | None:
        """The decoder as a function of tangent vectors (..., D), under the caller's autocast."""
        if decode is None:
            return None
        kind = like.device.type
        enabled = torch.is_autocast_enabled(kind)
        dtype = torch.get_autocast_dtype(kind)

        def decode_tangents(vectors: Tensor) -> Tensor:
            with torch.autocast(kind, dtype=dtype, enabled=enabled):
                return decode(self._to_layout(self._project_back(vectors, kept), like))

        return decode_tangents

    # -- losses --------------------------------------------------------------

    def _choose_acting(self) -> None:
        """Choose the next step's regularizers here, so that a compiled forward is free of steps."""
        modules: Any = self.regularizers.items()
        self._acting = tuple(name for name, module in modules if module.acts_on(self.step))

    def _regularize(self, batch: LatentBatch, result: Quantized) -> dict[str, Tensor]:
        terms = {}
        with without_autocast(batch.z.device.type):  # half precision cannot tell distances apart
            for name in self._acting:
                module: Any = self.regularizers[name]
                seen = [batch]
                if module.scope == "codebook":
                    seen = [self._one_codebook(batch, each) for each in result.assignments]
                terms[name] = module.weight * torch.stack([module(one) for one in seen]).mean()
        if result.losses.keys() & terms.keys():
            both = ", ".join(result.losses.keys() & terms.keys())
            raise UsageError(f"regularizers: {both}: a loss of the quantizer has the same name")
        return terms

    def _one_codebook(self, batch: LatentBatch, assignment: CodeAssignment) -> LatentBatch:
        """One codebook and its tokens, as a regularizer of scope ``codebook`` sees them."""
        return LatentBatch(
            assignment.z, assignment.z_q, assignment.indices, assignment.codebook, self.manifold,
            batch.step, assignment.mask, batch.inputs, batch.reconstruction,
            codebook_size=len(assignment.counts),
        )  # fmt: skip

    def _warn_if_not_updated(self) -> None:
        self._forwards += 1
        if self._forwards == PATIENCE:
            text = (
                f"VectorQuantizer.update() was not called in {PATIENCE} training steps: "
                "call it after optimizer.step()"
            )
            warnings.warn(text, stacklevel=3)

    # -- state ---------------------------------------------------------------

    def get_extra_state(self) -> Tensor:
        """The number of completed training steps."""
        return torch.tensor([self.step])

    def set_extra_state(self, state: Tensor) -> None:
        """Restore what ``get_extra_state`` returned."""
        self.step = int(state[0])
        self._choose_acting()


def _check_built(built: Quantizer, expected: dict[str, Any]) -> None:
    """Refuse a quantizer that was built for other sizes or another manifold than the layer."""
    for name, value in expected.items():
        found = getattr(built, name)
        if found is not value and found != value:
            fixes = {"dim": f"or set code_dim={found}", "codebook_size": f"or set {name}={found}"}
            text = f"one built for {name} = {value}, found {found}"
            raise SettingError("quantizer", type(built).__name__, text, fixes.get(name, ""))
