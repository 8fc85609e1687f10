"""The config of a run: its settings, the components it chooses, and where each value came from. Torch-free."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, NonNegativeFloat, NonNegativeInt, PositiveInt

from vqcore.errors import SettingError, UsageError, did_you_mean
from vqcore.plugin.component import KINDS
from vqcore.plugin.component_config import (
    BackboneRef,
    ComponentConfig,
    ComponentRef,
    DatasetRef,
    EstimatorRef,
    ManifoldRef,
    OnDisk,
    OptimizerRef,
    QuantizerRef,
)
from vqcore.plugin.hook_caller import HookCaller
from vqcore.plugin.registry import Component, Registry, inner_kinds, named, validate


def _yaml_no(value: Any) -> Any:
    return "no" if value is False else value  # as YAML reads a bare no


class RunConfig(ComponentConfig):
    """Everything that decides what a run computes. ``vq train --config`` of a run's config.yaml repeats it."""

    dataset: DatasetRef = ComponentRef(name="vq-cli/digits")
    """The data set."""
    backbone: BackboneRef = ComponentRef(name="vq-cli/conv")
    """The encoder and decoder."""
    bottleneck: Literal["vq", "none", "gaussian"] = "vq"
    """What is between them: codes, or for comparison nothing (an autoencoder) or a normal distribution (a VAE)."""
    kl_weight: NonNegativeFloat | None = None
    """Weight (beta) of the Gaussian's divergence; left out, 1 with Bernoulli likelihood and 0.1 with squared error."""
    manifold: ManifoldRef = ComponentRef(name="vqcore/euclidean")
    """The space of latents and codes."""
    quantizer: QuantizerRef = ComponentRef(name="vqcore/codebook")
    """How latents become codes."""
    estimator: EstimatorRef = ComponentRef(name="vqcore/straight-through")
    """How the gradient passes the quantizer."""
    regularizers: dict[str, dict[str, Any]] = {}
    """Further loss terms: each one's options by its name."""
    optimizer: OptimizerRef = ComponentRef(name="vq-cli/adamw")
    """The optimizer; ``--lr`` sets optimizer.lr."""
    dim: PositiveInt = 8
    """Dimension of a latent; the backbone patches sets its own."""
    code_dim: PositiveInt | None = None
    """Dimension of the codes, linear maps leading in and out; dim where it is left out."""
    codebook_size: PositiveInt = 64
    """Codes in each codebook."""
    epochs: PositiveInt = 80
    """Passes over the training split."""
    max_steps: PositiveInt | None = None
    """End after this many steps, whatever epochs says."""
    batch_size: PositiveInt = 64
    """Samples in a step, over all processes."""
    accumulate: PositiveInt = 1
    """Parts that each process cuts its samples of a step into, to save memory; their gradients are added up."""
    schedule: Literal["constant", "cosine"] = "cosine"
    """Learning rate over the run: constant, or falling to 0 along a cosine."""
    warmup_steps: NonNegativeInt = 50
    """Steps over which the learning rate rises from 0."""
    grad_clip: NonNegativeFloat = 1.0
    """Largest norm of the gradient; 0 never clips."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """Seed of every random draw."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1."""
    precision: Annotated[Literal["no", "bf16", "fp16"], BeforeValidator(_yaml_no)] = "no"
    """Mixed precision of encoder and decoder; the search stays in float32."""
    compile: bool = False
    """Compile encoder and decoder with torch.compile."""
    log_every: PositiveInt = 50
    """Steps between lines of metrics.jsonl."""
    eval_every: PositiveInt = 200
    """Steps between evaluations on the held-out split."""
    sample_every: PositiveInt = 200
    """Steps between pictures of reconstructions."""
    checkpoint_every: PositiveInt = 200
    """Steps between checkpoints; the last step is always one."""
    keep_checkpoints: PositiveInt = 2
    """Checkpoints kept, newest first."""
    trackers: list[str] = []
    """Where figures go beside metrics.jsonl: tensorboard, wandb, or another tracker that Accelerate knows."""
    plugin_files: list[str] = []
    """Plugin files loaded beside the installed plugins."""


