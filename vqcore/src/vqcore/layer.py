"""VectorQuantizer: manifold, quantizer, estimator and regularizers composed into one layer."""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Iterable, Mapping
from functools import reduce
from typing import Any, Self

import torch
from torch import Tensor, nn

from vqcore.blend import Blend
from vqcore.codebook.resizing import check_size
from vqcore.codebook.usage import forward_statistics
from vqcore.errors import SettingError
from vqcore.interfaces.estimator import GradientEstimator
from vqcore.interfaces.latent_batch import LatentBatch
from vqcore.interfaces.manifold import Manifold
from vqcore.interfaces.output import Output
from vqcore.interfaces.quantizer import Quantized, Quantizer
from vqcore.interfaces.regularizer import Regularizer
from vqcore.numerics.execution import is_capturing
from vqcore.numerics.indices import Indices, as_indices
from vqcore.numerics.layouts import channel_first
from vqcore.numerics.masking import mask_of
from vqcore.numerics.stable import without_autocast
from vqcore.numerics.step_counter import StepCounter
from vqcore.plugin.component_config import require_total_dim
from vqcore.plugin.registry import Registry
from vqcore.projected import Decoder, Projected
from vqcore.regularization import acting, unrecordable, weighted_terms
from vqcore.resolve import Choice, build, by_name, check_built

#: Training forwards without an update after which a warning is issued.
PATIENCE = 100


