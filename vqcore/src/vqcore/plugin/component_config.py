"""The options of a component as a pydantic model, without torch for ``vq show`` and dry runs."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from vqcore.errors import SettingError
from vqcore.plugin.bounds import Decay, Rate, Scale, Steps, StepsOrZero, Weight
from vqcore.plugin.declared import described_fields


class ComponentConfig(BaseModel):
    """Base of every component's options: unknown keys are refused, values cannot be changed.

    A string literal below each field describes it; see ``descriptions``. Every number has a lower
    and an upper bound, which also keep out infinities and NaN; ``vqcore.plugin.bounds`` has types.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    #: Whether a backbone's own structure sets the dimension of a latent, whatever ``dim`` says.
    #: None: nobody knows before it is built.
    sets_dim: ClassVar[bool | None] = None

    def inner_dims(self, dim: int) -> Mapping[str, int]:
        """The dimensions of inner components in ``dim``, by ``option`` or ``option.place``.

        A manifold or quantizer with inner ones overrides it; so does a manifold that does not have
        every dimension. ``--dry-run`` asks for it, where a config tells the dimension.

        Raises:
            SettingError: by the name of its own option, for a ``dim`` that does not fit.
        """
        return {}

    def total_dim(self) -> int | None:
        """The dimension of a whole latent, where the options say it, as sizes of factors do."""
        return None

    @classmethod
    def constructor_options(cls) -> list[str]:
        """The options that the class of the component receives: all but shorthands."""
        marks = {name: field.metadata for name, field in cls.model_fields.items()}
        return [name for name in marks if not any(isinstance(m, Shorthand) for m in marks[name])]


class ComponentRef(BaseModel):
    """A component chosen by name, with the options given for it: ``{name: ema, decay: 0.9}``."""

    model_config = ConfigDict(extra="allow", frozen=True)

    name: str

    @property
    def options(self) -> dict[str, Any]:
        """The options alone, as given."""
        return dict(self.model_extra or {})


def descriptions(model: type[BaseModel]) -> dict[str, str]:
    """The string literals below the fields of an options model, by field name.

    They are read from the source on demand: pydantic's own reading, at import, is slow.
    """
    found: dict[str, str] = {}
    for owner in reversed(model.__mro__):
        if owner not in (BaseModel, ComponentConfig) and issubclass(owner, BaseModel):
            found |= {name: text for name, _, text in described_fields(_body(owner))}
    return found


def _body(owner: type[BaseModel]) -> list[ast.stmt]:
    """The statements of a class; none if its source is unavailable."""
    try:
        lines, start = inspect.findsource(owner)  # ``getsource`` takes twice the time
        tree = ast.parse("".join(lines))
    except (OSError, TypeError, SyntaxError):
        return []
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            first = min([node.lineno, *(each.lineno for each in node.decorator_list)])
            if first == start + 1:
                return node.body
    return []


@dataclass(frozen=True)
class OfKind:
    """Marks a field with the kind of component it chooses.

    It is a ComponentRef; where it has ``many``, a mapping from names to such, or, ``in_order``, a
    tuple of them.
    """

    kind: str
    many: bool = False
    in_order: bool = False


@dataclass(frozen=True)
class SizesIn:
    """Marks a field that chooses several components in an order: ``name:8`` gives a size, too.

    ``option`` is the field that holds these sizes, one for each.
    """

    option: str


@dataclass(frozen=True)
class OnDisk:
    """Marks a path field: a run makes it absolute, so that its config is valid from anywhere.

    Write it as ``folder: Annotated[Path, OnDisk()]``. ``words`` are values that are no paths.
    """

    words: tuple[str, ...] = ()


@dataclass(frozen=True)
class ActsIf:
    """Marks an option that acts only with some values of another option of its component.

    The other one has one of ``values``, is larger than ``above``, or, with neither, is true. Of
    several marks, one is enough. An option that is set and cannot act is a warning. Write it as
    ``patience: Annotated[Steps, ActsIf("dead_codes", ("least-recently-used",))]``.
    """

    option: str
    values: tuple[Any, ...] = ()
    above: float | None = None

    def allows(self, value: Any) -> bool:
        """Whether the marked option acts with this value of the other."""
        if self.values:
            return value in self.values
        return bool(value) if self.above is None else (value or 0) > self.above

    def __str__(self) -> str:
        if self.above is not None:
            return f"{self.option} > {self.above:g}"
        return (
            f"{self.option} = {' or '.join(map(str, self.values))}" if self.values else self.option
        )


@dataclass(frozen=True)
class Shorthand:
    """Marks an option that stands for values of others, which a validator of the model fills in.

    The class of the component does not receive it. Write it as
    ``size: Annotated[Literal["small", "large"] | None, Shorthand()] = None``.
    """


