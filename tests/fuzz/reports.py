"""Damaged run folders, shown: ``vq report`` and ``vq compare`` write what is left."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import PIL.Image
import yaml

from fuzz.mutations import answer, mutated_bytes, mutated_value
from vq_report.comparison import compare
from vq_report.plots.comparison import comparison_png
from vq_report.write import write_report

#: One in so many cases keeps the checkpoint: loading a model takes longer than all the rest.
WITH_MODEL = 12
#: And so many draw a plot.
WITH_PLOT = 50
NAMES = ("step-1x.png", "step-²0000000.png", "step-00000009.png", "step--0000001.png", "x\x1b.png")


@dataclass(frozen=True)
class Prepared:
    """A run folder with everything in it, and where its damaged copies are."""

    run: Path
    folder: Path


def prepare(folder: Path) -> Prepared:
    """Train a run with a table of codes in the plane, and give it a prior's files."""
    import vq

    run = folder / "run"
    every = dict.fromkeys(("log_every", "eval_every", "sample_every", "checkpoint_every"), 2)
    vq.train(
        run_dir=run, dim=2, codebook_size=8, max_steps=6, settings={"backbone.hidden": 4, **every}
    )
    prior = run / "prior"
    prior.mkdir()
    figures = {"bits_per_token": 1.5, "unigram_bits_per_token": 2.5, "uniform_bits_per_token": 3.0}
    (prior / "config.json").write_text(json.dumps({"figures": figures}))
    line = {"step": 1, "aside_bits": 2.5, "train_bits": 2.0}
    (prior / "metrics.jsonl").write_text(json.dumps(line) + "\n")
    shutil.copy(run / "samples" / "step-00000006.png", prior / "samples.png")
    return Prepared(run, folder)


def check(rng: Random, prepared: Prepared) -> None:
    """Damage up to three files, then report and compare."""
    damaged = prepared.folder / "damaged"
    shutil.rmtree(damaged, ignore_errors=True)
    shutil.copytree(prepared.run, damaged)
    files = sorted(path for path in damaged.rglob("*") if path.is_file())
    weights = damaged / "checkpoints"
    if rng.randrange(WITH_MODEL):
        shutil.rmtree(weights)
    files = [path for path in files if not path.is_relative_to(weights)]
    for _ in range(rng.choice((1, 1, 3))):
        _damage(rng, rng.choice(files))
    output = prepared.folder / "report.html"
    output.unlink(missing_ok=True)

    def refuse(warning: str) -> None:
        raise AssertionError(warning)  # each section knows what damage looks like

    if not answer(lambda: write_report(damaged, output, "cpu", refuse)):
        page = output.read_text(encoding="utf-8")
        assert len(page) < 3_000_000, len(page)
        _Checked().feed(page)
    answer(lambda: _compare([damaged, prepared.run], plot=not rng.randrange(WITH_PLOT)))


def _compare(runs: list[Path], *, plot: bool) -> None:
    comparison = compare(runs)
    json.dumps(comparison.values())
    comparison.csv()
    if plot:
        comparison_png(comparison.runs)


class _Checked(HTMLParser):
    """Fails where a page could load or run anything."""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag not in ("script", "iframe", "object", "embed", "form", "base"), tag
        for name, value in attrs:
            assert not name.startswith("on"), name
            if name in ("src", "href", "xlink:href", "action"):
                assert (value or "").startswith(("data:", "#")), value


def _damage(rng: Random, path: Path) -> None:
    if not path.exists():
        return
    content = path.read_bytes()
    choice = rng.randrange(6)
    if choice == 0:
        content = mutated_bytes(rng, content)
    elif choice == 1:
        content = rng.choice((b"", b"[]", b"null", b"\xff\xfe{}", b"[" * 10**5, b"{}\n[]\n3\n"))
    else:
        try:
            content = _CHANGES.get(path.suffix, mutated_bytes)(rng, content)
        except Exception:  # it was damaged before
            content = mutated_bytes(rng, content)
    if rng.randrange(8) == 0:
        path = path.with_name(rng.choice(NAMES))
    path.write_bytes(content)


def _json(rng: Random, content: bytes) -> bytes:
    value = mutated_value(rng, json.loads(content or b"{}"))
    return json.dumps(value).encode()


def _yaml(rng: Random, content: bytes) -> bytes:
    value = mutated_value(rng, yaml.safe_load(content))
    return yaml.safe_dump(value).encode("utf-8", "backslashreplace")


def _lines(rng: Random, content: bytes) -> bytes:
    lines = [line for line in content.splitlines() if line]
    place = rng.randrange(len(lines))
    lines[place] = _json(rng, lines[place])
    return b"\n".join(lines) + b"\n"


def _image(rng: Random, content: bytes) -> bytes:
    buffer = io.BytesIO()
    kind = rng.choice(("GIF", "JPEG", "BMP", "PNG"))
    PIL.Image.new("1", (30000, 3000) if kind == "PNG" else (4, 4)).save(buffer, kind)
    return buffer.getvalue()


def _arrays(rng: Random, content: bytes) -> bytes:
    with np.load(io.BytesIO(content)) as file:
        arrays: dict[str, Any] = dict(file)
    name = rng.choice(sorted(arrays))
    array = arrays[name]
    changes: tuple[Callable[[], Any], ...] = (
        lambda: array.astype("complex64"), lambda: array.astype("datetime64[s]"),
        lambda: array[None], lambda: array[:0], lambda: array[:-1], lambda: array.reshape(-1),
        lambda: np.full_like(array, 10**9 if array.dtype.kind == "i" else np.nan),
        lambda: -array, lambda: np.array("text"), lambda: np.float64(1), lambda: array.tobytes(),
    )  # fmt: skip
    try:
        arrays[name] = rng.choice(changes)()
    except (TypeError, ValueError):
        del arrays[name]
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


_CHANGES: dict[str, Callable[[Random, bytes], bytes]] = {
    ".json": _json,
    ".jsonl": _lines,
    ".yaml": _yaml,
    ".png": _image,
    ".npz": _arrays,
}
