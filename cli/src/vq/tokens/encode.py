"""From samples to shards of indices, in batches; an interrupted call continues where it stopped.

Several processes deal the shards out. A shard is the same whoever writes it.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from vq.data.array_files import Layout
from vq.files import as_path, leftovers, remove, writing
from vq.processes.shared_folder import MARK, require_same, require_shared
from vq.processes.stopping import Halt
from vq.processes.together import agreed, gathered, joined, main_first, on_main, rank, world
from vq.progress import Task, working
from vq.runs.provenance import model_of, require_codes, sha256_of, versions
from vq.runs.trained_run import RunLike, TrainedRun, load_together
from vq.tokens.inputs import Reading, read
from vq.tokens.manifest import NAME, NAMES, Manifest, Shard, chosen_by
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

    No batch spans two shards, so that an interrupted call continues to the same bytes. Under a
    launcher every process calls it, writes its share of the shards and returns the same manifest.

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
        report: called with the samples done and their number, at the start and after each shard;
            those of other processes do not count.
        stopped: asked before each batch whether to stop; the manifest is then not ``complete``.
            What one process answers holds for all.

    Returns:
        The manifest: names of the samples, files left out, shapes, shards.

    Raises:
        SettingError: if the model has no codes, nothing at ``path`` can be read, or ``output``
            holds something else.
        RunError: if a shard cannot be written, or a sample's latents are NaN, inf or huge.
    """
    with joined("the same command continues"):
        trained = load_together(run, device, dataset=dataset, trust_plugins=trust_plugins)
        require_codes(trained)
        fix = "encode tensors with vq.load(run).encode(samples)"
        given = as_path("path", path, fix)
        options: dict[str, Any] = {"workers": workers, "key": key, "layout": layout}
        with working("reading the data"):
            reading = main_first(lambda: read(trained, given, **options))
        folder = as_path("output", output)
        manifest = _new_manifest(trained, reading, file_format, shard_size)
        require_same(_identity(manifest), "PATH", str(given))
        _keep(manifest, on_main(lambda: _open(folder, manifest)))
        require_shared(folder, "--output")
        own = _dealt(manifest)
        writer = _Writer(trained, reading, manifest, folder, batch_size, report, stopped)
        for written in gathered(agreed(lambda: writer.write(own))):
            _keep(manifest, written)
        manifest.complete = all(shard.sha256 for shard in manifest.shards)
        on_main(lambda: manifest.write(folder))
        return manifest


def _keep(manifest: Manifest, digests: dict[int, str]) -> None:
    """Record the shards that are there."""
    for number, digest in digests.items():
        manifest.shards[number].sha256 = digest


def _identity(manifest: Manifest) -> str:
    """What is the same in every process that reads the same."""
    of_both = manifest.model["sha256"], manifest.input["sha256"]
    content = json.dumps([of_both, manifest.names, list(manifest.skipped)])
    return hashlib.sha256(content.encode()).hexdigest()


def _dealt(manifest: Manifest) -> list[int]:
    """The numbers of the shards that this process is to write: one in so many of the missing."""
    missing = [number for number, shard in enumerate(manifest.shards) if shard.sha256 is None]
    if rank() == 0 and 0 < len(missing) < world():
        few = f"{len(missing)} shards for {world()} processes"
        _log.warning("%s: the others have nothing to do; a smaller --shard-size helps", few)
    return missing[rank() :: world()]


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
        classes=inputs.classes,
        skipped=inputs.skipped,
        versions=versions(),
    )


def _open(folder: Path, wanted: Manifest) -> dict[int, str]:
    """Create the folder with its manifest, or check that it holds a part of the same indices.

    Returns:
        The SHA-256 of the shards that are kept, by number.
    """
    ours = (NAME, NAMES, MARK)
    for left in leftovers(folder, lambda name: name in ours or name.startswith("shard-")):
        remove(left)
    # names.txt alone: a call was killed before it wrote the manifest
    found = [each for each in folder.iterdir() if each.name != NAMES] if folder.is_dir() else []
    if (folder.exists() and not folder.is_dir()) or (found and not (folder / NAME).is_file()):
        expected = "a new or empty folder, or one that vq encode was interrupted in"
        expected += f"; found no {NAME}"
        raise SettingError("--output", str(folder), expected, "choose another")
    if found:
        old = Manifest.read(folder)
        _check_same(folder, old, wanted)
        kept = (_digest_of(folder / shard.file, shard, wanted) for shard in old.shards)
        return {number: digest for number, digest in enumerate(kept) if digest}
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    wanted.write(folder)
    return {}


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


@dataclass
class _Writer:
    """Encodes and writes shards; all processes stop when one fails or is stopped."""

    run: TrainedRun
    reading: Reading
    manifest: Manifest
    folder: Path
    batch_size: int
    report: Callable[[int, int], None]
    stopped: Callable[[], bool]
    halt: Halt = field(default_factory=Halt)

    def write(self, numbers: list[int]) -> dict[int, str]:
        """Write the shards of these numbers; returns the SHA-256 of those that are written."""
        try:
            with self.run.float32_products():
                return self._write(numbers)
        except BaseException:
            self.halt.post()
            raise

    def _write(self, numbers: list[int]) -> dict[int, str]:
        shards = self.manifest.shards
        done = sum(shard.samples for shard in shards if shard.sha256)
        total = done + sum(shards[number].samples for number in numbers)
        self.report(done, total)
        labels = self.reading.inputs.split.labels
        digests = {}
        with working("encoding", total - done, "samples") as task:
            for number, indices in self._encoded(numbers, task):
                arrays = {INDICES: indices.astype(self.manifest.dtype)}
                if labels is not None:
                    arrays[LABELS] = labels.cpu().numpy()[_rows(self.manifest, number)]
                digests[number] = write_shard(self.folder / shards[number].file, arrays)
                done += len(indices)
                self.report(done, total)
        return digests

    def _encoded(self, numbers: list[int], task: Task) -> Iterator[tuple[int, np.ndarray]]:
        """The number and the indices (n, *index_shape) of each shard, from one stream."""
        everything = torch.arange(len(self.manifest.names))
        chosen = {
            number: everything[_rows(self.manifest, number)].split(self.batch_size)
            for number in numbers
        }
        every = (part for parts in chosen.values() for part in parts)
        split = self.reading.inputs.split
        batches = task.through(split.batches(every, self.run.device))
        for number, parts in chosen.items():
            found = []
            for _ in parts:
                if self._stops():
                    return
                found.append(self.run.model.encode(next(batches)))
            indices = torch.cat(found).cpu()
            bad = (indices < 0).flatten(1).any(1)
            if bad.any():
                start = _rows(self.manifest, number).start
                name = self.manifest.names[start + int(bad.nonzero()[0])]
                problem = "the encoder gives NaN, inf or huge numbers: did training diverge?"
                raise RunError(f"{name}: {problem}")
            yield number, indices.numpy()

    def _stops(self) -> bool:
        if self.stopped():
            self.halt.post()
        return self.halt.is_posted()