@dataclass(frozen=True)
class ResolvedConfig:
    """A run's config with every component resolved: all a run needs, nothing imported yet.

    Attributes:
        settings: the plain settings; its component fields hold what was asked for.
        components: by kind, one each.
        regularizers: by name.
    """

    settings: RunConfig
    components: Mapping[str, Component]
    regularizers: Mapping[str, Component]

    def dump(self) -> dict[str, Any]:
        """The resolved config as plain values, every option of every component included."""
        values = self.settings.model_dump(mode="json")
        values |= {kind: chosen.dump() for kind, chosen in self.components.items()}
        values["regularizers"] = {
            name: {key: value for key, value in chosen.dump().items() if key != "name"}
            for name, chosen in self.regularizers.items()
        }
        return values

    def located(self) -> ResolvedConfig:
        """The same config, its paths on disk made absolute: a run's config means the same from every directory."""
        return replace(
            self, components={kind: _located(chosen) for kind, chosen in self.components.items()}
        )

    def title(self) -> str:
        """The names of the choices that tell runs apart, as in ``digits-poincare-codebook-homology``."""
        names = [
            self.components[kind].spec.name
            for kind in ("dataset", "manifold", "quantizer", "estimator")
        ]
        if self.settings.bottleneck != "vq":
            return "-".join([*names[:2], self.settings.bottleneck])
        plain = names[3] == "straight-through"
        return "-".join(
            names[: 3 if plain else 4] + [chosen.spec.name for chosen in self.regularizers.values()]
        )


def resolve_config(values: Mapping[str, Any], registry: Registry) -> ResolvedConfig:
    """Validate plain values and resolve the components they name, then ask every plugin what is wrong with the whole.

    Raises:
        UsageError: for an unknown key, a value out of range, or a combination that a plugin refuses.
        ComponentError: for a name nobody provides, or two do.
    """
    values = dict(values)
    if "regularizers" in values:
        values["regularizers"] = _by_name(values["regularizers"])
    kinds = inner_kinds(RunConfig)
    values |= {key: named(values.get(key), RunConfig.model_fields[key].default) for key in kinds}
    settings = validate(RunConfig, values, "")
    components = {
        kind: registry.resolve(kind, getattr(settings, key), key) for key, kind in kinds.items()
    }
    regularizers = {}
    for name, options in settings.regularizers.items():
        chosen = registry.resolve("regularizer", {**options, "name": name}, f"regularizers.{name}")
        regularizers[chosen.name] = chosen
    if regularizers and settings.bottleneck != "vq":
        expected = f"none with bottleneck = {settings.bottleneck!r}, for they act on codes"
        raise SettingError("regularizers", ", ".join(regularizers), expected, "leave them out")
    config = ResolvedConfig(settings, components, regularizers)
    problems = HookCaller(registry, _warn).call("vq_check_config", _sentences, config=config)
    if any(problems):
        raise UsageError("\n".join(text for found in problems for text in found))
    return config


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """``over`` laid over ``base``, key by key; another choice of a component drops the options of the one before.

    Options without a name are those of the default component.
    """
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        chooses = key in KINDS or key == "inner"
        if chooses or key == "regularizers":
            old, value = (_named(each) if chooses else _by_name(each) for each in (old, value))
        both = isinstance(old, Mapping) and isinstance(value, Mapping)
        if both and chooses:
            before = old.get("name", _default_name(key))
            both = value.get("name", before) == before
        merged[key] = merge(old, value) if both else value
    return merged


