"""Encodes samples in batches and writes their indices, a shard at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from vq.processes.stopping import Halt
from vq.progress import Task, working
from vq.runs.trained_run import TrainedRun
from vq.tokens.inputs import Reading
from vq.tokens.manifest import Manifest
from vq.tokens.shards import INDICES, LABELS, write_shard
from vqcore.errors import RunError


@dataclass
class ShardWriter:
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


def _rows(manifest: Manifest, number: int) -> slice:
    """The samples that a shard holds."""
    start = number * manifest.shard_size
    return slice(start, start + manifest.shards[number].samples)
