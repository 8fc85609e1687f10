"""Damaged folders and files of indices, decoded and continued."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch

import vq
from fuzz.mutations import answer, mutated_bytes, mutated_value
from vq.runs.trained_run import TrainedRun, load_run

_MANIFEST = "manifest.json"
_FORMATS = ("npz", "safetensors")


@dataclass(frozen=True)
class Prepared:
    """A run, and the content of a folder of its indices in each format."""

    folder: Path
    run: TrainedRun
    files: dict[str, dict[str, bytes]]


def prepare(folder: Path) -> Prepared:
    """Train a tiny model for one step and encode a few samples in every format."""
    samples = torch.rand(12, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    options: dict[str, Any] = {"max_steps": 1, "codebook_size": 16, "backbone": "mlp"}
    vq.train(dataset=samples, run_dir=folder / "run", **options)
    run = load_run(folder / "run", "cpu")
    np.save(folder / "samples.npy", samples.numpy())
    files = {}
    for kind in _FORMATS:
        tokens = folder / kind
        vq.encode(run, folder / "samples.npy", tokens, file_format=kind, shard_size=5)
        files[kind] = {path.name: path.read_bytes() for path in tokens.iterdir()}
        shutil.rmtree(tokens)
    return Prepared(folder, run, files)


def check(rng: Random, prepared: Prepared) -> None:
    """Damage one folder, then decode it, one of its shards, or encode into it."""
    kind = rng.choice(_FORMATS)
    place = prepared.folder / "place"
    tokens = place / "tokens"
    tokens.mkdir(parents=True)
    try:
        for name, content in _damaged(rng, dict(prepared.files[kind])).items():
            (tokens / name).write_bytes(content)
        shards = [path for path in tokens.iterdir() if path.name.startswith("shard-")]
        if shards and rng.random() < 0.1:
            _replace(rng, rng.choice(shards))
        outside = _listing(prepared.folder)
        refused = answer(lambda: _use(rng, prepared, kind, tokens, shards))
        assert _listing(prepared.folder) == outside, "written outside"
        written = _listing(place) - {"tokens"}
        assert written <= (set() if refused else {"out", "out.npy"}), f"{refused}: left {written}"
    finally:
        shutil.rmtree(place)


def _use(rng: Random, prepared: Prepared, kind: str, tokens: Path, shards: list[Path]) -> None:
    output = tokens.parent / rng.choice(("out", "out.npy"))
    force = rng.random() < 0.5
    match rng.randrange(4):
        case 0:
            samples, options = prepared.folder / "samples.npy", {"file_format": kind}
            vq.encode(prepared.run, samples, tokens, shard_size=5, **options)  # type: ignore[arg-type]
            vq.decode(prepared.run, tokens, output)
        case 1 if shards:
            vq.decode(prepared.run, rng.choice(shards), output, force=force)
        case _:
            vq.decode(prepared.run, tokens, output, force=force)


def _damaged(rng: Random, files: dict[str, bytes]) -> dict[str, bytes]:
    manifest = json.loads(files[_MANIFEST])
    names = [shard["file"] for shard in manifest["shards"]]
    if rng.random() < 0.6:
        name = rng.choice(names)
        files[name] = mutated_bytes(rng, rng.choice((files[name], _npy(rng))))
    digests = rng.choice(("kept", "none", "fitting"))
    for shard in manifest["shards"] if digests != "kept" else ():
        fitting = hashlib.sha256(files[shard["file"]]).hexdigest()
        shard["sha256"] = fitting if digests == "fitting" else None
    for _ in range(rng.choice((0, 0, 1, 1, 3))):
        manifest = mutated_value(rng, manifest)
    text = json.dumps(manifest).encode()
    files[_MANIFEST] = mutated_bytes(rng, text) if rng.random() < 0.2 else text
    if rng.random() < 0.1:
        del files[rng.choice(list(files))]
    return files


def _npy(rng: Random) -> bytes:
    """A .npy file of a header with a shape that may be anything."""
    shape = tuple(rng.choice((0, 1, 5, 16, 2**31, 2**63, 10**30, -1)) for _ in range(3))
    kind = rng.choice(("|u1", "<i8", ">i4", "<f4", "|O", "|V0", "<U9", "<M8[s]"))
    header = f"{{'descr': {kind!r}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    return b"\x93NUMPY\1\0" + len(header).to_bytes(2, "little") + header + bytes(80)


def _replace(rng: Random, path: Path) -> None:
    """Put something that is no regular file in a file's place."""
    path.unlink()
    match rng.randrange(4):
        case 0:
            os.mkfifo(path)
        case 1:
            path.mkdir()
        case 2:
            path.symlink_to(rng.choice((path.name, "nowhere", "/dev/zero", "..")))
        case _:
            with path.open("wb") as file, contextlib.suppress(OSError):
                file.truncate(2**42)  # sparse


def _listing(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}
