"""The format of a checkpoint: model weights as safetensors, the trainer's state beside them.

A checkpoint is a folder that is complete or absent.
"""

from __future__ import annotations

import io
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as to_safetensors
from torch import nn

from vq.files import new_folder, write_flushed, write_text, writing
from vqcore.errors import RunError, UsageError
from vqcore.plugin.loader import describe_error

FORMAT = 2
LATEST = "latest"
WEIGHTS = "model.safetensors"
TRAINER = "trainer.pt"


def save(folder: Path, step: int, model: nn.Module, trainer: dict[str, Any], keep: int) -> Path:
    """Write ``folder/step-<step>``, point ``folder/latest`` at it, and keep the newest ``keep``.

    Raises:
        RunError: if it cannot be written; the previous checkpoint stays the latest.
    """
    final = folder / f"step-{step:08d}"
    state = {"format": FORMAT, "step": step, **trainer}
    for abandoned in folder.glob(".step-*"):
        shutil.rmtree(abandoned, ignore_errors=True)
    with writing(final):
        with new_folder(final, replace=True) as temporary:
            write_flushed(temporary / WEIGHTS, _packed_weights(model))
            write_flushed(temporary / TRAINER, _packed(state))
            _flush(temporary)
        _flush(folder)
    write_text(folder / LATEST, final.name + "\n")
    for old in sorted(folder.glob("step-*"), key=lambda path: (path == final, path.name))[:-keep]:
        shutil.rmtree(old, ignore_errors=True)
    return final


def exists(folder: Path) -> bool:
    """Whether any checkpoint was completed here."""
    return (folder / LATEST).exists() or any(folder.glob("step-*"))


def latest(folder: Path) -> Path:
    """The newest complete checkpoint.

    Raises:
        UsageError: if there is none.
    """
    pointer, complete = folder / LATEST, sorted(folder.glob("step-*"))
    if complete and not pointer.exists():  # killed before the pointer was written
        return complete[-1]
    try:
        chosen = folder / pointer.read_text(encoding="utf-8", errors="replace").strip()
    except OSError as error:
        raise UsageError(f"{folder}: no checkpoint to resume from: {error.strerror}") from error
    if not chosen.is_dir():
        raise UsageError(f"{chosen}: the checkpoint that {pointer} names is not there")
    return chosen


def load_weights(path: Path, model: nn.Module) -> None:
    """Load a checkpoint's weights strictly.

    Raises:
        RunError: if the file is damaged, or holds the weights of another model.
    """
    file = path / WEIGHTS
    try:
        model.load_state_dict(load_file(file))
    except (OSError, SafetensorError) as error:
        raise RunError(f"{file}: damaged or not a checkpoint: {error}") from error
    except RuntimeError as error:
        text = f"{file}: holds another model than the config describes: {error}"
        raise RunError(text) from error


def load_trainer(path: Path) -> dict[str, Any]:
    """The trainer's state of a checkpoint.

    Raises:
        RunError: if the file is damaged, foreign or of another format.
    """
    file = path / TRAINER
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load has no exception of its own for a damaged file
        cause = describe_error(error).split(". ")[0]  # the rest advises weights_only=False
        raise RunError(f"{file}: damaged or not a checkpoint: {cause}") from error
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        found = state.get("format") if isinstance(state, dict) else type(state).__name__
        raise RunError(f"{file}: checkpoint format {found!r}: this version reads {FORMAT}")
    return state


def _packed_weights(model: nn.Module) -> bytes:
    # cloned: safetensors refuses tensors that share memory, as points and tangents do in flat space
    weights = {
        name: tensor.clone(memory_format=torch.contiguous_format)
        for name, tensor in model.state_dict().items()
    }
    return to_safetensors(weights, metadata={"format": str(FORMAT)})


def _packed(state: dict[str, Any]) -> bytes:
    buffer = io.BytesIO()  # torch.save to a path turns a full disk into an obscure RuntimeError
    torch.save(state, buffer)
    return buffer.getvalue()


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
