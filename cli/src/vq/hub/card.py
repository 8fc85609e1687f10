"""The model card: what the model is made of, how good it is, how it is used."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from vq.cli.tables import UNITS
from vq.runs.trained_run import TrainedRun
from vqcore.plugin.registry import Component

_CARD = """\
---
library_name: vq
tags:
{tags}
---

# {title}

{what}, trained with [vq](#use) for {steps} steps on `{dataset}`.

| part | choice |
|---|---|
{parts}

## Figures

On the held-out split of `{dataset}`, {samples} samples of {shape} with values in {value_range}.

| figure | value | |
|---|---|---|
{figures}

## Use

Install {packages}, then:

```python
from vq import from_pretrained

model = from_pretrained({repo!r})  # in eval mode
indices = model.encode(samples)  # float32 {samples_shape} in {value_range} to {indices_shape}
decoded = model.decode(indices)
```
"""
_NO_CODES = "latents = model.backbone.encode(samples)  # float32 {samples_shape} in {value_range}"
_SHOWN = ("psnr", "mse", "perplexity", "codes_used", "dead_codes", "quantization_error")
_PARTS = ("backbone", "manifold", "quantizer", "estimator")


def model_card(run: TrainedRun, figures: Mapping[str, Any], repo: str) -> str:
    """README.md of a run's model, for people and for the hub's search.

    Args:
        run: the trained run.
        figures: of its summary.json.
        repo: the name to load it by.
    """
    components, model, samples = run.config.components, run.model, run.samples
    low, high = samples.value_range
    has_codes = model.has_codes
    chosen = [components[kind] for kind in (_PARTS if has_codes else _PARTS[:2])]
    codes = (
        f"{model.codebook_size} codes"
        if has_codes
        else f"no codes (bottleneck {run.config.settings.bottleneck})"
    )
    tokens = _sides(model.index_shape) if has_codes else _sides(sum(model.latent_shapes, ()))
    text = _CARD if has_codes else _without_codes(_CARD)
    values = {
        "tags": "\n".join(f"- {tag}" for tag in _tags(run)),
        "title": repo.rpartition("/")[2],
        "what": f"An autoencoder with {codes} and {tokens} {'indices' if has_codes else 'latents'} a sample",
        "steps": figures.get("steps", "?"),
        "dataset": components["dataset"].spec.name,
        "parts": "\n".join(
            f"| {part.kind} | {part.spec.name}: {part.spec.summary} |" for part in chosen
        ),
        "samples": figures.get("samples", "?"),
        "shape": _sides(samples.shape),
        "value_range": f"[{low:g}, {high:g}]",
        "figures": "\n".join(_rows(figures)),
        "packages": ", ".join(f"`{package}`" for package in sorted({"vq-cli", *_packages(chosen)})),
        "repo": repo,
        "samples_shape": _batch(samples.shape),
        "indices_shape": f"int64 {_batch(model.index_shape)}",
    }
    return text.format(**values)


def _without_codes(card: str) -> str:
    head, encode, _ = card.partition("indices = model.encode")
    return f"{head}{_NO_CODES}\n```\n" if encode else card


def _tags(run: TrainedRun) -> list[str]:
    names = (run.config.components[kind].spec.name for kind in ("manifold", "quantizer"))
    return ["vqvae", "vector-quantization", *names] if run.model.has_codes else ["autoencoder"]


def _rows(figures: Mapping[str, Any]) -> Iterator[str]:
    for name in _SHOWN:
        if name in figures:
            yield f"| {name} | {figures[name]:.5g} | {UNITS.get(name, '')} |"


def _packages(components: list[Component]) -> Iterator[str]:
    for component in components:
        yield component.package
        yield from _packages(list(component.children.values()))


def _sides(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) or "1"


def _batch(shape: tuple[int, ...]) -> str:
    return f"({', '.join(map(str, ('B', *shape)))})"
