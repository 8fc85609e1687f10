"""VectorQuantizer: manifold, quantizer, estimator and regularizers composed into one layer."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from vqcore.choices import Choice, build, by_name
from vqcore.errors import SettingError, UsageError
from vqcore.estimator import GradientEstimator
from vqcore.latent import LatentBatch
from vqcore.manifold import Manifold
from vqcore.metrics import codes_used, perplexity
from vqcore.numerics import masked_mean
from vqcore.quantizer import CodeUse, Quantized, Quantizer
from vqcore.registry import Registry

#: Training forwards without an update after which the user is told that the codebook stands still.
PATIENCE = 100


@dataclass(frozen=True)
class Output:
    """What the layer returns.

    Attributes:
        quantized: codes in the layout and dtype of the input, with the estimator's gradient.
        indices: int64: one for each position, group or stage last.
        loss: sum of ``losses``, to be added to the reconstruction loss.
        losses: weighted scalars by name: the quantizer's, then one for each regularizer that acted.
        metrics: detached scalars on the device: ``perplexity``, ``codes_used`` (means over codebooks),
            ``quantization_error`` (mean squared, tangent coordinates) and ``bad_tokens`` (NaN or inf, left out).
        counts: how often each code was used, (number of codebooks, K).
        reconstruction: ``decode(quantized)`` where ``decode`` was given.
    """

    quantized: Tensor
    indices: Tensor
    loss: Tensor
    losses: dict[str, Tensor]
    metrics: dict[str, Tensor]
    counts: Tensor
    reconstruction: Tensor | None = field(default=None, repr=False)


class VectorQuantizer(nn.Module):
    """A vector-quantized bottleneck for anybody's model.

    Call it on (N, D), (B, N, D) or any (..., D); with ``channel_first`` on (B, D, ...), as convolutions give. In
    training call ``update()`` after each ``optimizer.step()``: EMA codes and dead-code replacement happen there.

    Components are chosen by name, by a mapping of name and options, or given as built modules.

    Args:
        dim: D.
        codebook_size: K, codes in each codebook.
        manifold, quantizer, estimator: one choice each.
        regularizers: any number of choices, each name once.
        channel_first: the input's dimension D is axis 1 instead of the last.
        registry: where names are looked up; the installed plugins by default.

    Raises:
        ComponentError: if a name is unknown, ambiguous or broken.
        UsageError, SettingError: if an option is.
    """

    def __init__(
        self,
        *,
        dim: int,
        codebook_size: int,
        manifold: Choice | Manifold = "vqcore/euclidean",
        quantizer: Choice | Quantizer = "vqcore/codebook",
        estimator: Choice | GradientEstimator = "vqcore/straight-through",
        regularizers: Iterable[Choice] | Mapping[str, Any] = (),
        channel_first: bool = False,
        registry: Registry | None = None,
    ) -> None:
        super().__init__()
        for name, value in (("dim", dim), ("codebook_size", codebook_size)):
            if value < 1:
                raise SettingError(name, value, "a whole number of at least 1")
        self.dim, self.codebook_size, self.channel_first = dim, codebook_size, channel_first
        self.manifold: Manifold = build(registry, "manifold", manifold)
        self.quantizer: Quantizer = build(
            registry, "quantizer", quantizer, dim=dim, codebook_size=codebook_size, manifold=self.manifold
        )
        if isinstance(quantizer, nn.Module):
            self._check_built()
        self.estimator: GradientEstimator = build(registry, "estimator", estimator, manifold=self.manifold)
        self.regularizers = nn.ModuleDict()
        for name, choice in by_name(regularizers).items():
            self.regularizers[name] = build(registry, "regularizer", choice)
        self.step = 0
        self._forwards = 0

    # -- the layer --------------------------------------------------------------------------------------------

    def forward(
        self,
        z: Tensor,
        *,
        mask: Tensor | None = None,
        inputs: Tensor | None = None,
        decode: Callable[[Tensor], Tensor] | None = None,
    ) -> Output:
        """Quantize z.

        Args:
            z: latents, see the class.
            mask: (...) bool without D, True for tokens that count; others get index -1 and a zero vector.
            inputs: the encoder's input, for regularizers that compare with it.
            decode: the decoder; with it the output holds the reconstruction, and regularizers may use both.

        Raises:
            SettingError: if D does not fit.
        """
        self._check_width(z)
        with torch.autocast(z.device.type, enabled=False):
            u, kept, bad = self._read(z, mask)
            result = self.quantizer(u, kept)
            quantized = self._write(self.estimator(u, result.z_q), z)
        reconstruction = decode(quantized) if decode is not None else None
        losses = dict(result.losses)
        if self.training:
            self._remind()
            batch = LatentBatch(
                u, result.z_q, result.indices, self._single_codebook(result), self.manifold, self.step, kept,
                inputs, reconstruction, self._decoder_of_tangents(decode, z),
            )  # fmt: skip
            with torch.autocast(z.device.type, enabled=False):  # half precision cannot tell distances apart
                terms = self._regularize(batch, result)
            if losses.keys() & terms.keys():
                raise UsageError(f"regularizers: {', '.join(losses.keys() & terms.keys())}: the quantizer's own loss")
            losses |= terms
        loss = torch.stack(list(losses.values())).sum() if losses else u.sum() * 0
        counts = torch.stack([use.counts for use in result.uses])
        metrics = _metrics(u.detach(), result.z_q.detach(), counts, kept, bad)
        return Output(quantized, result.indices, loss, losses, metrics, counts, reconstruction)

    @torch.no_grad()
    def encode(self, z: Tensor) -> Tensor:
        """Indices of latents, as the eval forward gives them, in the layout without D."""
        self._check_width(z)
        with torch.autocast(z.device.type, enabled=False):
            u, kept, _ = self._read(z, None)
            indices = self.quantizer.encode(u)
        wide = kept.reshape(kept.shape + (1,) * len(self.quantizer.index_shape))
        return torch.where(wide, indices, -1)

    @torch.no_grad()
    def inspect(self, z: Tensor) -> Quantized:
        """The quantizer's own result for latents z, as in eval: indices, and each codebook with its tokens."""
        self._check_width(z)
        was_training = self.training
        self.eval()
        try:
            with torch.autocast(z.device.type, enabled=False):
                u, kept, _ = self._read(z, None)
                return self.quantizer(u, kept)
        finally:
            self.train(was_training)

    def decode(self, indices: Tensor) -> Tensor:
        """Codes of indices, in the layout of the layer's output; an index of -1 gives zeros.

        Raises:
            SettingError: if an index is out of range, or group or stage axes do not fit.
        """
        shape = self.quantizer.index_shape
        if shape and tuple(indices.shape[-len(shape) :]) != shape:
            raise SettingError("indices", tuple(indices.shape), f"a shape that ends in {shape}, groups or stages last")
        codes = self.quantizer.decode(indices)
        return codes.movedim(-1, 1) if self.channel_first else codes

    def update(self, optimizer: torch.optim.Optimizer | None = None) -> None:
        """Apply what training forwards gathered; call it after each optimizer step, with it to reset moments too."""
        self.quantizer.update(optimizer)
        self.step += 1
        self._forwards = 0

    @property
    def codebook(self) -> Tensor | None:
        """Points (K, A) of the codebook, (G, K, A) of several; None where it is implicit."""
        return self.quantizer.codebook

    # -- layouts ----------------------------------------------------------------------------------------------

    def _check_built(self) -> None:
        inner = self.quantizer
        for name, found, wanted in (
            ("dim", inner.dim, self.dim),
            ("codebook_size", inner.codebook_size, self.codebook_size),
            ("manifold", inner.manifold, self.manifold),
        ):
            if found is not wanted and found != wanted:
                raise SettingError("quantizer", type(inner).__name__, f"one built for {name} = {wanted}, found {found}")

    def _check_width(self, z: Tensor) -> None:
        axis = 1 if self.channel_first else -1
        width = z.shape[axis] if z.ndim > 1 else None
        if width != self.dim:
            other = next((i for i, n in enumerate(z.shape) if n == self.dim), None)
            fix = "" if other is None else f"axis {other} fits: see channel_first"
            raise SettingError("input", tuple(z.shape), f"dim = {self.dim} on axis {axis}", fix)

    def _read(self, z: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Tangent vectors (..., D) in full precision, which tokens count, and how many were NaN or inf."""
        moved = z.movedim(1, -1) if self.channel_first else z
        moved = moved.to(torch.promote_types(moved.dtype, torch.float32))
        finite = torch.isfinite(moved).all(-1)
        kept = finite if mask is None else finite & mask
        bad = (~finite if mask is None else ~finite & mask).sum()
        return self.manifold.tangent(torch.where(kept.unsqueeze(-1), moved, 0)), kept, bad

    def _write(self, vectors: Tensor, like: Tensor) -> Tensor:
        moved = vectors.movedim(-1, 1) if self.channel_first else vectors
        return moved.to(like.dtype)

    def _decoder_of_tangents(
        self, decode: Callable[[Tensor], Tensor] | None, like: Tensor
    ) -> Callable[[Tensor], Tensor] | None:
        """The decoder as a function of tangent vectors (..., D), in the precision that the layer was called in."""
        kind = like.device.type
        enabled, dtype = torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind)

        def decode_tangents(vectors: Tensor) -> Tensor:
            with torch.autocast(kind, dtype=dtype, enabled=enabled):
                return decode(self._write(vectors, like))

        return None if decode is None else decode_tangents

    # -- losses -----------------------------------------------------------------------------------------------

    def _regularize(self, batch: LatentBatch, result: Quantized) -> dict[str, Tensor]:
        terms = {}
        for name, module in self.regularizers.items():
            if module.acts_on(batch.step):
                seen = [batch] if module.scope == "model" else [self._narrow(batch, use) for use in result.uses]
                terms[name] = module.weight * torch.stack([module(one) for one in seen]).mean()
        return terms

    def _narrow(self, batch: LatentBatch, use: CodeUse) -> LatentBatch:
        return LatentBatch(
            use.z, use.z_q, use.indices, use.codebook, self.manifold, batch.step, use.mask,
            batch.inputs, batch.reconstruction,
        )  # fmt: skip

    def _single_codebook(self, result: Quantized) -> Tensor | None:
        return result.uses[0].codebook if len(result.uses) == 1 else None

    def _remind(self) -> None:
        self._forwards += 1
        if self._forwards == PATIENCE:
            text = (
                f"VectorQuantizer.update() was not called in {PATIENCE} training steps: call it after optimizer.step()"
            )
            warnings.warn(text, stacklevel=3)

    # -- state ------------------------------------------------------------------------------------------------

    def get_extra_state(self) -> Tensor:
        """The number of training steps done."""
        return torch.tensor([self.step])

    def set_extra_state(self, state: Tensor) -> None:
        """Restore what ``get_extra_state`` gave."""
        self.step = int(state[0])


def _metrics(u: Tensor, z_q: Tensor, counts: Tensor, kept: Tensor, bad: Tensor) -> dict[str, Tensor]:
    return {
        "perplexity": perplexity(counts).mean(),
        "codes_used": codes_used(counts).double().mean(),
        "quantization_error": masked_mean((u - z_q).square().mean(-1).flatten(), kept.flatten()),
        "bad_tokens": bad,
    }
