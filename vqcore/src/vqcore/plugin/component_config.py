"""The options of a component as a pydantic model. No torch here: ``vq show`` and ``--dry-run`` read these alone."""

from __future__ import annotations

import ast
import inspect
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
)


class ComponentConfig(BaseModel):
    """Base of every component's options: unknown keys are refused, values never change.

    Each field is described by the string literal below it; see ``descriptions``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)


class ComponentRef(BaseModel):
    """A component chosen by name, with the options given for it: ``{name: ema, decay: 0.9}``."""

    model_config = ConfigDict(extra="allow", frozen=True)

    name: str

    @property
    def options(self) -> dict[str, Any]:
        """The options alone, as given."""
        return dict(self.model_extra or {})


def descriptions(model: type[BaseModel]) -> dict[str, str]:
    """What the string literals below the fields of an options model say, by field name.

    Read from the source only when somebody asks: pydantic's own reading, at import, is a fifth of the start of vq.
    """
    found: dict[str, str] = {}
    for owner in reversed(model.__mro__):
        if owner not in (BaseModel, ComponentConfig) and issubclass(owner, BaseModel):
            for pair in pairwise(_body(owner)):
                match pair:
                    case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(
                        value=ast.Constant(value=str(text))
                    ):
                        found[name] = inspect.cleandoc(text)
    return found


def _body(owner: type[BaseModel]) -> list[ast.stmt]:
    """The statements of a class; none where its source is not at hand. ``inspect.getsource`` takes twice the time."""
    try:
        lines, start = inspect.findsource(owner)
        tree = ast.parse("".join(lines))
    except (OSError, TypeError, SyntaxError):
        return []
    classes = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    first = [
        (min([node.lineno, *(each.lineno for each in node.decorator_list)]), node)
        for node in classes
    ]
    return next((node.body for line, node in first if line == start + 1), [])


@dataclass(frozen=True)
class OfKind:
    """Marks a field of type ComponentRef with the kind of component it chooses."""

    kind: str


@dataclass(frozen=True)
class OnDisk:
    """Marks a field with a path: a run makes a relative one absolute, so that its config means the same everywhere."""


def _by_name(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


#: The type of a field that chooses another component, as in ``inner: QuantizerRef``. The registry validates the choice
#: against that component's own options. The class that owns the field receives a factory in its place, to be called
#: with what the builder injects (``dim``, ``codebook_size``, ``manifold``).
ManifoldRef = Annotated[ComponentRef, BeforeValidator(_by_name), OfKind("manifold")]
QuantizerRef = Annotated[ComponentRef, BeforeValidator(_by_name), OfKind("quantizer")]
EstimatorRef = Annotated[ComponentRef, BeforeValidator(_by_name), OfKind("estimator")]
OptimizerRef = Annotated[ComponentRef, BeforeValidator(_by_name), OfKind("optimizer")]
DatasetRef = Annotated[ComponentRef, BeforeValidator(_by_name), OfKind("dataset")]
BackboneRef = Annotated[ComponentRef, BeforeValidator(_by_name), OfKind("backbone")]


class CurvedConfig(ComponentConfig):
    """What every manifold that is curved can be told."""

    curvature: PositiveFloat = 1.0
    """Curvature, without its sign: a sphere's is positive, that of hyperbolic space negative."""
    learn_curvature: bool = False
    """Train the curvature too."""
    curvature_lr: PositiveFloat = 0.1
    """Learning rate of the curvature's logarithm, relative to the optimizer's."""
    curvature_span: Annotated[float, Field(gt=1)] = 10.0
    """A learned curvature stays within this factor of the one given."""
    gain: PositiveFloat = 1.0
    """Latents are scaled by gain/sqrt(D) before they are read as tangent vectors."""


class RegularizerConfig(ComponentConfig):
    """What every regularizer can be told."""

    weight: NonNegativeFloat = 1.0
    """Factor of this term in the loss; at 0 the term is not evaluated."""
    every: PositiveInt = 1
    """Evaluate the term on every n-th training step only."""
    start: NonNegativeInt = 0
    """First training step on which the term acts."""


class CodebookConfig(ComponentConfig):
    """What every quantizer with an explicit table of codes can be told."""

    commitment_weight: NonNegativeFloat = 0.25
    """Weight (beta) of the commitment term, which pulls the encoder towards its code."""
    init: Literal["normal", "uniform", "wrapped-normal", "data", "kmeans"] = "data"
    """Where codes start, with the first training batch: around the origin, around the latents, or on them."""
    init_scale: PositiveFloat | None = None
    """Standard deviation of a coordinate for normal, uniform and wrapped-normal; left out, that of the latents."""
    dead_codes: Literal["usage", "least-recently-used"] = "usage"
    """Which codes are replaced by latents of the batch: those used too little, or not used for too long."""
    dead_code_threshold: Annotated[float, Field(ge=0, lt=1)] = 0.2
    """For usage: a code used less than this share of an equal usage is replaced; 0 never replaces."""
    dead_code_patience: PositiveInt = 100
    """For least-recently-used: steps without a token after which a code is replaced."""
    dead_code_noise: NonNegativeFloat = 0.01
    """Length of the noise on a code that takes a latent's place, relative to the latent."""
    usage_decay: Annotated[float, Field(ge=0, lt=1)] = 0.95
    """Decay per step of the running usage that the threshold is held against."""
