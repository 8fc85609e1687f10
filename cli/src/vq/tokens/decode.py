"""From indices back to samples: files under the names of what was encoded, or one array."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Literal

import torch
from numpy.lib.format import write_array_header_1_0
from PIL import Image
from torch import Tensor

from vq.data.pixels import to_pixels
from vq.files import as_path, new_file, new_folder, writing
from vq.progress import working
from vq.runs.provenance import require_samples
from vq.runs.trained_run import RunLike, TrainedRun, load_run
from vq.tokens.read import Tokens, read_tokens
from vq.tokens.recordings import joined, write_audio, write_frames
from vqcore.errors import SettingError
from vqcore.interfaces.dataset import SampleSpec


def decode(
    run: RunLike,
    tokens: str | Path,
    output: str | Path,
    *,
    file_format: Literal["png", "wav", "npy"] | None = None,
    batch_size: int = 256,
    force: bool = False,
    device: str | None = None,
    trust_plugins: bool = False,
    report: Callable[[int], None] = lambda done: None,
) -> int:
    """Write the samples that a run's model decodes from indices.

    Args:
        run: the run folder, or the run.
        tokens: a folder that ``encode`` wrote, or one .npz, .safetensors or .npy file.
        output: a new folder of PNG files (of video, of folders of them) or of WAV files, or a new
            .npy file of float32 (N, *shape) with the values as the decoder gives them.
        file_format: left out, it follows from the name of ``output`` and the samples.
        batch_size: samples decoded at a time.
        force: decode indices that another model's weights chose.
        device: instead of the config's.
        trust_plugins: see ``load_run``.
        report: called with the samples done, after each batch.

    Returns:
        The number of samples.

    Raises:
        SettingError: if the model is a classifier, the samples are not what the format is for,
            ``output`` exists, or the indices do not belong to this model.
        RunError: if ``tokens`` is damaged or ``output`` cannot be written; nothing is left behind
            then.
    """
    trained = load_run(run, device, trust_plugins=trust_plugins)
    require_samples(trained, "vq decode")
    fix = "decode tensors with vq.load(run).decode(indices)"
    indices = read_tokens(trained, as_path("tokens", tokens, fix), force=force)
    path = as_path("output", output)
    chosen = _checked_format(file_format, path, trained.samples)
    with trained.float32_products():
        if chosen == "npy":
            with new_file(path) as temporary:
                return _write_array(temporary, trained, indices, batch_size, report)
        with new_folder(path) as temporary:
            return _write_files(temporary, trained, indices, batch_size, report)


def _checked_format(given: str | None, output: Path, samples: SampleSpec) -> str:
    """The ``given`` format; without one, what the name of the output and the samples say."""
    own = _format_of(samples)
    chosen = given or (own if output.suffix != ".npy" else "npy")
    if chosen not in (own, "npy"):
        expected = f"{' or '.join(sorted({own, 'npy'}))} for samples of shape {samples.shape}"
        raise SettingError("--format", chosen, expected)
    return chosen


def _format_of(samples: SampleSpec) -> str:
    """The format of files that these samples are written to."""
    axes, channels = len(samples.shape), samples.shape[0]
    if axes == 2 and samples.sample_rate:
        return "wav"
    return "png" if axes in (3, 4) and channels in (1, 3) else "npy"


def _write_files(
    folder: Path, run: TrainedRun, tokens: Tokens, batch_size: int, report: Callable[[int], None]
) -> int:
    samples = run.samples
    if len(samples.shape) == 3:
        return _write_images(folder, run, tokens, batch_size, report)
    batches = _decoded(run, tokens, batch_size)
    if samples.sample_rate:
        recordings = joined(batches, tokens.names, lambda names: _named(names, ".wav") or names)
        return write_audio(folder, recordings, samples.sample_rate, report)
    recordings = joined(batches, tokens.names, lambda names: names)
    return write_frames(folder, recordings, samples.value_range, report)


def _decoded(run: TrainedRun, tokens: Tokens, batch_size: int) -> Iterator[Tensor]:
    total = None if tokens.names is None else len(tokens.names)
    with working("decoding", total, "samples") as task:
        for block in tokens.blocks():
            for part in task.through(torch.from_numpy(block).split(batch_size)):
                yield run.model.decode(part.to(run.device))


def _write_images(
    folder: Path, run: TrainedRun, tokens: Tokens, batch_size: int, report: Callable[[int], None]
) -> int:
    names = _named(tokens.names, ".png") if tokens.names is not None else None
    done = 0
    for batch in _decoded(run, tokens, batch_size):
        for pixels in to_pixels(batch, run.samples.value_range):
            file = folder / (f"{done:06d}.png" if names is None else names[done])
            with writing(file):
                file.parent.mkdir(parents=True, exist_ok=True)
                with file.open("xb") as out:  # where names differ in case only, one would be lost
                    Image.fromarray(pixels).save(out, "PNG")
            done += 1
        report(done)
    return done


def _named(names: list[str], suffix: str) -> list[str] | None:
    """Names with this suffix instead of their own, or appended where names would collide.

    None where these collide too, such as ``a`` with ``a.png/b``.
    """
    folders = {posixpath.dirname(name) for name in names}
    folders |= {str(above) for folder in folders for above in PurePosixPath(folder).parents}
    for chosen in (
        [posixpath.splitext(name)[0] + suffix for name in names],
        [name + suffix for name in names],
    ):
        if len(set(chosen)) == len(chosen) and not folders & set(chosen):
            return chosen
    return None


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