class VectorQuantizer(Projected):
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
        blend_steps: training steps over which the output goes from the latents to their codes. The
            rest of the model learns faster from latents, and codes have time to follow. With 0 the
            output is codes from the first step on.
        quantize_start: the first step that quantizes, from which on ``blend_steps`` count. Before
            it, the output is the latents, and codes follow them without any effect on the encoder:
            the model trains as an autoencoder (deferred quantization, Zhao et al. 2026,
            arXiv:2603.17052). Eval quantizes all along.
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
        blend_steps: int = 0,
        quantize_start: int = 0,
        registry: Registry | None = None,
    ) -> None:
        super().__init__()
        check_size(dim, "dim")
        check_size(codebook_size)
        if code_dim is not None:
            check_size(code_dim, "code_dim")
        for name, steps in (("blend_steps", blend_steps), ("quantize_start", quantize_start)):
            if steps != 0:
                check_size(steps, name)
        self.dim = dim
        self.channel_first = channel_first
        self.manifold: Manifold = build(registry, "manifold", manifold)
        sizes = {"dim": code_dim or dim, "codebook_size": codebook_size, "manifold": self.manifold}
        self.quantizer: Quantizer = build(registry, "quantizer", quantizer, **sizes)
        if isinstance(quantizer, nn.Module):
            check_built(quantizer, sizes)
        self.codebook_size = self.quantizer.codebook_size
        if code_dim is not None and self.quantizer.dim != code_dim:
            expected = f"{self.quantizer.dim}, which this quantizer works on"
            raise SettingError("code_dim", code_dim, expected, "leave it out")
        setting = "code_dim" if code_dim else "dim"
        require_total_dim(self.manifold.total_dim, self.quantizer.dim, setting)
        self._build_projections()
        self.estimator: GradientEstimator = build(
            registry, "estimator", estimator, manifold=self.manifold
        )
        self.regularizers = nn.ModuleDict()
        for name, choice in by_name(regularizers).items():
            self.regularizers[name] = build(registry, "regularizer", choice)
        self._blend = Blend(blend_steps, quantize_start)
        self._steps = StepCounter()
        self._forwards = 0
        self._choose_by_step()

    # -- quantizing ------------------------------------------------------------

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
            u, kept = self._quantizer_input(z, mask)
            result, passed_on = self._quantize(u, kept)
            clean = self.estimator.exact and not self._blends
            quantized = self._to_layout(self._project_back(passed_on, kept, clean=clean), z)
        reconstruction = decode(quantized) if decode is not None else None
        losses = dict(result.losses)
        if self.training:
            if not torch.compiler.is_compiling():
                self._warn_if_not_updated()
            if self._acting:
                tangent_decoder = self._tangent_decoder(decode, z, kept)
                batch = self._batch(u, kept, result, inputs, reconstruction, tangent_decoder)
                losses |= weighted_terms(self.regularizers, self._acting, batch, result)
        replaced = self.quantizer.replaced_codes()
        loss = reduce(torch.add, losses.values()) if losses else u.sum() * 0
        return Output(
            quantized, result.indices, loss, losses,
            **forward_statistics(u, kept, mask, result, replaced), reconstruction=reconstruction,
        )  # fmt: skip

    def _quantize(self, u: Tensor, kept: Tensor) -> tuple[Quantized, Tensor]:
        """The quantizer's result, and the vectors (..., d) that go on to the decoder."""
        waits = self._blends and self._blend.start > 0
        seen = self._blend.from_start_on(u, self._steps.on_device()) if waits else u
        result = self.quantizer(seen, kept)
        estimated = self.estimator.estimate(u, result, self.quantizer)
        if self.quantizer.synchronized > 0:
            straight = result.z_q - result.z_q.detach()
            estimated = estimated + self.quantizer.synchronized * straight
        if self._blends:
            estimated = self._blend.output(u, estimated, self._steps.on_device())
        return result, estimated

    def _batch(
        self,
        u: Tensor,
        kept: Tensor,
        result: Quantized,
        inputs: Tensor | None,
        reconstruction: Tensor | None,
        decode: Decoder | None,
    ) -> LatentBatch:
        """What regularizers see of a step, whose number is a tensor in graphs that are replayed."""
        assigned = result.assignments
        in_graph = torch.compiler.is_compiling() or is_capturing()
        return LatentBatch(
            z=u,
            z_q=result.z_q,
            indices=result.indices,
            codebook=assigned[0].codebook if len(assigned) == 1 else None,
            manifold=self.manifold,
            steps=self._steps if torch.compiler.is_compiling() else self.step,
            mask=kept,
            inputs=inputs,
            reconstruction=reconstruction,
            decode=decode,
            factors=self.quantizer.factors,
            step_on_device=self._steps.on_device() if in_graph else None,
        )

    def _warn_if_not_updated(self) -> None:
        self._forwards += 1
        if self._forwards == PATIENCE:
            text = (
                f"VectorQuantizer.update() was not called in {PATIENCE} training steps: "
                "call it after optimizer.step()"
            )
            warnings.warn(text, stacklevel=3)

    # -- latents, indices and codes --------------------------------------------

    @torch.no_grad()
    def encode(self, z: Tensor) -> Tensor:
        """Indices of latents, as the eval forward gives them, in the input's layout without D."""
        self._check_width(z)
        with without_autocast(z.device.type):
            u, kept = self._quantizer_input(z, None)
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
                u, kept = self._quantizer_input(z, None)
                return self.quantizer(u, kept)
        finally:
            for module, mode in training.items():
                module.training = mode

    @torch.no_grad()
    def tangent(self, z: Tensor) -> Tensor:
        """Latents z as the quantizer gets them: tangent vectors (..., d), scaled and clipped."""
        self._check_width(z)
        with without_autocast(z.device.type):
            return self._quantizer_input(z, None)[0]

    def decode(self, indices: Indices) -> Tensor:
        """The layer's output for indices, in the layout of its input; -1 gives zeros.

        Indices are a tensor of any integer type, a NumPy array or nested lists.

        Raises:
            SettingError: if an index is no whole number, or group or stage axes do not fit; on a
                CPU also if it is out of range. On an accelerator, which is not waited for, it then
                gives NaN, as in a compiled or exported graph.
        """
        whole = self._checked(indices)
        parts = len(self.quantizer.index_shape)
        kept = whole != -1
        kept = kept.flatten(whole.ndim - parts).any(-1) if parts else kept
        with without_autocast(whole.device.type):
            codes = self._project_back(self.quantizer.decode(whole), kept, clean=True)
        return channel_first(codes) if self.channel_first else codes

    def lookup(self, indices: Indices) -> Tensor:
        """The code of each index, (..., d) tangent vectors; of each group or stage if several.

        Indices are given, and refused, as in ``decode``.
        """
        whole = self._checked(indices)
        with without_autocast(whole.device.type):
            return self.quantizer.lookup(whole)

    def _checked(self, given: Indices) -> Tensor:
        """Indices as int64, of the quantizer's ``index_shape``."""
        indices = as_indices(given, self)
        shape = self.quantizer.index_shape
        if shape and tuple(indices.shape[-len(shape) :]) != shape:
            expected = f"a shape that ends in {shape}, groups or stages last"
            raise SettingError("indices", tuple(indices.shape), expected)
        return indices

    @property
    def codebook(self) -> Tensor | None:
        """Points (K, A), or (G, K, A) for several codebooks; None if the codebook is implicit."""
        return self.quantizer.codebook

    # -- codes in training -----------------------------------------------------

    def update(self, optimizer: torch.optim.Optimizer | None = None) -> None:
        """Apply what training forwards gathered; call it after each optimizer step.

        With the optimizer given, its moments of replaced codes are reset. Captured in a CUDA graph
        together with its forward, it acts as often as the graph is replayed.
        """
        self.quantizer.update(optimizer)
        self._steps.advance()
        self._forwards = 0
        if not is_capturing():
            self._choose_by_step()

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

    # -- steps -----------------------------------------------------------------

    @property
    def step(self) -> int:
        """Completed training steps; where a CUDA graph replays them, reading it waits for it."""
        return self._steps.value

    @property
    def blend_steps(self) -> int:
        """Training steps over which the output goes from the latents to their codes."""
        return self._blend.steps

    @blend_steps.setter
    def blend_steps(self, steps: int) -> None:
        self._blend.steps = steps
        self._choose_by_step()

    @property
    def quantize_start(self) -> int:
        """The training step on which the output begins to go from the latents to their codes."""
        return self._blend.start

    @quantize_start.setter
    def quantize_start(self, step: int) -> None:
        self._blend.start = step
        self._choose_by_step()

    def _choose_by_step(self) -> None:
        """Decide what the next step does, so that a compiled forward reads no number of a step."""
        self._acting = acting(self.regularizers, self.step)
        self._blend.choose(self.step)

    @property
    def _blends(self) -> bool:
        return self.training and self._blend.acts

    @property
    def phase(self) -> Hashable:
        """What a step does that others do not: steps of equal phase have the same CUDA graph."""
        return self.quantizer.phase, self._acting, self._blend.acts

    def replayed(self) -> None:
        """Count a step that a CUDA graph, recorded ``by_phase``, has just replayed."""
        for module in self.modules():
            if isinstance(module, StepCounter):
                module.replayed()
        self._choose_by_step()

    @property
    def unrecordable(self) -> tuple[str, ...]:
        """Components whose steps cannot be replayed from a CUDA graph."""
        quantizer = () if self.quantizer.recordable else (type(self.quantizer).__name__,)
        return quantizer + unrecordable(self.regularizers)

    def extra_repr(self) -> str:
        """D, K and the layout, in the text of a model."""
        layout = ", channel_first=True" if self.channel_first else ""
        return f"dim={self.dim}, codebook_size={self.codebook_size}{layout}"

    # -- state -----------------------------------------------------------------

    def get_extra_state(self) -> Tensor:
        """The number of completed training steps."""
        return torch.tensor([self.step])

    def set_extra_state(self, state: Tensor) -> None:
        """Restore what ``get_extra_state`` returned."""
        self._steps.value = int(state[0])
        self._choose_by_step()
