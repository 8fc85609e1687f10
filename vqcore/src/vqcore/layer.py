"""VectorQuantizer: manifold, quantizer, estimator and regularizers composed into one layer."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqcore.codebook.usage import figures
from vqcore.errors import SettingError, UsageError
from vqcore.interfaces.estimator import GradientEstimator
from vqcore.interfaces.latent_batch import LatentBatch
from vqcore.interfaces.manifold import Manifold
from vqcore.interfaces.output import Output
from vqcore.interfaces.quantizer import CodeAssignment, Quantized, Quantizer
from vqcore.numerics.masking import mask_of
from vqcore.numerics.stable import without_autocast
from vqcore.plugin.registry import Registry
from vqcore.resolve import Choice, build, by_name

#: Training forwards without an update after which the user is told that the codebook stands still.
PATIENCE = 100


class VectorQuantizer(nn.Module):
    """A vector-quantized bottleneck for anybody's model.

    Call it on (N, D), (B, N, D) or any (..., D); with ``channel_first`` on (B, D, ...), as convolutions give. In
    training call ``update()`` after each ``optimizer.step()``: EMA codes and dead-code replacement happen there.

    Where the quantizer works on another dimension than D, since ``code_dim`` says so or its own structure does (one
    dimension for each bit, say), linear maps lead in and out of it, around everything else: losses, estimator and
    regularizers see the quantizer's dimension.

    Components are chosen by name, by a mapping of name and options, or given as built modules.

    Args:
        dim: D.
        codebook_size: K, codes in each codebook.
        manifold, quantizer, estimator: one choice each.
        regularizers: any number of choices, each name once.
        channel_first: the input's dimension D is axis 1 instead of the last.
        code_dim: dimension of the codes; D where it is left out.
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
        code_dim: int | None = None,
        registry: Registry | None = None,
    ) -> None:
        super().__init__()
        for name, value in (("dim", dim), ("codebook_size", codebook_size), ("code_dim", code_dim)):
            if value is not None and value < 1:
                raise SettingError(name, value, "a whole number of at least 1")
        self.dim, self.codebook_size, self.channel_first = dim, codebook_size, channel_first
        self.manifold: Manifold = build(registry, "manifold", manifold)
        wanted = {"dim": code_dim or dim, "codebook_size": codebook_size, "manifold": self.manifold}
        self.quantizer: Quantizer = build(registry, "quantizer", quantizer, **wanted)
        if isinstance(quantizer, nn.Module):
            _check_built(quantizer, wanted)
        inner = self.quantizer.dim
        self.codebook_size = self.quantizer.codebook_size
        if code_dim is not None and inner != code_dim:
            raise SettingError(
                "code_dim", code_dim, f"{inner}, which this quantizer works on", "leave it out"
            )
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
        decode: Callable[[Tensor], Tensor] | None = None,
    ) -> Output:
        """Quantize z.

        Args:
            z: latents, see the class.
            mask: (...) bool without D, True for tokens that count; others get index -1 and a zero vector.
            lengths: (B,), instead of a mask: how many of the first positions of each sample count (along the first of
                several axes of positions).
            inputs: the encoder's input, for regularizers that compare with it.
            decode: the decoder; with it the output holds the reconstruction, and regularizers may use both.

        Raises:
            SettingError: if D or the mask's shape does not fit.
        """
        self._check_width(z)
        mask = mask_of(z, self.channel_first, mask, lengths)
        with without_autocast(z.device.type):
            u, kept, bad = self._read(z, mask)
            result = self.quantizer(u, kept)
            estimated = self.estimator.estimate(u, result, self.quantizer)
            if self.quantizer.synchronized > 0:
                estimated = estimated + self.quantizer.synchronized * (
                    result.z_q - result.z_q.detach()
                )
            quantized = self._write(self._leave(estimated, kept, clean=self.estimator.exact), z)
        reconstruction = decode(quantized) if decode is not None else None
        losses = dict(result.losses)
        if self.training:
            if not torch.compiler.is_compiling():
                self._remind()
            if self._acting:
                losses |= self._regularize(
                    self._batch(u, result, kept, inputs, reconstruction, decode, z), result
                )
        loss = torch.stack(list(losses.values())).sum() if losses else u.sum() * 0
        metrics, counts, errors, sizes = figures(u, result.z_q, kept, result.assignments)
        replaced = self.quantizer.replaced_codes()
        metrics |= {
            "bad_tokens": bad,
            "replaced_codes": torch.zeros_like(bad) if replaced is None else replaced.clone(),
        }
        return Output(
            quantized, result.indices, loss, losses, metrics, counts, errors, sizes, reconstruction
        )

    @torch.no_grad()
    def encode(self, z: Tensor) -> Tensor:
        """Indices of latents, as the eval forward gives them, in the layout without D."""
        self._check_width(z)
        with without_autocast(z.device.type):
            u, kept, _ = self._read(z, None)
            indices = self.quantizer.encode(u)
        wide = kept.reshape(kept.shape + (1,) * len(self.quantizer.index_shape))
        return torch.where(wide, indices, -1)

    @torch.no_grad()
    def inspect(self, z: Tensor) -> Quantized:
        """The quantizer's own result for latents z, as in eval: indices, and each codebook with its tokens."""
        self._check_width(z)
        training = {module: module.training for module in self.modules()}
        self.eval()
        try:
            with without_autocast(z.device.type):
                u, kept, _ = self._read(z, None)
                return self.quantizer(u, kept)
        finally:
            for module, mode in training.items():
                module.training = mode

    def decode(self, indices: Tensor) -> Tensor:
        """What the layer gives for indices, in the layout of its output; an index of -1 gives zeros.

        Raises:
            SettingError: if an index is out of range, or group or stage axes do not fit.
        """
        self._check_indices(indices)
        parts = len(self.quantizer.index_shape)
        kept = (indices >= 0).flatten(indices.ndim - parts).any(-1) if parts else indices >= 0
        with without_autocast(indices.device.type):
            codes = self._leave(self.quantizer.decode(indices.long()), kept, clean=True)
        return codes.movedim(-1, 1) if self.channel_first else codes

    def lookup(self, indices: Tensor) -> Tensor:
        """The code behind each index, (..., d) tangent vectors: of each group or stage where there are several.

        Raises:
            SettingError: as ``decode``.
        """
        self._check_indices(indices)
        with without_autocast(indices.device.type):
            return self.quantizer.lookup(indices.long())

    def update(self, optimizer: torch.optim.Optimizer | None = None) -> None:
        """Apply what training forwards gathered; call it after each optimizer step, with it to reset moments too."""
        self.quantizer.update(optimizer)
        self.step += 1
        self._forwards = 0
        self._choose_acting()

    @property
    def codebook(self) -> Tensor | None:
        """Points (K, A) of the codebook, (G, K, A) of several; None where it is implicit."""
        return self.quantizer.codebook

    # -- layouts -------------------------------------------------------------

    def _check_width(self, z: Tensor) -> None:
        axis = 1 if self.channel_first else -1
        width = z.shape[axis] if z.ndim > 1 else None
        if width != self.dim:
            other = next((i for i, n in enumerate(z.shape) if n == self.dim), None)
            fix = "" if other is None else f"axis {other} fits: see channel_first"
            raise SettingError("input", tuple(z.shape), f"dim = {self.dim} on axis {axis}", fix)

    def _check_indices(self, indices: Tensor) -> None:
        shape = self.quantizer.index_shape
        if shape and tuple(indices.shape[-len(shape) :]) != shape:
            raise SettingError(
                "indices",
                tuple(indices.shape),
                f"a shape that ends in {shape}, groups or stages last",
            )

    def _read(self, z: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """What the quantizer takes (..., d) in full precision, which tokens count, and how many were NaN or inf."""
        moved = z.movedim(1, -1) if self.channel_first else z
        moved = moved.to(torch.promote_types(moved.dtype, torch.float32))
        held = (
            moved.detach()
        )  # two reductions read it once each; a mask of its size would be written and read again
        finite = held.amin(-1).isfinite() & held.amax(-1).isfinite()
        kept = finite if mask is None else finite & mask
        bad = (~finite if mask is None else ~finite & mask).sum()
        clean = torch.where(kept.unsqueeze(-1), moved, 0).contiguous()
        return self.quantizer.tangent(self._project(self.project_in, clean)), kept, bad

    def _leave(self, vectors: Tensor, kept: Tensor, *, clean: bool = False) -> Tensor:
        """The quantizer's vectors (..., d) as the layer's (..., D), zero where no token counts (``clean`` ones are)."""
        if clean and isinstance(self.project_out, nn.Identity):
            return vectors
        return torch.where(kept.unsqueeze(-1), self._project(self.project_out, vectors), 0)

    @staticmethod
    def _project(projection: nn.Module, vectors: Tensor) -> Tensor:
        """A linear map in the precision of its weights, but never a half one."""
        if isinstance(projection, nn.Identity):
            return vectors
        wide = torch.promote_types(projection.weight.dtype, vectors.dtype)
        return F.linear(vectors.to(wide), projection.weight.to(wide), projection.bias.to(wide))

    def _write(self, vectors: Tensor, like: Tensor) -> Tensor:
        moved = vectors.movedim(-1, 1) if self.channel_first else vectors
        return moved.to(like.dtype)

    def _batch(
        self,
        u: Tensor,
        result: Quantized,
        kept: Tensor,
        inputs: Tensor | None,
        reconstruction: Tensor | None,
        decode: Callable[[Tensor], Tensor] | None,
        z: Tensor,
    ) -> LatentBatch:
        codebook = result.assignments[0].codebook if len(result.assignments) == 1 else None
        decoder = self._decoder_of_tangents(decode, z, kept)
        return LatentBatch(
            u, result.z_q, result.indices, codebook, self.manifold, self.step, kept, inputs, reconstruction, decoder,
            self.quantizer.factors,
        )  # fmt: skip

    def _decoder_of_tangents(
        self, decode: Callable[[Tensor], Tensor] | None, like: Tensor, kept: Tensor
    ) -> Callable[[Tensor], Tensor] | None:
        """The decoder as a function of tangent vectors (..., D), in the precision that the layer was called in."""
        kind = like.device.type
        enabled, dtype = torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind)

        def decode_tangents(vectors: Tensor) -> Tensor:
            with torch.autocast(kind, dtype=dtype, enabled=enabled):
                return decode(self._write(self._leave(vectors, kept), like))

        return None if decode is None else decode_tangents

    # -- losses --------------------------------------------------------------

    def _choose_acting(self) -> None:
        """Which regularizers act on the coming step: settled here, so that a compiled forward never sees the step."""
        self._acting = tuple(
            name for name, module in self.regularizers.items() if module.acts_on(self.step)
        )

    def _regularize(self, batch: LatentBatch, result: Quantized) -> dict[str, Tensor]:
        terms = {}
        with without_autocast(batch.z.device.type):  # half precision cannot tell distances apart
            for name in self._acting:
                module = self.regularizers[name]
                seen = (
                    [batch]
                    if module.scope == "model"
                    else [self._narrow(batch, use) for use in result.assignments]
                )
                terms[name] = module.weight * torch.stack([module(one) for one in seen]).mean()
        if result.losses.keys() & terms.keys():
            both = ", ".join(result.losses.keys() & terms.keys())
            raise UsageError(f"regularizers: {both}: the quantizer's own loss")
        return terms

    def _narrow(self, batch: LatentBatch, use: CodeAssignment) -> LatentBatch:
        return LatentBatch(
            use.z, use.z_q, use.indices, use.codebook, self.manifold, batch.step, use.mask,
            batch.inputs, batch.reconstruction, codebook_size=len(use.counts),
        )  # fmt: skip

    def _remind(self) -> None:
        self._forwards += 1
        if self._forwards == PATIENCE:
            text = f"VectorQuantizer.update() was not called in {PATIENCE} training steps: call it after optimizer.step()"
            warnings.warn(text, stacklevel=3)

    # -- state ---------------------------------------------------------------

    def get_extra_state(self) -> Tensor:
        """The number of training steps done."""
        return torch.tensor([self.step])

    def set_extra_state(self, state: Tensor) -> None:
        """Restore what ``get_extra_state`` gave."""
        self.step = int(state[0])
        self._choose_acting()


def _check_built(built: Quantizer, wanted: dict[str, Any]) -> None:
    for name, value in wanted.items():
        found = getattr(built, name)
        if found is not value and found != value:
            fix = {
                "dim": f"or say code_dim={found}",
                "codebook_size": f"or say codebook_size={found}",
            }.get(name, "")
            raise SettingError(
                "quantizer",
                type(built).__name__,
                f"one built for {name} = {value}, found {found}",
                fix,
            )
