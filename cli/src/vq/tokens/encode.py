"""From samples to shards of indices, in batches; an interrupted call continues where it stopped."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from vq.data.array_files import Layout
from vq.files import as_path, leftovers, remove, writing
from vq.runs.provenance import model_of, require_codes, sha256_of, versions
from vq.runs.trained_run import RunLike, TrainedRun, load_run
from vq.tokens.inputs import Reading, read
from vq.tokens.manifest import NAME, Manifest, Shard, chosen_by
from vq.tokens.shards import INDICES, LABELS, read_listed, smallest_dtype, write_shard
from vqcore.errors import RunError, SettingError, shown

_log = logging.getLogger(__name__)


def encode(
    run: RunLike,
    path: str | Path,
    output: str | Path,
    *,
    file_format: Literal["npz", "safetensors"] = "npz",
    shard_size: int = 10_000,
    batch_size: int = 256,
    workers: int | None = None,
    key: str | None = None,
    layout: Layout = "auto",
    device: str | None = None,
    dataset: Any = None,
    trust_plugins: bool = False,
    report: Callable[[int, int], None] = lambda done, total: None,
    stopped: Callable[[], bool] = lambda: False,
) -> Manifest:
    """Write the indices of every sample; shards that are in the folder already are kept.

    No batch spans two shards, so that an interrupted call continues to the same bytes.

    Args:
        run: the run folder, or the run.
        path: a folder of images, an image, a .npy or .npz file; or ``train`` or ``test`` for that
            split of the run's own data set.
        output: a new or empty folder, or one that an earlier call was interrupted in.
        file_format: of the shards.
        shard_size: samples in a shard.
        batch_size: samples encoded at a time.
        workers: processes that read images ahead; None: by the number of cores.
        key: of the array in a .npz file; ``x`` or the only one by default.
        layout: where the channels of arrays are.
        device: instead of the config's.
        dataset: the data of the splits, instead of the run's own; see ``load_run``.
        trust_plugins: see ``load_run``.
        report: called with the samples done and their number, at the start and after each shard.
        stopped: asked before each batch whether to stop; the manifest is then not ``complete``.

    Returns:
        The manifest: names of the samples, files left out, shapes, shards.

    Raises:
        SettingError: if the model has no codes, nothing at ``path`` can be read, or ``output``
            holds something else.
        RunError: if a shard cannot be written, or a sample's latents are NaN, inf or huge.
    """
    trained = load_run(run, device, dataset=dataset, trust_plugins=trust_plugins)
    require_codes(trained)
    fix = "encode tensors with vq.load(run).encode(samples)"
    reading = read(trained, as_path("path", path, fix), workers=workers, key=key, layout=layout)
    folder = as_path("output", output)
    manifest = _open(folder, _new_manifest(trained, reading, file_format, shard_size))
    missing = [number for number, shard in enumerate(manifest.shards) if shard.sha256 is None]
    total = len(manifest.names)
    done = total - sum(manifest.shards[number].samples for number in missing)
    report(done, total)
    labels = reading.inputs.split.labels
    with trained.float32_products():
        for number, indices in _encoded(trained, reading, manifest, missing, batch_size, stopped):
            arrays = {INDICES: indices.astype(manifest.dtype)}
            if labels is not None:
                arrays[LABELS] = labels.cpu().numpy()[_rows(manifest, number)]
            shard = manifest.shards[number]
            shard.sha256 = write_shard(folder / shard.file, arrays)
            done += len(indices)
            report(done, total)
    manifest.complete = done == total
    manifest.write(folder)
    return manifest


def _new_manifest(run: TrainedRun, reading: Reading, file_format: str, shard_size: int) -> Manifest:
    model, inputs = run.model, reading.inputs
    total = len(inputs.names)
    shards = [
        Shard(file=f"shard-{number:05d}.{file_format}", samples=min(shard_size, total - start))
        for number, start in enumerate(range(0, total, shard_size))
    ]
    return Manifest(
        model=model_of(run),
        input={"path": reading.given, "sha256": reading.sha256},
        codebook_size=model.codebook_size,
        index_shape=list(model.index_shape),
        latent_shapes=[list(shape) for shape in model.latent_shapes],
        dtype=smallest_dtype(model.codebook_size).name,
        sample_shape=list(run.samples.shape),
        value_range=run.samples.value_range,
        file_format=file_format,
        shard_size=shard_size,
        shards=shards,
        names=inputs.names,
        skipped=inputs.skipped,
        versions=versions(),
    )


def _open(folder: Path, wanted: Manifest) -> Manifest:
    """Create the folder with its manifest, or check that it holds a part of the same indices."""
    for left in leftovers(folder, lambda name: name == NAME or name.startswith("shard-")):
        remove(left)
    found = list(folder.iterdir()) if folder.is_dir() else []
    if (folder.exists() and not folder.is_dir()) or (found and not (folder / NAME).is_file()):
        expected = "a new or empty folder, or one that vq encode was interrupted in"
        expected += f"; found no {NAME}"
        raise SettingError("--output", str(folder), expected, "choose another")
    if found:
        old = Manifest.read(folder)
        _check_same(folder, old, wanted)
        for shard, before in zip(wanted.shards, old.shards, strict=True):
            shard.sha256 = _digest_of(folder / shard.file, before, wanted)
        return wanted
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    wanted.write(folder)
    return wanted


def _digest_of(file: Path, shard: Shard, manifest: Manifest) -> str | None:
    """The SHA-256 of a shard that is kept; None if it has to be written."""
    if not file.is_file():
        return None
    try:
        read_listed(file, shard, manifest.index_shape)
        return shard.sha256 or sha256_of(file)  # version 0.1 recorded none
    except RunError as error:
        _log.warning("%s is written again: %s", file.name, error)
        return None


def _check_same(folder: Path, old: Manifest, new: Manifest) -> None:
    found = ""
    if old.model["sha256"] != new.model["sha256"]:
        found = chosen_by(old)
    elif old.input["sha256"] != new.input["sha256"] or old.names != new.names:
        found = f"those of another input, {shown(old.input['path'])} ({len(old.names)} samples)"
    elif [shard.file for shard in old.shards] != [shard.file for shard in new.shards] or (
        old.shard_size != new.shard_size
    ):
        found = f"shards of {old.shard_size} samples as {shown(old.file_format)}"
    if found:
        expected = f"a new folder, or one with a part of the same indices; it holds {found}"
        raise SettingError("--output", str(folder), expected, "choose another")


def _rows(manifest: Manifest, number: int) -> slice:
    """The samples that a shard holds."""
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
    """The number and the indices (n, *index_shape) of each missing shard, from one stream."""
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
            problem = "the encoder gives NaN, inf or huge numbers: did training diverge?"
            raise RunError(f"{name}: {problem}")
        yield number, indices.numpy()
