"""Indices from a folder of shards or a single file, checked against the model that decodes them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from vq.runs.provenance import model_of, require_codes
from vq.runs.trained_run import TrainedRun
from vq.tokens.manifest import NAME, Manifest
from vq.tokens.shards import ENDINGS, INDICES, read_shard
from vqcore.errors import RunError, SettingError


@dataclass(frozen=True)
class Tokens:
    """Indices of samples, shard by shard.

    Attributes:
        files: the shards, in order.
        names: of each sample, where there is a manifest.
        samples: in each shard, where there is a manifest.
        index_shape: of one sample.
        codebook_size: K.
    """

    files: list[Path]
    names: list[str] | None
    samples: list[int] | None
    index_shape: tuple[int, ...]
    codebook_size: int

    def blocks(self) -> Iterator[np.ndarray]:
        """The indices (n, *index_shape) of each shard, int64.

        Raises:
            SettingError: if their shape or type is wrong, or one is out of range.
            RunError: if a file is damaged, or its number of rows differs from the manifest's.
        """
        for number, file in enumerate(self.files):
            indices = self._checked(file, read_shard(file)[INDICES])
            if self.samples is not None and len(indices) != self.samples[number]:
                found = f"{len(indices)} samples where {NAME} says {self.samples[number]}"
                fix = "remove the file and run the same vq encode again"
                raise RunError(f"{file}: {found}: {fix}")
            yield indices

    def _checked(self, file: Path, indices: np.ndarray) -> np.ndarray:
        if not np.issubdtype(indices.dtype, np.integer):
            raise SettingError("TOKENS", str(file), f"integers, found {indices.dtype}")
        if indices.shape[1:] != self.index_shape or indices.ndim == 0:
            shape = ", ".join(map(str, ("N", *self.index_shape)))
            expected = f"indices of shape ({shape}) for this model, found {indices.shape}"
            raise SettingError("TOKENS", str(file), expected)
        bad = (indices < 0) | (indices >= self.codebook_size)
        if bad.any():
            row = int(np.argwhere(bad)[0][0])
            expected = f"indices from 0 to {self.codebook_size - 1}"
            found = f"found {int(indices[bad][0])} in row {row}"
            raise SettingError("TOKENS", str(file), f"{expected}, {found}")
        return indices.astype(np.int64)


def read_tokens(run: TrainedRun, path: Path, *, force: bool = False) -> Tokens:
    """Indices for a run's model, from a folder that ``encode`` wrote or from a single file.

    ``force`` accepts indices that another model's weights chose.

    Raises:
        SettingError: if there are no indices, or another model chose them.
        RunError: if the folder is damaged.
    """
    require_codes(run)
    shape, size = run.model.index_shape, run.model.codebook_size
    if path.is_file() and path.suffix in ENDINGS:
        return Tokens([path], None, None, shape, size)
    if not (path / NAME).is_file():
        endings = f"{', '.join(ENDINGS[:-1])} or {ENDINGS[-1]}"
        expected = f"a folder that vq encode wrote, or one {endings} file"
        raise SettingError("TOKENS", str(path), expected)
    manifest = Manifest.read(path)
    if not manifest.complete:
        expected = "all shards, but vq encode was interrupted"
        raise SettingError("TOKENS", str(path), expected, "run the same vq encode again")
    if manifest.model["sha256"] != model_of(run)["sha256"] and not force:
        expected = "indices that this checkpoint's weights chose"
        found = f"those of run {manifest.model['run']}, {manifest.model['checkpoint']}"
        fix = "add --force (force=True) to decode them anyway"
        raise SettingError("TOKENS", str(path), f"{expected}; found {found}", fix)
    _check_names(path, manifest)
    files = [path / shard.file for shard in manifest.shards]
    samples = [shard.samples for shard in manifest.shards]
    return Tokens(files, manifest.names, samples, shape, size)


def _check_names(folder: Path, manifest: Manifest) -> None:
    """Refuse a manifest whose names, which become paths, lead out of the folder."""
    names = [shard.file for shard in manifest.shards] + manifest.names
    outside = next((name for name in names if not _stays_inside(name)), None)
    if outside is not None:
        raise RunError(f"{folder / NAME}: {outside!r} is not a file in the folder")
    if sum(shard.samples for shard in manifest.shards) != len(manifest.names):
        raise RunError(f"{folder / NAME}: its shards and names do not agree")


def _stays_inside(name: str) -> bool:
    path = PurePosixPath(name)
    leads_out = path.is_absolute() or ".." in path.parts
    return bool(path.name) and not leads_out and "\0" not in name
