"""Options of the built-in components.

A field of a base class that only gets another default keeps its description.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from vqcore.builtin.manifolds.shares import shares
from vqcore.plugin.bounds import Count, Scale, Share, Size, Weight
from vqcore.plugin.component_config import (
    CodebookConfig,
    ComponentConfig,
    ComponentRef,
    CurvedConfig,
    LossConfig,
    ManifoldRefs,
    RegularizerConfig,
    SizesIn,
    items,
)


class SphereConfig(CurvedConfig):
    """Options of the sphere."""

    max_angle: Annotated[float, Field(gt=0, lt=3.1)] = 1.5
    """Largest angle (radians) of a latent from the origin; longer tangent vectors are clipped."""


def _sizes(value: Any) -> Any:
    return [value] if type(value) is int else items(value)


class ProductConfig(ComponentConfig):
    """Options of a product of manifolds."""

    factors: Annotated[ManifoldRefs, Field(min_length=1, max_length=1024), SizesIn("dims")] = (
        ComponentRef(name="vqcore/euclidean"),
        ComponentRef(name="vqcore/sphere"),
    )
    """The manifolds, as in poincare,sphere, poincare:8,sphere:4 (see dims), or with options."""
    dims: Annotated[tuple[Size, ...] | None, BeforeValidator(_sizes)] = None
    """Dimensions of each factor, in all those of a latent, as in 8,4; null: equal shares."""

    @model_validator(mode="after")
    def _a_share_each(self) -> Self:
        if self.dims is not None and len(self.dims) != len(self.factors):
            names = ", ".join(each.name.rpartition("/")[2] for each in self.factors)
            found = f"{len(self.dims)} dims for {len(self.factors)} factors ({names})"
            raise ValueError(f"one of dims for each factor, found {found}; dims may be null")
        return self

    def inner_dims(self, dim: int) -> Mapping[str, int]:
        """See ``ComponentConfig.inner_dims``."""
        each = shares([factor.name for factor in self.factors], self.dims, dim)
        return {f"factors.{place}": share for place, share in enumerate(each)}

    def total_dim(self) -> int | None:
        """See ``ComponentConfig.total_dim``."""
        return None if self.dims is None else sum(self.dims)


class GradientCodebookConfig(CodebookConfig):
    """Options of the codebook learned by gradients."""

    codebook_weight: Weight = 1.0
    """Weight of the codebook term, which pulls codes towards their latents."""
    lr_scale: Scale = 32.0
    """Learning rate of codes stored as tangent vectors, relative to the optimizer's."""
    affine_lr: Weight = 0.0
    """Relative learning rate of a scale and shift that all codes share; 0 has none."""
    synchronized: Weight = 0.0
    """Weight of the decoder's gradient on the chosen codes, in addition to the codebook term."""
    drift: Share = 0.0
    """How much codes without a token follow the mean move of the others in a step; 1: all of it."""


class SimVQConfig(CodebookConfig):
    """Options of the frozen codebook behind a learned matrix."""

    codebook_weight: Weight = 1.0
    """Weight of the codebook term, which pulls codes towards their latents through the matrix."""
    lr_scale: Scale = 32.0
    """Learning rate of the matrix, relative to the optimizer's."""
    init: Literal["normal", "uniform", "wrapped-normal", "data", "kmeans"] = "normal"


class RandomProjectionConfig(ComponentConfig):
    """Options of the random-projection quantizer."""

    code_dim: Size | None = None
    """Dimensions of the projection that is searched, at most dim; null takes 16, or dim if less."""
    commitment_weight: Weight = 0.25
    """Weight (beta) of the commitment term, which pulls the encoder towards its code."""


class GumbelConfig(ComponentConfig):
    """Options of the Gumbel-softmax relaxation."""

    temperature: Scale = 1.0
    """Softness of the choice, relative to the mean squared quantization error."""
    noise: bool = True
    """Draw Gumbel noise; without it the choice depends on the latent alone."""


class EntropyConfig(RegularizerConfig):
    """Options of the entropy of code usage."""

    weight: Weight = 0.1
    temperature: Scale = 1.0
    """Softness of the assignment, relative to the mean squared quantization error."""
    max_tokens: Count = 1024
    """Tokens used in one evaluation, evenly spaced over the batch."""


class SmoothnessConfig(RegularizerConfig):
    """Options of decoder smoothness."""

    weight: Weight = 0.1


class OrthogonalConfig(RegularizerConfig):
    """Options of the orthogonality of codes."""

    max_codes: Annotated[int, Field(ge=2, le=10**9)] = 1024
    """Codes used in one evaluation, drawn again on each step."""
    active_only: bool = False
    """Use only codes that were chosen in the step."""


class IsometryConfig(RegularizerConfig):
    """Options of the isometry between inputs and latents."""

    weight: Weight = 0.1
    reference: Literal["euclidean", "squared"] = "euclidean"
    """Distance of inputs: euclidean, or squared, the Hamming distance of zeros and ones."""
    max_samples: Annotated[int, Field(ge=2, le=2**16)] = 128
    """Samples used in one evaluation, evenly spaced over the batch."""


#: Values in a window of a Fourier transform.
Window = Annotated[int, Field(ge=16, le=2**16)]


class SpectralConfig(LossConfig):
    """Options of the distance of spectra."""

    windows: Annotated[tuple[Window, ...], Field(min_length=1)] | None = None
    """Lengths of the windows; null: 2048, 1024, ... 64, as far as a sample is as long."""
    log_weight: Weight = 1.0
    """Weight of the difference of logarithms, relative to that of magnitudes."""
