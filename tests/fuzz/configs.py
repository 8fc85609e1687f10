"""Damaged configs, settings and sweeps: refused in words, or what is written reads back same."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from typing import Any

import yaml

from fuzz.mutations import ODD_VALUES, answer, mutated_bytes, mutated_value
from vq.composition import base_values, compose
from vq.config.config_file import parse_value
from vq.config.merging import assign, flatten
from vq.config.presets import presets
from vq.sweeps.grid import Options, points, read_axes

#: Choices whose options, all of them, are the originals.
CHOICES: tuple[dict[str, Any], ...] = (
    {},
    {
        "dataset": "trees",
        "backbone": "mlp",
        "quantizer": {"name": "residual", "inner": {"name": "grouped", "inner": "ema"}},
        "regularizers": ["entropy", "homology", "orthogonal"],
    },
    {"manifold": "poincare", "estimator": "gumbel", "optimizer": "riemannian-adam"},
    {"dataset": "hierarchy", "backbone": "hierarchical", "quantizer": {"name": "fsq"}},
    {"dataset": "image-folder", "quantizer": "simvq", "regularizers": ["isometry"]},
    {"dataset": "arrays", "manifold": "sphere", "quantizer": "lfq"},
    {"bottleneck": "gaussian", "kl_weight": 0.5, "trackers": ["tensorboard"]},
)
#: YAML that no mutation of a config finds.
TEXTS = (
    "a: &a [x, x, x]\nb: &b [*a, *a, *a]\nregularizers: [*b, *b]\n",
    "quantizer: &a {name: grouped, inner: *a}\n",
    "base: &a {seed: 1}\n<<: *a\ndim: 1:30\n",
    "? [dim, seed]\n: 1\n? {a: 1}\n: 2\n",
    "trackers: !!set {a, b}\ndevice: !!binary aGVsbG8=\n",
    "dim: 2020-01-01\nseed: 0b1_0\nepochs: 1e3\nlr: 1:2:3.4\n",
    "dim: !!bool x\nseed: !!timestamp x\nepochs: !!int x\n",
    "regularizers: !!omap [entropy: {weight: 1}, entropy: {}]\n",
)


class Prepared:
    """A file to write to, and the originals as plain values."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        bases = [*CHOICES, *({"preset": name} for name in presets())]
        self.originals = [_dumped(_base(values)) for values in bases]


def prepare(folder: Path) -> Prepared:
    return Prepared(folder)


def check(rng: Random, prepared: Prepared) -> None:
    """A damaged file, values damaged before they are written, or a setting of the command."""
    values = rng.choice(prepared.originals)
    key, text = rng.choice(list(flatten(values))), _setting(rng)
    if rng.randrange(8) == 0:
        words = ["--set", f"{key}={text},1", f"--{key}", text, "--seed=0,1"]
        answer(lambda: points(read_axes(words, Options(frozenset(), {}))))
        return
    if rng.randrange(3) == 0:
        _check_call(lambda: compose(assign([(key, parse_value(text))]), base=values)[0], prepared)
        return
    path = prepared.folder / f"config{rng.choice(('.yaml', '.json', '.toml'))}"
    path.write_bytes(_content(rng, path.suffix, values))
    _check_call(lambda: compose({}, base=base_values(config=path))[0], prepared)


def _check_call(resolve: Any, prepared: Prepared) -> None:
    resolved = []
    answer(lambda: resolved.append(resolve()))
    if not resolved:
        return
    written = prepared.folder / "written.yaml"
    written.write_text(yaml.safe_dump(resolved[0].dump(), sort_keys=False, allow_unicode=True))
    again, _ = compose({}, base=base_values(config=written))
    assert again.dump() == resolved[0].dump()


def _content(rng: Random, suffix: str, values: dict[str, Any]) -> bytes:
    if rng.randrange(2):
        for _ in range(rng.choice((1, 1, 2, 4))):
            values = mutated_value(rng, values)
        return _text(suffix, values)
    if suffix == ".yaml" and rng.randrange(2):
        return mutated_bytes(rng, rng.choice(TEXTS).encode())
    return mutated_bytes(rng, _text(suffix, values))


def _text(suffix: str, values: Any) -> bytes:
    if suffix == ".yaml":
        text = yaml.safe_dump(values, allow_unicode=True)
    elif suffix == ".json" or not isinstance(values, dict):
        text = json.dumps(values)
    else:  # JSON values are TOML's too, but for null
        text = "".join(
            f"{json.dumps(key)} = {json.dumps(value)}\n" for key, value in flatten(values).items()
        )
    return text.encode("utf-8", "surrogatepass")


def _setting(rng: Random) -> str:
    value = rng.choice(ODD_VALUES)
    text = value if isinstance(value, str) else json.dumps(value)
    if rng.randrange(2):
        return text
    return mutated_bytes(rng, rng.choice((text, *TEXTS)).encode("utf-8", "replace")).decode(
        "utf-8", "replace"
    )


def _dumped(base: dict[str, Any]) -> dict[str, Any]:
    """Every option; a preset may name a file of weights, which is not here."""
    named = "perceptual" in base.get("losses", {})
    given = {"losses": {"perceptual": {"weights": "random"}}} if named else {}
    return compose(given, base=base)[0].dump()


def _base(values: dict[str, Any]) -> dict[str, Any]:
    preset = values.get("preset")
    return base_values(preset) if preset else base_values(config=values)
