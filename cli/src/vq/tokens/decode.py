"""From indices back to samples: PNG files under the names of what was encoded, or one array."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

import torch
from numpy.lib.format import write_array_header_1_0
from PIL import Image
from torch import Tensor

from vq.runs.files import new_file, new_folder, writing
from vq.runs.trained_run import TrainedRun
from vq.tokens.read import Tokens
from vq_report.plots.pixels import to_pixels
from vqcore.errors import SettingError

FORMATS = ("png", "npy")


def decode(
    run: TrainedRun,
    tokens: Tokens,
    path: Path,
    *,
    file_format: str | None = None,
    batch_size: int = 256,
    report: Callable[[int], None] = lambda _done: None,
) -> int:
    """Write what the model makes of indices; the number of samples.

    Args:
        run: whose model decodes.
        tokens: the indices.
        path: a folder of PNG files, or a .npy file of float32 (N, *shape) as the decoder gives them.
        file_format: ``png`` or ``npy``; by the path's ending and the samples where it is left out.
        batch_size: samples decoded at a time.
        report: called with the samples done, after each batch.

    Raises:
        SettingError: if the samples are no pictures and PNG is asked for, something is there already, or an index is
            none of the model's.
        RunError: if it cannot be written; nothing is left behind then.
    """
    pictures = len(run.samples.shape) == 3 and run.samples.shape[0] in (1, 3)
    chosen = file_format or ("png" if pictures and path.suffix != ".npy" else "npy")
    if chosen == "png" and not pictures:
        raise SettingError(
            "--format",
            chosen,
            f"npy for samples of shape {run.samples.shape}, which are no pictures",
        )
    if chosen == "npy":
        with new_file(path) as temporary:
            return _write_array(temporary, run, tokens, batch_size, report)
    with new_folder(path) as temporary:
        return _write_pictures(temporary, run, tokens, batch_size, report)


def _decoded(run: TrainedRun, tokens: Tokens, batch_size: int) -> Iterator[Tensor]:
    for block in tokens.blocks():
        for part in torch.from_numpy(block).split(batch_size):
            yield run.model.decode(part.to(run.device))


def _write_pictures(
    folder: Path, run: TrainedRun, tokens: Tokens, batch_size: int, report: Callable[[int], None]
) -> int:
    names = _png_names(tokens.names) if tokens.names is not None else None
    done = 0
    for batch in _decoded(run, tokens, batch_size):
        for pixels in to_pixels(batch, run.samples.value_range):
            file = folder / (f"{done:06d}.png" if names is None else names[done])
            with writing(file):
                file.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(file)
            done += 1
        report(done)
    return done


def _png_names(names: list[str]) -> list[str]:
    """The names with the ending .png instead of their own; after it where files differ in their endings alone."""
    short = [f"{PurePosixPath(name).with_suffix('')}.png" for name in names]
    return short if len(set(short)) == len(short) else [f"{name}.png" for name in names]


def _write_array(
    file: Path, run: TrainedRun, tokens: Tokens, batch_size: int, report: Callable[[int], None]
) -> int:
    header = {"descr": "<f4", "fortran_order": False}
    done = 0
    with file.open("wb") as out:
        write_array_header_1_0(out, {**header, "shape": (done, *run.samples.shape)})
        for batch in _decoded(run, tokens, batch_size):
            out.write(batch.contiguous().float().cpu().numpy().astype("<f4", copy=False).tobytes())
            done += len(batch)
            report(done)
        out.seek(0)  # a header has room for any number of samples
        write_array_header_1_0(out, {**header, "shape": (done, *run.samples.shape)})
    return done