def _by_name(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


def items(value: Any) -> Any:
    """The items of a list, which may be given as in ``poincare,sphere``."""
    return [item.strip() for item in value.split(",")] if isinstance(value, str) else value


def _in_order(value: Any) -> Any:
    several = items(value)
    return list(map(_by_name, several)) if isinstance(several, list | tuple) else several


#: Types of a field that chooses another component, as in ``inner: QuantizerRef``. The registry
#: validates the choice against that component's own options. The class that owns the field receives
#: a factory instead, to be called with what the builder injects (``dim``, ``manifold``, ...).
ManifoldRef = Annotated[ComponentRef, BeforeValidator(_by_name), OfKind("manifold")]
QuantizerRef = Annotated[ComponentRef, BeforeValidator(_by_name), OfKind("quantizer")]
EstimatorRef = Annotated[ComponentRef, BeforeValidator(_by_name), OfKind("estimator")]
OptimizerRef = Annotated[ComponentRef, BeforeValidator(_by_name), OfKind("optimizer")]
DatasetRef = Annotated[ComponentRef, BeforeValidator(_by_name), OfKind("dataset")]
BackboneRef = Annotated[ComponentRef, BeforeValidator(_by_name), OfKind("backbone")]
#: Of a field that chooses several, by names of the user's. The class receives as many factories.
DatasetRefs = Annotated[dict[str, ComponentRef], OfKind("dataset", many=True)]
#: Of a field that chooses several in an order, as in ``poincare,sphere``.
ManifoldRefs = Annotated[
    tuple[ComponentRef, ...],
    BeforeValidator(_in_order),
    OfKind("manifold", many=True, in_order=True),
]


class CurvedConfig(ComponentConfig):
    """Options of every curved manifold."""

    curvature: Scale = 1.0
    """Absolute value of the curvature: positive on a sphere, negative in hyperbolic space."""
    learn_curvature: bool = False
    """Train the curvature too."""
    curvature_lr: Annotated[Rate, ActsIf("learn_curvature")] = 0.1
    """Learning rate of the curvature's logarithm, relative to the optimizer's."""
    curvature_span: Annotated[float, Field(gt=1, le=1e6), ActsIf("learn_curvature")] = 10.0
    """A learned curvature stays within this factor of its initial value."""
    gain: Scale = 1.0
    """Latents are scaled by gain/sqrt(D) before they are read as tangent vectors."""


class RegularizerConfig(ComponentConfig):
    """Options of every regularizer."""

    weight: Weight = 1.0
    """Factor of this term in the loss; at 0 the term is not evaluated."""
    every: Annotated[Steps, ActsIf("weight")] = 1
    """Evaluate the term on every n-th training step."""
    start: Annotated[StepsOrZero, ActsIf("weight")] = 0
    """First training step on which the term is evaluated."""


class LossConfig(ComponentConfig):
    """Options of every loss."""

    weight: Weight = 1.0
    """Factor of this term in the loss; at 0 the term is not evaluated."""
    start: Annotated[StepsOrZero, ActsIf("weight")] = 0
    """First training step on which the term is evaluated."""


#: Initial codes that are drawn.
_RANDOM = ("normal", "uniform", "wrapped-normal")
_BY_AGE = ("least-recently-used",)


class CodebookConfig(ComponentConfig):
    """Options of every quantizer with an explicit table of codes."""

    commitment_weight: Weight = 0.25
    """Weight (beta) of the commitment term, which pulls the encoder towards its code."""
    similarity: Literal["distance", "inverse"] = "distance"
    """What losses compare: the squared distance d^2/D, or 1 - 1/(1 + d^2/D), which is bounded."""
    init: Literal["normal", "uniform", "wrapped-normal", "data", "kmeans"] = "data"
    """Initial codes, from the first training batch: random, some latents, or k-means."""
    init_scale: Annotated[Scale | None, ActsIf("init", _RANDOM)] = None
    """Standard deviation per coordinate of random initial codes; null takes the latents'."""
    dead_codes: Literal["usage", "least-recently-used"] = "usage"
    """Which codes are replaced by latents: those used too little, or unused for too long."""
    dead_code_threshold: Annotated[Decay, ActsIf("dead_codes", ("usage",))] = 0.2
    """For usage: codes below this share of an equal usage are replaced; 0 never replaces."""
    dead_code_patience: Annotated[Steps, ActsIf("dead_codes", _BY_AGE)] = 100
    """For least-recently-used: steps without a token after which a code is replaced."""
    dead_code_noise: Annotated[
        Weight, ActsIf("dead_code_threshold"), ActsIf("dead_codes", _BY_AGE)
    ] = 0.01
    """Noise on the latent that replaces a code, relative to its length."""
    usage_decay: Annotated[Decay, ActsIf("dead_code_threshold")] = 0.95
    """Decay per step of the running usage."""


def require_total_dim(total: int | None, dim: int, setting: str = "dim") -> None:
    """Refuse a latent's ``dim`` that is not the ``total_dim`` of its manifold, if that says one."""
    if total is not None and total != dim:
        expected = f"{total}, as the options of manifold say"
        raise SettingError(setting, dim, expected, f"set {setting} = {total}, or change them")
