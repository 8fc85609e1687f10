"""Checkpoints: model weights as safetensors beside the trainer's state, each folder complete or absent."""

from __future__ import annotations

import io
import os
import random
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as to_safetensors
from torch import nn

from vq.runs.files import write_text, writing
from vqcore.errors import RunError, UsageError
from vqcore.plugin.loader import describe

FORMAT = 2
LATEST = "latest"
WEIGHTS = "model.safetensors"
TRAINER = "trainer.pt"


def save(folder: Path, step: int, model: nn.Module, trainer: dict[str, Any], keep: int) -> Path:
    """Write ``folder/step-<step>``, then point ``folder/latest`` at it, then remove all but the newest ``keep``.

    Raises:
        RunError: if it cannot be written; the checkpoint before stays the latest.
    """
    final = folder / f"step-{step:08d}"
    temporary = folder / f".{final.name}.tmp"
    state = {"format": FORMAT, "step": step, **trainer}
    with writing(final), _removed_on_failure(temporary):
        folder.mkdir(exist_ok=True)
        for abandoned in folder.glob(".step-*.tmp"):
            shutil.rmtree(abandoned, ignore_errors=True)
        temporary.mkdir()
        _write(temporary / WEIGHTS, _packed_weights(model))
        _write(temporary / TRAINER, _packed(state))
        _flush(temporary)
        shutil.rmtree(final, ignore_errors=True)
        temporary.rename(final)
        _flush(folder)
    write_text(folder / LATEST, final.name + "\n")
    for old in sorted(folder.glob("step-*"), key=lambda path: (path == final, path.name))[:-keep]:
        shutil.rmtree(old, ignore_errors=True)
    return final


def exists(folder: Path) -> bool:
    """Whether any checkpoint was ever completed here."""
    return (folder / LATEST).exists() or any(folder.glob("step-*"))


def latest(folder: Path) -> Path:
    """The newest complete checkpoint.

    Raises:
        UsageError: if there is none.
    """
    pointer, complete = folder / LATEST, sorted(folder.glob("step-*"))
    if complete and not pointer.exists():  # killed before the first one was named
        return complete[-1]
    try:
        chosen = folder / pointer.read_text(encoding="utf-8", errors="replace").strip()
    except OSError as error:
        raise UsageError(f"{folder}: no checkpoint to go on from: {error.strerror}") from error
    if not chosen.is_dir():
        raise UsageError(f"{chosen}: the checkpoint that {pointer} names is not there")
    return chosen


def load_weights(path: Path, model: nn.Module) -> None:
    """Load a checkpoint's weights strictly.

    Raises:
        RunError: if the file is damaged, or was made by another model.
    """
    file = path / WEIGHTS
    try:
        model.load_state_dict(load_file(file))
    except (OSError, SafetensorError) as error:
        raise RunError(f"{file}: damaged or not a checkpoint: {error}") from error
    except RuntimeError as error:
        raise RunError(f"{file}: holds another model than the config describes: {error}") from error


def load_trainer(path: Path) -> dict[str, Any]:
    """The trainer's state of a checkpoint.

    Raises:
        RunError: if the file is damaged, foreign or of another format.
    """
    file = path / TRAINER
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load has no exception of its own for a damaged file
        cause = describe(error).split(". ")[0]  # the rest advises to load it unsafely
        raise RunError(f"{file}: damaged or not a checkpoint: {cause}") from error
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        found = state.get("format") if isinstance(state, dict) else type(state).__name__
        raise RunError(f"{file}: checkpoint format {found!r}: this version reads {FORMAT}")
    return state


def random_state() -> dict[str, Any]:
    """The random state of every library, in this process."""
    name, keys, position, has_gauss, cached = np.random.get_state()
    return {
        "python": random.getstate(),
        "numpy": (name, torch.from_numpy(keys.astype(np.int64)), position, has_gauss, cached),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def restore_random_state(state: dict[str, Any]) -> None:
    """Restore what ``random_state`` gave."""
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
    name, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), position, has_gauss, cached))
    torch.set_rng_state(state["torch"])
    if len(state["cuda"]) == torch.cuda.device_count() and state["cuda"]:
        torch.cuda.set_rng_state_all(state["cuda"])


def _packed_weights(model: nn.Module) -> bytes:
    # cloned, since safetensors refuses tensors that share memory, as points and tangents do in flat space
    weights = {
        name: tensor.clone(memory_format=torch.contiguous_format)
        for name, tensor in model.state_dict().items()
    }
    return to_safetensors(weights, metadata={"format": str(FORMAT)})


def _packed(state: dict[str, Any]) -> bytes:
    buffer = io.BytesIO()  # written to a path, a full disk is a RuntimeError that does not say so
    torch.save(state, buffer)
    return buffer.getvalue()


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def _removed_on_failure(folder: Path) -> Iterator[None]:
    try:
        yield
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
