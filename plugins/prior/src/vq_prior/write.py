"""``vq sample``: codes drawn from a run's prior, decoded and written."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vq.runs.files import check_free, new_file, write_bytes
from vq.runs.provenance import require_codes
from vq.runs.trained_run import TrainedRun
from vq_prior.files import folder_of, load_prior
from vq_prior.sample import draw
from vqcore.errors import SettingError, did_you_mean
from vqcore.interfaces.dataset import SampleSpec

#: Sequences decoded at a time.
_BATCH = 256


@dataclass(frozen=True)
class Wanted:
    """What to draw.

    Attributes:
        count: samples.
        seed, temperature, top_k, top_p: see ``draw``.
        label: name of the one class to draw from; by default each in turn, where the prior has classes.
    """

    count: int = 64
    seed: int = 0
    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    label: str | None = None


def write_samples(
    run: TrainedRun, wanted: Wanted, output: Path | None, indices: Path | None
) -> Path:
    """Draw, decode and write; the path of what was written.

    Args:
        run: a run with a prior.
        wanted: what to draw.
        output: a new .png (a grid of pictures) or .npy file (samples in the data's range, float32); by default
            RUN/prior/samples with the suffix that fits, in place of the one before.
        indices: a new .npy file for the codes, (N, *index_shape) int64, or None.

    Raises:
        SettingError: if a file cannot be what its name says, is there already, or a number is out of range.
        UsageError: see ``load_prior``.
    """
    require_codes(run)
    path = output or folder_of(run) / (
        "samples.png" if _are_pictures(run.samples) else "samples.npy"
    )
    _check_output(run.samples, output)
    _check_indices(indices)
    prior, names = load_prior(run)
    labels = _labels(wanted, names, run.device)
    chosen = {
        "seed": wanted.seed,
        "temperature": wanted.temperature,
        "top_k": wanted.top_k,
        "top_p": wanted.top_p,
    }
    codes = draw(prior, wanted.count, **chosen, labels=labels).unflatten(1, run.model.index_shape)
    samples = torch.cat([run.model.decode(part) for part in codes.split(_BATCH)]).cpu()
    content = _content(path, samples, run.samples, _columns(wanted, names))
    if indices is not None:
        with new_file(indices, "--indices") as file:
            file.write_bytes(_npy(codes.cpu()))
    if output is None:
        write_bytes(path, content)
    else:
        with new_file(output) as file:
            file.write_bytes(content)
    return path


def _are_pictures(samples: SampleSpec) -> bool:
    return len(samples.shape) == 3 and samples.shape[0] in (1, 3)


def _check_output(samples: SampleSpec, output: Path | None) -> None:
    if output is None:
        return
    if output.suffix not in (".png", ".npy"):
        raise SettingError("--output", str(output), "a name that ends in .png or .npy")
    if output.suffix == ".png" and not _are_pictures(samples):
        expected = (
            f"a name that ends in .npy, since samples of shape {samples.shape} are no pictures"
        )
        raise SettingError("--output", str(output), expected)
    check_free(output)


def _check_indices(indices: Path | None) -> None:
    if indices is not None:
        if indices.suffix != ".npy":
            raise SettingError("--indices", str(indices), "a name that ends in .npy")
        check_free(indices, "--indices")


def _labels(wanted: Wanted, names: list[str], device: torch.device) -> Tensor | None:
    """The class of each sample: the one wanted, else each class in turn."""
    if wanted.label is None:
        return torch.arange(wanted.count, device=device) % len(names) if names else None
    if not names:
        fix = "train it anew with: vq prior RUN --classes --overwrite"
        raise SettingError(
            "--class",
            wanted.label,
            "a prior that knows classes, and this one was trained without",
            fix,
        )
    if wanted.label not in names:
        expected = f"one of {', '.join(names[:20])}{', ...' if len(names) > 20 else ''}"
        raise SettingError("--class", wanted.label, expected, did_you_mean(wanted.label, names))
    return torch.full((wanted.count,), names.index(wanted.label), device=device)


def _columns(wanted: Wanted, names: list[str]) -> int:
    """About a square; of few classes each has a column, or as many as make that."""
    square = math.ceil(math.sqrt(wanted.count))
    if wanted.label is not None or not 1 < len(names) <= 20:
        return square
    return len(names) * max(1, round(square / len(names)))


def _content(path: Path, samples: Tensor, spec: SampleSpec, columns: int) -> bytes:
    if path.suffix == ".npy":
        return _npy(samples)
    from vq_report.plots.grid import grid_png

    return grid_png(samples, spec.value_range, columns)


def _npy(values: Tensor) -> bytes:
    file = io.BytesIO()
    np.save(file, values.numpy())
    return file.getvalue()
