"""Snapshots of the codebooks at each evaluation, in ``history/`` of the run folder."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from vq.checkpoints.step_names import step_name, step_of
from vq.files import read_bytes, write_bytes, writing
from vq.models.autoencoder import VQModel
from vq.models.eval_mode import eval_mode
from vqcore.interfaces.dataset import Split
from vqcore.layer import VectorQuantizer

FOLDER = "history"
#: Snapshots kept; of more, the one whose neighbours in time are closest together is dropped.
KEPT = 40
#: Coordinates in a snapshot at most, over all codebooks: half a megabyte.
VALUES = 2**18
#: Bytes of a snapshot that is read, at most: a small file may unpack to any size.
LARGEST = 2**28
#: Held-out samples whose tokens are counted, at most.
COUNTED = 512


@dataclass(frozen=True)
class Snapshot:
    """The codebooks of a model after some step.

    Attributes:
        step: number of steps done.
        codes: tangent vectors (k, d) of each codebook, float16. At most ``VALUES`` numbers in all:
            of a large codebook, every so many-th code, the same ones in every snapshot.
        chosen: (k,) the indices of these codes in their codebook.
        counts: (K,) of each codebook, how often held-out tokens chose each code; empty where no
            split was given.
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

    The usage is that on the held-out ``split``, and not recorded without it.

    Raises:
        RunError: if it cannot be written; what was recorded before stays.
    """
    found = codebooks(model)
    if not found:
        return
    limit = max(VALUES // sum(codebook.shape[1] for codebook in found), 1)
    arrays: dict[str, np.ndarray] = {}
    for number, codebook in enumerate(found):
        chosen = torch.linspace(0, len(codebook) - 1, min(len(codebook), limit)).long()
        largest = torch.finfo(torch.float16).max
        codes = codebook[chosen.to(codebook.device)].nan_to_num().clamp(-largest, largest)
        arrays[f"codes{number}"] = codes.half().cpu().numpy()
        arrays[f"chosen{number}"] = chosen.numpy()
    if split is not None:
        for number, counts in enumerate(_usage(model, split, found, batch_size)):
            arrays[f"counts{number}"] = counts.cpu().numpy()
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]  # takes its flag by name too
    path = _path(folder, step)
    with writing(path):
        path.parent.mkdir(exist_ok=True)
        write_bytes(path, buffer.getvalue())
        _thin(folder)


def codebooks(model: nn.Module) -> list[Tensor]:
    """Tangent vectors (K, d) of each codebook of a model: one for each level, group and stage."""
    found: list[Tensor] = []
    for layer in model.modules():
        if isinstance(layer, VectorQuantizer) and layer.codebook is not None:
            tangents = layer.manifold.logmap0(layer.codebook.detach().double())
            found += tangents.flatten(0, -3) if tangents.ndim > 2 else [tangents]
    return found


def rewind(folder: Path, step: int) -> None:
    """Drop the snapshots after ``step``: those steps will be repeated."""
    for each in _steps(folder):
        if each > step:
            _path(folder, each).unlink()


def read(folder: Path) -> list[Snapshot]:
    """The snapshots of a run folder in the order of their steps, without damaged ones."""
    return [snapshot for step in _steps(folder) if (snapshot := _load(folder, step))]


def _load(folder: Path, step: int) -> Snapshot | None:
    try:
        with np.load(io.BytesIO(read_bytes(_path(folder, step))), allow_pickle=False) as file:
            if sum(part.file_size for part in file.zip.infolist()) > LARGEST:
                return None
            kinds = ("codes", "chosen", "counts")
            arrays = [[file[name] for name in _numbered(file.files, kind)] for kind in kinds]
    except Exception:  # each way of damaging a zip file or an array has its own
        return None
    snapshot = Snapshot(step, *map(tuple, arrays))
    return snapshot if _fits(snapshot) else None


def _fits(snapshot: Snapshot) -> bool:
    """Whether the arrays have the types and shapes that ``record`` writes."""
    codes, chosen, counts = snapshot.codes, snapshot.chosen, snapshot.counts
    parts = [
        each.ndim == 2 and each.dtype.kind == "f" and index.shape == each.shape[:1]
        for each, index in zip(codes, chosen, strict=False)
    ]
    whole = [each.ndim == 1 and each.dtype.kind == "i" for each in (*chosen, *counts)]
    return 0 < len(codes) == len(chosen) and len(counts) in (0, len(codes)) and all(parts + whole)


def _numbered(names: list[str], kind: str) -> list[str]:
    return [f"{kind}{number}" for number in range(len(names)) if f"{kind}{number}" in names]


def _usage(model: VQModel, split: Split, found: list[Tensor], batch_size: int) -> list[Tensor]:
    """How often held-out tokens choose each code of each codebook.

    The counts of stages that share a codebook are added up.
    """
    chosen = torch.linspace(0, len(split) - 1, min(COUNTED, len(split))).long()
    seen = []
    with eval_mode(model):
        for batch in split.batches(chosen.split(batch_size), found[0].device):
            seen.append(model.bottleneck.inspect(model.latents(batch)).assignments)
    counts = [_sum([each.counts for each in stage]) for stage in zip(*seen, strict=True)]
    stages = len(counts) // len(found)
    return [_sum(counts[first : first + stages]) for first in range(0, len(counts), stages)]


def _sum(counts: list[Tensor]) -> Tensor:
    return torch.stack(counts).sum(0)


def _path(folder: Path, step: int) -> Path:
    return folder / FOLDER / f"{step_name(step)}.npz"


def _steps(folder: Path) -> list[int]:
    steps = (step_of(path.stem) for path in (folder / FOLDER).glob("step-*.npz"))
    return sorted(step for step in steps if step is not None)


def _thin(folder: Path) -> None:
    """Keep at most ``KEPT`` snapshots, the first and the last among them, spread over the run."""
    steps = _steps(folder)
    while len(steps) > KEPT:
        inner = range(1, len(steps) - 1)
        closest = min(inner, key=lambda place: steps[place + 1] - steps[place - 1])
        _path(folder, steps.pop(closest)).unlink()
