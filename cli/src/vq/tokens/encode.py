"""From samples to shards of indices: batched, and gone on with where it stopped."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch

from vq.runs.files import writing
from vq.runs.provenance import model_of, require_codes, versions
from vq.runs.trained_run import TrainedRun
from vq.tokens.inputs import Reading
from vq.tokens.manifest import NAME, Manifest, Shard
from vq.tokens.shards import INDICES, LABELS, smallest_dtype, write_shard
from vqcore.errors import RunError, SettingError


def encode(
    run: TrainedRun,
    reading: Reading,
    folder: Path,
    *,
    file_format: str = "npz",
    shard_size: int = 10_000,
    batch_size: int = 256,
    report: Callable[[int, int], None] = lambda _done, _total: None,
    stopped: Callable[[], bool] = lambda: False,
) -> Manifest:
    """Write the indices of every sample; shards that are in the folder already are kept.

    Batches never reach over a shard's end, so that a run that was stopped writes the bytes of one that was not.

    Args:
        run: whose model chooses the indices.
        reading: the samples.
        folder: new or empty, or one that this was stopped in.
        file_format: ``npz`` or ``safetensors``.
        shard_size: samples in a shard.
        batch_size: samples encoded at a time.
        report: called with the samples done and their number, at the start and after each shard.
        stopped: asked before each batch whether to leave off; the manifest is then not ``complete``.

    Raises:
        SettingError: if the model has no codes, or the folder holds something else.
        RunError: if a shard cannot be written, or a sample's latents are NaN or inf.
    """
    require_codes(run)
    manifest = _open(folder, _plan(run, reading, file_format, shard_size))
    missing = [
        number
        for number, shard in enumerate(manifest.shards)
        if not (folder / shard.file).is_file()
    ]
    done, total = (
        len(manifest.names) - sum(manifest.shards[number].samples for number in missing),
        len(manifest.names),
    )
    report(done, total)
    labels = reading.inputs.split.labels
    for number, indices in _encoded(run, reading, manifest, missing, batch_size, stopped):
        arrays = {INDICES: indices.astype(manifest.dtype)}
        if labels is not None:
            arrays[LABELS] = labels.cpu().numpy()[_rows(manifest, number)]
        write_shard(folder / manifest.shards[number].file, arrays)
        done += len(indices)
        report(done, total)
    if done < total:
        return manifest
    manifest = manifest.model_copy(update={"complete": True})
    manifest.write(folder)
    return manifest


def _plan(run: TrainedRun, reading: Reading, file_format: str, shard_size: int) -> Manifest:
    model, samples, inputs = run.model, run.samples, reading.inputs
    starts = range(0, len(inputs.names), shard_size)
    return Manifest(
        model=model_of(run),
        input={"path": reading.given, "sha256": reading.sha256},
        codebook_size=model.codebook_size,
        index_shape=list(model.index_shape),
        latent_shapes=[list(shape) for shape in model.latent_shapes],
        dtype=smallest_dtype(model.codebook_size).name,
        sample_shape=list(samples.shape),
        value_range=samples.value_range,
        file_format=file_format,
        shard_size=shard_size,
        shards=[
            Shard(
                file=f"shard-{n:05d}.{file_format}",
                samples=min(shard_size, len(inputs.names) - start),
            )
            for n, start in enumerate(starts)
        ],
        names=inputs.names,
        skipped=inputs.skipped,
        versions=versions(),
    )


def _open(folder: Path, wanted: Manifest) -> Manifest:
    """The folder, its manifest in it: a new one, or one that holds a part of the same."""
    unfinished = f".{NAME}.tmp"  # of a process that was killed before anything else was there
    found = (
        [path for path in folder.iterdir() if path.name != unfinished] if folder.is_dir() else []
    )
    if (folder.exists() and not folder.is_dir()) or (found and not (folder / NAME).is_file()):
        expected = f"a new or empty folder, or one that vq encode was stopped in; found no {NAME}"
        raise SettingError("--output", str(folder), expected, "choose another")
    if found:
        _check_same(folder, Manifest.read(folder), wanted)
        return wanted
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    wanted.write(folder)
    return wanted


def _check_same(folder: Path, old: Manifest, new: Manifest) -> None:
    found = ""
    if old.model["sha256"] != new.model["sha256"]:
        found = f"those of another model (run {old.model['run']}, {old.model['checkpoint']})"
    elif old.input["sha256"] != new.input["sha256"] or old.names != new.names:
        found = f"those of another input ({old.input['path']}, {len(old.names)} samples)"
    elif (old.file_format, old.shard_size) != (new.file_format, new.shard_size):
        found = f"shards of {old.shard_size} samples as {old.file_format}"
    if found:
        expected = f"a new folder, or one with a part of these same indices; it holds {found}"
        raise SettingError("--output", str(folder), expected, "choose another")


def _rows(manifest: Manifest, number: int) -> slice:
    """The rows of all samples that a shard holds."""
    start = number * manifest.shard_size
    return slice(start, start + manifest.shards[number].samples)


def _encoded(
    run: TrainedRun,
    reading: Reading,
    manifest: Manifest,
    missing: list[int],
    batch_size: int,
    stopped: Callable[[], bool],
) -> Iterator[tuple[int, np.ndarray]]:
    """The number and the indices (n, *index_shape) of each missing shard. One stream of batches serves them all."""
    everything = torch.arange(len(manifest.names))
    chosen = {number: everything[_rows(manifest, number)].split(batch_size) for number in missing}
    batches = reading.inputs.split.batches(
        (part for parts in chosen.values() for part in parts), run.device
    )
    for number, parts in chosen.items():
        found = []
        for _ in parts:
            if stopped():
                return
            found.append(run.model.encode(next(batches)))
        indices = torch.cat(found).cpu()
        bad = (indices < 0).flatten(1).any(1)
        if bad.any():
            name = manifest.names[_rows(manifest, number).start + int(bad.nonzero()[0])]
            raise RunError(
                f"{name}: the encoder's output is NaN or inf: was this checkpoint's training stable?"
            )
        yield number, indices.numpy()
