"""The format of a checkpoint: model weights as safetensors, the trainer's state beside them.

A checkpoint is a folder that is complete or absent. Its manifest has the digest of each file.
"""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load as from_safetensors
from safetensors.torch import save as to_safetensors
from torch import Tensor, nn

from vq.checkpoints import manifest
from vq.checkpoints.step_names import step_name, step_of
from vq.files import (
    leftovers,
    new_folder,
    plain_name,
    read_bytes,
    remove,
    write_flushed,
    write_text,
    writing,
)
from vqcore.errors import RunError, UsageError, describe_error, shown

FORMAT = 2
LATEST = "latest"
WEIGHTS = "model.safetensors"
TRAINER = "trainer.pt"
#: The weights in training, where those of ``WEIGHTS`` are their average.
TRAINED = "training.safetensors"
#: Part of the names of weights that only training needs.
REGULARIZERS = ".regularizers."


def save(
    folder: Path,
    step: int,
    model: nn.Module,
    trainer: dict[str, Any],
    keep: int,
    trained: nn.Module | None = None,
) -> Path:
    """Write ``folder/step-<step>``, point ``folder/latest`` at it, and keep the newest ``keep``.

    Where ``model`` is the average of a model in training, ``trained`` is that one.

    Raises:
        RunError: if it cannot be written; the previous checkpoint stays the latest.
    """
    final = folder / step_name(step)
    state = {"format": FORMAT, "step": step, **trainer}
    for ending in ("tmp", "old"):
        for abandoned in leftovers(folder, _is_ours, ending):
            remove(abandoned)
    with writing(final):
        with new_folder(final, replace=True) as temporary:
            contents = {WEIGHTS: _packed_weights(model), TRAINER: _packed(state)}
            if trained is not None:
                contents[TRAINED] = _packed_weights(trained)
            files = {name: _written(temporary / name, each) for name, each in contents.items()}
            manifest.write(temporary, files, step=step)
            _flush(temporary)
        _flush(folder)
    write_text(folder / LATEST, final.name + "\n")
    with writing(final):
        _flush(folder)  # else a crash could undo the pointer, but not the removal of what it named
    others = [path for path in complete(folder) if path != final]
    for old in [*others, final][:-keep]:
        remove(old)
    return final


def complete(folder: Path) -> list[Path]:
    """The checkpoints in a folder, oldest first.

    Only folders with the names that ``save`` gives count, and with weights: copies under other
    names, links and empty folders are the user's.
    """
    if not folder.is_dir():
        return []
    found = [path for path in folder.iterdir() if step_of(path.name) is not None]
    ours = [path for path in found if not path.is_symlink() and os.path.lexists(path / WEIGHTS)]
    return sorted(ours, key=lambda path: step_of(path.name) or 0)


def exists(folder: Path) -> bool:
    """Whether any checkpoint was completed here."""
    return os.path.lexists(folder / LATEST) or bool(complete(folder))


def latest(folder: Path) -> Path:
    """The newest complete checkpoint.

    Raises:
        UsageError: if there is none, or the file ``latest`` names none.
    """
    pointer, found = folder / LATEST, complete(folder)
    if found and not os.path.lexists(pointer):  # killed before the pointer was written
        return found[-1]
    try:
        name = read_bytes(pointer).decode("utf-8", "replace").strip()
    except OSError as error:
        raise UsageError(f"{folder}: no checkpoint yet: {error.strerror}") from error
    chosen = folder / plain_name(name, str(pointer))
    if step_of(name) is None or not chosen.is_dir():
        fix = f"; the newest one is {found[-1].name}" if found else ""
        raise UsageError(f"{pointer} = {shown(name)}: expected a checkpoint beside it{fix}")
    return chosen


def load_weights(path: Path, model: nn.Module, files: Any = None, name: str = WEIGHTS) -> None:
    """Load weights strictly, but for those of regularizers that the model lacks.

    Args:
        path: the folder of the file.
        model: receives them.
        files: the recorded digests, where the folder has no manifest.
        name: of the file.

    Raises:
        RunError: if the file is damaged, or holds the weights of another model.
    """
    file = path / name
    weights = read_weights(file, files)
    wanted = model.state_dict().keys()
    kept = [name for name in weights if name in wanted or REGULARIZERS not in name]
    try:
        model.load_state_dict({name: weights[name] for name in kept})
    except Exception as error:  # a component may check what it is given
        text = f"{file}: holds another model than the config describes: {describe_error(error)}"
        raise RunError(text) from error


def read_weights(file: Path, files: Any = None) -> dict[str, Tensor]:
    """The tensors of a file of weights, checked against its recorded digest.

    Raises:
        RunError: if the file is damaged.
    """
    content = _read(file, files)
    try:
        return from_safetensors(content)
    except Exception as error:  # unknown types and shapes have exceptions of several kinds
        cause = describe_error(error)
        raise RunError(f"{file}: damaged or not a checkpoint: {cause}") from error


def load_trainer(path: Path) -> dict[str, Any]:
    """The trainer's state of a checkpoint.

    Raises:
        RunError: if the file is damaged, foreign or of another format.
    """
    file = path / TRAINER
    content = _read(file)
    try:
        state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load has no exception of its own for a damaged file
        cause = describe_error(error).split(". ")[0]  # the rest advises weights_only=False
        raise RunError(f"{file}: damaged or not a checkpoint: {cause}") from error
    found = state.get("format") if isinstance(state, dict) else type(state).__name__
    if not isinstance(found, int) or found != FORMAT:
        raise RunError(f"{file}: checkpoint format {shown(found)}: this version reads {FORMAT}")
    return dict(state)


def _read(file: Path, files: Any = None) -> bytes:
    """A checked file; the error for a damaged one names an older checkpoint that is intact."""
    folder = file.parent
    try:
        recorded = manifest.read(folder)
        return manifest.read_checked(file, files if recorded is None else recorded)
    except RunError as error:
        found = complete(folder.parent) if step_of(folder.name) is not None else []
        older = found[: found.index(folder)] if folder in found else []
        for each in reversed(older):
            if manifest.is_intact(each):
                fix = f"{each.name} is intact; write this name into {folder.parent / LATEST}"
                raise RunError(f"{error}; {fix}") from error
        raise


def _is_ours(name: str) -> bool:
    return name == LATEST or step_of(name) is not None


def _written(path: Path, content: bytes) -> dict[str, Any]:
    """Write a file; returns its digest."""
    write_flushed(path, content)
    return manifest.digest(content)


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
