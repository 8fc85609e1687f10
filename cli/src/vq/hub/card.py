"""The model card: components, metrics and use of a model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from vq.evaluation.held_out import QUALITY
from vq.evaluation.metrics_table import UNITS
from vq.objects import NAME as OBJECT
from vq.runs.trained_run import TrainedRun
from vqcore.plugin.loader import owner_of
from vqcore.plugin.resolved_component import Component

_CARD = """\
---
library_name: vq
tags:
{tags}
---

# {title}

{what}, trained with [vq](#use) for {steps} steps on `{dataset}`{averaged}.

| kind | component |
|---|---|
{parts}

## Metrics

On the held-out split of `{dataset}`, {samples} samples of {shape} with values in {value_range}.

| metric | value | |
|---|---|---|
{metrics}

## Use

Install {packages}, then:

```python
from vq import from_pretrained

model = from_pretrained({load})  # in eval mode
indices = model.encode(samples)  # float32 {samples_shape} in {value_range} to {indices_shape}
{made} = model.decode(indices)
```
"""
_NO_CODES = "latents = model.latents(samples)  # float32 {samples_shape} in {value_range}"
_SHOWN = (*QUALITY, "perplexity", "codes_used", "dead_codes", "quantization_error")
_PARTS = ("backbone", "manifold", "quantizer", "estimator")


def model_card(run: TrainedRun, metrics: Mapping[str, Any], repo: str) -> str:
    """README.md of a run's model, with the metadata that the hub searches.

    ``metrics`` are those of summary.json, and ``repo`` is the name to load the model by.
    """
    components, model, samples = run.config.components, run.model, run.samples
    low, high = samples.value_range
    decay = run.config.settings.weight_ema
    chosen = _chosen(run)
    given_in_python = components["backbone"].spec.name == OBJECT
    values = {
        "tags": "\n".join(f"- {tag}" for tag in _tags(run)),
        "title": repo.rpartition("/")[2],
        "what": _what(run),
        "steps": metrics.get("steps", "?"),
        "dataset": components["dataset"].spec.name,
        "averaged": f", its weights averaged with decay {decay:g}" if decay else "",
        "parts": "\n".join(
            f"| {part.kind} | {part.spec.name}: {part.spec.summary} |" for part in chosen
        ),
        "samples": metrics.get("samples", "?"),
        "shape": _sides(samples.shape),
        "value_range": f"[{low:g}, {high:g}]",
        "metrics": "\n".join(_rows(metrics)),
        "packages": ", ".join(f"`{each}`" for each in sorted({"vq-cli", *_packages(run)})),
        "load": f"{repo!r}, backbone=..." if given_in_python else repr(repo),
        "samples_shape": _batch(samples.shape),
        "made": "probabilities" if model.classifies else "decoded",
        "indices_shape": f"int64 {_batch(model.index_shape)}",
    }
    return (_CARD if model.has_codes else _without_codes(_CARD)).format(**values)


def model_components(run: TrainedRun) -> Iterator[Component]:
    """The components of a run's model, inner ones included, without an object given in Python."""
    waiting = _chosen(run)
    while waiting:
        component = waiting.pop(0)
        if component.spec.name != OBJECT:
            yield component
        waiting += component.children.values()


def _chosen(run: TrainedRun) -> list[Component]:
    kinds = _PARTS if run.model.has_codes else _PARTS[:2]
    return [run.config.components[kind] for kind in kinds]


def _what(run: TrainedRun) -> str:
    model = run.model
    if model.has_codes:
        codes = f"{model.codebook_size} codes and {_sides(model.index_shape)} indices"
    else:
        bottleneck = run.config.settings.bottleneck
        latents = _sides(sum(model.latent_shapes, ()))
        codes = f"no codes (bottleneck {bottleneck}) and {latents} latents"
    if model.classifies:
        return f"A classifier of {len(run.samples.classes or ())} classes with {codes} a sample"
    return f"An autoencoder with {codes} a sample"


def _without_codes(card: str) -> str:
    head, encode, _ = card.partition("indices = model.encode")
    return f"{head}{_NO_CODES}\n```\n" if encode else card


def _tags(run: TrainedRun) -> list[str]:
    names = (run.config.components[kind].spec.name for kind in ("manifold", "quantizer"))
    return ["vqvae", "vector-quantization", *names] if run.model.has_codes else ["autoencoder"]


def _rows(metrics: Mapping[str, Any]) -> Iterator[str]:
    for name in _SHOWN:
        if isinstance(metrics.get(name), int | float):
            yield f"| {name} | {metrics[name]:.5g} | {UNITS.get(name, '')} |"


def _packages(run: TrainedRun) -> Iterator[str]:
    return (owner_of(component.package) for component in model_components(run))


def _sides(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) or "1"


def _batch(shape: tuple[int, ...]) -> str:
    return f"({', '.join(map(str, ('B', *shape)))})"
