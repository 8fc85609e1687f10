"""Checkpoints of which one file is damaged: restored, and trained one step where accepted."""

from __future__ import annotations

import copy
import json
import shutil
import struct
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import torch
from accelerate import Accelerator

import vq
from fuzz.mutations import answer, mutated_bytes, mutated_value
from vq.checkpoints import checkpoint, manifest
from vq.checkpoints.trainer_state import restore
from vq.config.resolved_config import ResolvedConfig
from vq.training.trainer import Trainer
from vqcore.plugin.registry import Registry

SETTINGS = {
    "dataset": {"name": "trees", "depth": 3, "samples": 8},
    "backbone": {"name": "mlp", "hidden": 4},
    **{"dim": 2, "codebook_size": 4, "max_steps": 2, "batch_size": 4, "manifold": "poincare"},
}
REGISTRY = Registry(disabled=("report",))


@dataclass(frozen=True)
class Prepared:
    """A good checkpoint, a place for damaged copies, and what makes a trainer to restore."""

    good: Path
    bad: Path
    config: ResolvedConfig
    accelerator: Accelerator
    state: dict[str, Any]

    def trainer(self) -> Trainer:
        """A new one."""
        return Trainer(self.config, REGISTRY, self.accelerator)


def prepare(folder: Path) -> Prepared:
    """Train two steps."""
    run = vq.train(**SETTINGS, run_dir=folder / "run", registry=REGISTRY)
    state = _without_tuples(checkpoint.load_trainer(run.checkpoint))
    bad = folder / "bad" / run.checkpoint.name
    return Prepared(run.checkpoint, bad, run.config, Accelerator(cpu=True), state)


def check(rng: Random, prepared: Prepared) -> None:
    """Damage a file; it is refused, by its digest or for what it holds, or the run goes on."""
    shutil.rmtree(prepared.bad, ignore_errors=True)
    shutil.copytree(prepared.good, prepared.bad)
    name = rng.choice((checkpoint.WEIGHTS, checkpoint.TRAINER))
    file = prepared.bad / name
    content = file.read_bytes()
    damaged = _damaged(rng, name, content, prepared.state)
    file.write_bytes(damaged)
    if damaged != content:
        assert answer(lambda: restore(prepared.trainer(), prepared.bad)), "its digest differs"
    if rng.random() < 0.3:
        (prepared.bad / manifest.NAME).unlink()
    else:
        _record_again(prepared.bad)
    trainer = prepared.trainer()
    if not answer(lambda: restore(trainer, prepared.bad)):
        answer(lambda: trainer.train_step(next(trainer.batches())))


def _damaged(rng: Random, name: str, content: bytes, state: dict[str, Any]) -> bytes:
    if rng.random() < 0.3:
        return mutated_bytes(rng, content)
    if name == checkpoint.TRAINER:
        value = mutated_value(rng, state) if rng.random() < 0.6 else _odd_tensor(rng, state)
        return checkpoint._packed(value)
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    text = json.dumps(mutated_value(rng, header)).encode()
    return struct.pack("<Q", len(text)) + text + content[8 + length :]


def _odd_tensor(rng: Random, state: dict[str, Any]) -> dict[str, Any]:
    """The state with a tensor of another shape, type or value in the place of one."""
    state = copy.deepcopy(state)
    places: list[tuple[Any, Any]] = []
    _tensors(state, places)
    holder, key = rng.choice(places)
    tensor = holder[key]
    odd: tuple[Any, ...] = (
        tensor[..., None], tensor.flatten()[:-1], tensor.flatten()[:0], tensor.bool(),
        torch.zeros(()).expand(10**12), torch.full_like(tensor, 255), tensor.to(torch.complex64),
        torch.nn.Parameter(tensor.float()), tensor.double() * float("nan"), tensor.to_sparse(),
        torch.zeros((), dtype=torch.bfloat16), torch.zeros(3, device="meta"),
    )  # fmt: skip
    holder[key] = rng.choice(odd)
    return state


def _tensors(value: Any, places: list[tuple[Any, Any]]) -> None:
    for key in value if isinstance(value, dict) else range(len(value)):
        if isinstance(value[key], torch.Tensor):
            places.append((value, key))
        elif isinstance(value[key], dict | list):
            _tensors(value[key], places)


def _record_again(folder: Path) -> None:
    """A manifest that agrees with the damage, as somebody who means harm would write."""
    files = {
        name: (folder / name).read_bytes() for name in (checkpoint.WEIGHTS, checkpoint.TRAINER)
    }
    (folder / manifest.NAME).unlink()
    manifest.write(folder, {name: manifest.digest(content) for name, content in files.items()})


def _without_tuples(value: Any) -> Any:
    """With lists instead, which can be changed in place."""
    if isinstance(value, dict):
        return {key: _without_tuples(each) for key, each in value.items()}
    return [*map(_without_tuples, value)] if isinstance(value, list | tuple) else value
