"""How a codebook moved during training: a small snapshot at each evaluation, in ``history/`` of the run folder."""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from vq.models.autoencoder import VQModel
from vq.runs.files import write_bytes, writing
from vqcore.interfaces.dataset import Split
from vqcore.layer import VectorQuantizer

FOLDER = "history"
#: Snapshots kept; beyond it the one whose neighbours in time are closest together goes.
KEPT = 40
#: Coordinates in a snapshot at most, over all codebooks: half a megabyte.
VALUES = 2**18
#: Held-out samples whose tokens are counted, at most.
COUNTED = 512


@dataclass(frozen=True)
class Snapshot:
    """The codebooks of a model after some step.

    Attributes:
        step: number of steps done.
        codes: tangent vectors (k, d) of each codebook, float16 as they are kept; at most ``VALUES`` numbers in all, so
            that of a large codebook there is an even choice of codes, the same in every snapshot.
        chosen: (k,) the numbers of these codes in their codebook.
        counts: (K,) of each codebook, how often held-out tokens chose each code; none where that was not recorded.
    """

    step: int
    codes: tuple[np.ndarray, ...]
    chosen: tuple[np.ndarray, ...]
    counts: tuple[np.ndarray, ...]


@torch.no_grad()
def record(
    folder: Path, step: int, model: VQModel, split: Split | None = None, batch_size: int = 64
) -> None:
    """Add a snapshot of a model's codebooks; nothing where they are implicit, or there are none.

    Args:
        folder: the run folder.
        step: number of steps done.
        model: left in the mode it was in.
        split: the held-out samples; without them no usage is recorded.
        batch_size: samples at a time.

    Raises:
        RunError: if it cannot be written; what was recorded before stays.
    """
    books = codebooks(model)
    if not books:
        return
    most = max(VALUES // sum(book.shape[1] for book in books), 1)
    arrays = {}
    for number, book in enumerate(books):
        chosen = torch.linspace(0, len(book) - 1, min(len(book), most)).long()
        largest = torch.finfo(torch.float16).max
        codes = book[chosen.to(book.device)].nan_to_num().clamp(-largest, largest)
        arrays |= {f"codes{number}": codes.half().cpu().numpy(), f"chosen{number}": chosen.numpy()}
    for number, counts in enumerate(
        _usage(model, split, books, batch_size) if split is not None else ()
    ):
        arrays[f"counts{number}"] = counts.cpu().numpy()
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    path = _path(folder, step)
    with writing(path):
        path.parent.mkdir(exist_ok=True)
        write_bytes(path, buffer.getvalue())
        _thin(folder)


def codebooks(model: nn.Module) -> list[Tensor]:
    """Tangent vectors (K, d) of each codebook in a model, those of levels, groups and stages one by one."""
    found = []
    for layer in model.modules():
        if isinstance(layer, VectorQuantizer) and layer.codebook is not None:
            tangents = layer.manifold.logmap0(layer.codebook.detach().double())
            found += tangents.flatten(0, -3) if tangents.ndim > 2 else [tangents]
    return found


def rewind(folder: Path, step: int) -> None:
    """Drop what was recorded after ``step``: those steps will be done again."""
    for each in _steps(folder):
        if each > step:
            _path(folder, each).unlink()


def read(folder: Path) -> list[Snapshot]:
    """Every snapshot of a run folder, in the order of their steps; one that cannot be read is left out."""
    return [snapshot for step in _steps(folder) if (snapshot := _load(folder, step))]


def _load(folder: Path, step: int) -> Snapshot | None:
    try:
        with np.load(_path(folder, step), allow_pickle=False) as file:
            kinds = ("codes", "chosen", "counts")
            parts = {
                kind: tuple(file[name] for name in _numbered(file.files, kind)) for kind in kinds
            }
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):
        return None
    return Snapshot(step, **parts)


def _numbered(names: list[str], kind: str) -> list[str]:
    return [f"{kind}{number}" for number in range(len(names)) if f"{kind}{number}" in names]


def _usage(model: VQModel, split: Split, books: list[Tensor], batch_size: int) -> list[Tensor]:
    """How often held-out tokens choose each code of each codebook; stages that share one are added up."""
    chosen = torch.linspace(0, len(split) - 1, min(COUNTED, len(split))).long()
    was_training = model.training
    model.eval()
    batches = split.batches(chosen.split(batch_size), books[0].device)
    seen = [model.bottleneck.inspect(model.backbone.encode(batch)).assignments for batch in batches]
    model.train(was_training)
    counts = [sum(use.counts for use in assignments) for assignments in zip(*seen, strict=True)]
    shared = len(counts) // len(books)
    return [sum(counts[number * shared : (number + 1) * shared]) for number in range(len(books))]


def _path(folder: Path, step: int) -> Path:
    return folder / FOLDER / f"step-{step:08d}.npz"


def _steps(folder: Path) -> list[int]:
    names = (path.stem.removeprefix("step-") for path in (folder / FOLDER).glob("step-*.npz"))
    return sorted(int(name) for name in names if name.isdigit())


def _thin(folder: Path) -> None:
    """Keep at most ``KEPT`` snapshots, the first and the last among them, spread over the run."""
    steps = _steps(folder)
    while len(steps) > KEPT:
        inner = range(1, len(steps) - 1)
        closest = min(inner, key=lambda place: steps[place + 1] - steps[place - 1])
        _path(folder, steps.pop(closest)).unlink()
