"""From samples to shards of indices, in batches; an interrupted call continues where it stopped.

Several processes deal the shards out. A shard is the same whoever writes it.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from vq.data.array_files import Layout
from vq.files import as_path
from vq.processes.shared_folder import require_same, require_shared
from vq.processes.together import agreed, gathered, joined, main_first, on_main, rank, world
from vq.progress import working
from vq.runs.provenance import model_of, require_codes, versions
from vq.runs.trained_run import RunLike, TrainedRun, load_together
from vq.tokens._output_folder import open_output
from vq.tokens._shard_writer import ShardWriter
from vq.tokens.inputs import Reading, read
from vq.tokens.manifest import Manifest, Shard
from vq.tokens.shards import smallest_dtype

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
        _keep(manifest, on_main(lambda: open_output(folder, manifest)))
        require_shared(folder, "--output")
        own = _dealt(manifest)
        writer = ShardWriter(trained, reading, manifest, folder, batch_size, report, stopped)
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
