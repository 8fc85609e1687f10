"""A model that starts from the weights of another, as far as they fit."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from torch import Tensor

from vq.checkpoints.checkpoint import REGULARIZERS
from vq.config.merging import bare
from vq.config.resolved_config import ResolvedConfig
from vq.models.autoencoder import VQModel, build_model
from vq.training.init_source import InitSource
from vqcore.codebook.table import BESIDE_CODES
from vqcore.errors import RunError, SettingError, UsageError, describe_error, shown
from vqcore.interfaces.dataset import SampleSpec
from vqcore.layer import VectorQuantizer
from vqcore.plugin.registry import Registry

#: Names of what belongs to the codes.
_CODES = re.compile(r"bottleneck\.(levels\.\d+\.)?(quantizer|manifold)\.")
#: Names in a log line, at most, of each kind.
LISTED = 12


@dataclass
class Taken:
    """Which weights a run started from.

    Attributes:
        source: what ``init_from`` named.
        checkpoint: the name of the checkpoint.
        averaged: whether they are an average of the weights in training.
        sha256: of the file of weights.
        codebook: what became of the codes; empty where there are none to speak of.
        taken: names of weights that were found.
        new: names of those that the source lacks; they start as those of a new run.
        other_shape: those whose shape is another one there, with both shapes; new, too.
        unused: names of weights of the source that the model lacks.
    """

    source: str
    checkpoint: str
    averaged: bool
    sha256: str
    codebook: str = ""
    taken: list[str] = field(default_factory=list)
    new: list[str] = field(default_factory=list)
    other_shape: dict[str, str] = field(default_factory=dict)
    unused: list[str] = field(default_factory=list)

    def dump(self) -> dict[str, Any]:
        """Plain values, for init.json."""
        return asdict(self)

    def describe(self) -> str:
        """All of it as one message, long lists cut short."""
        kind = "averaged weights" if self.averaged else "weights"
        count = len(self.taken) + len(self.new) + len(self.other_shape)
        shapes = [f"{name} {shapes}" for name, shapes in self.other_shape.items()]
        parts = [
            f"init_from {self.source} ({self.checkpoint}, {kind}): "
            f"{len(self.taken)} of {count} tensors of the network taken",
            self.codebook and f"codebook: {self.codebook}",
            _listed("new, since the source lacks them", self.new),
            _listed("new, since their shape differs", shapes),
            _listed("unused, since this model lacks them", self.unused),
        ]
        return "; ".join(filter(None, parts))


def build_from(
    source: InitSource, config: ResolvedConfig, registry: Registry, samples: SampleSpec
) -> tuple[VQModel, Taken]:
    """The run's model, with the weights of the source that have the same names and shapes.

    Codes are taken if manifold and quantizer are of the same kind; another number of them is grown
    or shrunk, see ``VectorQuantizer.resize_codebook``. Counts of steps and regularizers start
    afresh.

    Raises:
        SettingError: if the dimension of latents or codes is another one, or nothing fits.
        RunError: if a component refuses the weights.
    """
    taken = Taken(source.name, source.checkpoint, source.averaged, source.sha256)
    model = build_model(config, registry, samples)
    _check_dimensions(source, config, model)
    try:
        why = _other_codes(source, config) or _take_codes(source, model, taken)
        if why:
            model = build_model(config, registry, samples)  # a part of it may have been taken
            taken.codebook = f"starts afresh, since {why}" if _layers(model) else ""
        _take_network(source, model, taken)
    except RuntimeError as error:  # a component may check what it is given
        raise RunError(f"init_from = {source.name!r}: {describe_error(error)}") from error
    matched = any(source.weights[name].ndim > 1 for name in taken.taken)  # not biases alone
    if why and not matched:
        expected = f"weights of this model, found none of {len(source.weights)} that fits"
        here, there = map(bare, _kinds(source, config, "backbone"))
        fix = f"the backbone is {here}, there {there}" if here != there else taken.describe()
        raise SettingError("init_from", source.name, expected, fix)
    return model, taken


def _check_dimensions(source: InitSource, config: ResolvedConfig, model: VQModel) -> None:
    names = ["code_dim"] if model.backbone.dim is not None else ["dim", "code_dim"]
    for name in names:
        here, there = getattr(config.settings, name), source.setting(name)
        if here != there:
            expected = f"{shown(there)}, as in {source.name}"
            fix = "another one needs other weights; --config RUN/config.yaml takes all settings"
            raise SettingError(name, here, expected, fix)


def _other_codes(source: InitSource, config: ResolvedConfig) -> str:
    """How the codes there are of another kind, if they are."""
    here, there = config.settings.bottleneck, source.setting("bottleneck")
    if here != there:
        return f"bottleneck is {here} here, {there} there"
    for kind in ("manifold", "quantizer"):
        names = _kinds(source, config, kind)
        if bare(names[0]) != bare(names[1]):
            return f"{kind} is {bare(names[0])} here, {bare(names[1])} there"
    return ""


def _kinds(source: InitSource, config: ResolvedConfig, kind: str) -> list[str]:
    """The names of a component here and there, those that it wraps included."""
    return [_named(config.components[kind].dump()), _named(source.component(kind))]


def _named(chosen: Any) -> str:
    if not isinstance(chosen, Mapping):
        return bare(chosen)
    name, inner = bare(chosen.get("name")), chosen.get("factors") or chosen.get("inner")
    if not inner:
        return name
    parts = inner if isinstance(inner, list) else [inner]
    return f"{name} of {' x '.join(map(_named, parts))}"


def _take_codes(source: InitSource, model: VQModel, taken: Taken) -> str:
    """Load the codes of each layer; if they do not fit, says why."""
    former = source.setting("codebook_size")
    for prefix, layer in _layers(model).items():
        there = _under(f"{prefix}.quantizer.", source.weights)
        size = layer.codebook_size
        if former != size and any(each.ndim and len(each) == former for each in there.values()):
            try:
                layer.resize_codebook(former)
            except UsageError as error:
                return str(error)
        own = _under("", layer.quantizer.state_dict())
        missing = {name for name in own if name.rpartition(".")[2] not in BESIDE_CODES}
        if missing - there.keys() or any(
            name not in own or each.shape != own[name].shape for name, each in there.items()
        ):
            return "its tensors have other names or shapes there"
        if own:
            layer.quantizer.load_state_dict(there, strict=False)
            taken.codebook = _resized(layer.codebook_size, size)
        if layer.codebook_size != size:
            layer.resize_codebook(size)
    return ""


def _take_network(source: InitSource, model: VQModel, taken: Taken) -> None:
    """Load what is outside of the codebooks by name."""
    own, there = (
        {name: each for name, each in _under("", state).items() if not _CODES.match(name)}
        for state in (model.state_dict(), source.weights)
    )
    same = {name for name in own.keys() & there.keys() if own[name].shape == there[name].shape}
    model.load_state_dict({name: there[name] for name in same}, strict=False)
    taken.taken = [name for name in own if name in same]
    taken.new = [name for name in own if name not in there]
    taken.other_shape = {
        name: f"{tuple(own[name].shape)}, there {tuple(there[name].shape)}"
        for name in own
        if name in there and name not in same
    }
    taken.unused = [name for name in there if name not in own]


def _layers(model: VQModel) -> dict[str, VectorQuantizer]:
    """The layers of codes by their names."""
    found = model.named_modules()
    return {name: each for name, each in found if isinstance(each, VectorQuantizer)}


def _under(prefix: str, state: Mapping[str, Any]) -> dict[str, Tensor]:
    """The tensors below a prefix, without counts of steps, replacements and regularizers."""
    return {
        name.removeprefix(prefix): each
        for name, each in state.items()
        if name.startswith(prefix) and REGULARIZERS not in name
        and name.rpartition(".")[2] not in ("_extra_state", "replaced")
    }  # fmt: skip


def _resized(former: int, size: int) -> str:
    if size > former:
        return f"{former} codes taken, {size - former} more start from the first batch"
    return f"{size} codes taken" if size == former else f"the {size} most used of {former} taken"


def _listed(what: str, names: Sequence[str]) -> str:
    more = f" and {len(names) - LISTED} more, in init.json" if len(names) > LISTED else ""
    return f"{what}: {', '.join(names[:LISTED])}{more}" if names else ""