def assign(settings: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Nested values from key paths, as in ``[("quantizer.inner.name", "ema")]``; later ones win.

    Components are chosen before their options are set, whatever order they come in.

    Raises:
        UsageError: for a key path that names nothing, with the nearest that does.
    """
    nested: dict[str, Any] = {}
    for path, value in sorted(settings, key=_choices_first):
        keys = path.split(".")
        if keys[0] == "regularizer":
            keys[0] = "regularizers"
        if keys[0] not in RunConfig.model_fields:
            guess = did_you_mean(keys[0], RunConfig.model_fields)
            raise UsageError(
                f"{path}: unknown setting; {guess or 'see vq train --print-config for all of them'}"
            )
        for key in reversed(keys):
            value = {key: value}
        nested = merge(nested, value)
    return nested


def read_config(path: Path) -> dict[str, Any]:
    """Plain values of a config file: YAML, TOML or JSON by its suffix.

    Raises:
        UsageError: if it cannot be read or parsed, or holds no mapping.
    """
    try:
        text = path.read_text(encoding="utf-8")
        values = _parse(path.suffix.lower(), text)
    except OSError as error:
        raise UsageError(f"--config {path}: cannot be read: {error.strerror}") from error
    except Exception as error:  # each parser has exceptions of its own
        raise UsageError(
            f"--config {path}: not valid {path.suffix[1:] or 'YAML'}: {error}"
        ) from error
    if values is not None and not isinstance(values, dict):
        raise UsageError(
            f"--config {path}: expected a mapping of settings, found {type(values).__name__}"
        )
    return values or {}


def parse_value(text: str) -> Any:
    """The value of ``--set key=text``, read as YAML: numbers, true, null, lists, else a string.

    Raises:
        UsageError: if it is not valid YAML.
    """
    import yaml

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UsageError(f"value {text!r}: cannot be read; quote it") from error


def _parse(suffix: str, text: str) -> Any:
    if suffix == ".json":
        import json

        return json.loads(text)
    if suffix == ".toml":
        import tomllib

        return tomllib.loads(text)
    import yaml

    return yaml.safe_load(text)


def _located(chosen: Component) -> Component:
    if chosen.options is None:
        return chosen
    fields = type(chosen.options).model_fields.items()
    paths = [
        name for name, info in fields if any(isinstance(mark, OnDisk) for mark in info.metadata)
    ]
    values = {
        name: str(Path(getattr(chosen.options, name)).expanduser().absolute()) for name in paths
    }
    return replace(chosen, options=chosen.options.model_copy(update=values))


def _named(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


def _default_name(key: str) -> str | None:
    field = RunConfig.model_fields.get(key)
    return field.default.name.rpartition("/")[2] if field else None


def _choices_first(setting: tuple[str, Any]) -> tuple[bool, int]:
    """Sorts settings: those that choose a component, outer ones first, then the others as they come."""
    path, value = setting
    component, _, last = path.rpartition(".")
    if last == "name":
        return False, component.count(".")
    value = _named(value)
    chooses = (last in KINDS or last == "inner") and isinstance(value, Mapping) and "name" in value
    return (False, path.count(".")) if chooses else (True, 0)


def _by_name(regularizers: Any) -> Any:
    """Regularizers in a list as the mapping it stands for; whatever else it is, the model judges it."""
    if isinstance(regularizers, list):
        return dict(_name_and_options(item) for item in regularizers)
    if isinstance(regularizers, Mapping):
        return {name: {} if options is None else options for name, options in regularizers.items()}
    return regularizers


def _name_and_options(item: Any) -> tuple[str, dict[str, Any]]:
    options = dict(item) if isinstance(item, Mapping) else {"name": item}
    name = options.pop("name", None)
    if not isinstance(name, str):
        raise UsageError(
            f"regularizers = {item!r}: expected the name of one, or a mapping of name and options"
        )
    return name, options


def _sentences(answer: Any) -> list[str]:
    return [answer] if isinstance(answer, str) else [str(text) for text in answer]


def _warn(text: str) -> None:
    print(f"warning: {text}", file=sys.stderr)
