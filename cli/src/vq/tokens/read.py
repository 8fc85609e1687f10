"""Indices from a folder of shards or a single file, checked against the model that decodes them."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vq.runs.provenance import model_of, require_codes
from vq.runs.trained_run import TrainedRun
from vq.tokens.manifest import NAME, Manifest, Shard, chosen_by
from vq.tokens.shards import ENDINGS, read_listed, read_shard
from vqcore.errors import SettingError, VQError

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Tokens:
    """Indices of samples, shard by shard.

    Attributes:
        files: the shards, in order, each with what a manifest says of it.
        names: of each sample, where a manifest has them.
        index_shape: of one sample.
        codebook_size: K.
    """

    files: Sequence[tuple[Path, Shard | None]]
    names: list[str] | None
    index_shape: tuple[int, ...]
    codebook_size: int

    def blocks(self) -> Iterator[np.ndarray]:
        """The indices (n, *index_shape) of each shard, int64.

        Raises:
            SettingError: if their shape or type is wrong, or one is out of range.
            RunError: if a file is damaged, or is not the manifest's.
        """
        for file, shard in self.files:
            if shard is None:
                yield self._checked(file, read_shard(file))
            else:
                yield self._checked(file, read_listed(file, shard, self.index_shape))

    def _checked(self, file: Path, indices: np.ndarray) -> np.ndarray:
        if not np.issubdtype(indices.dtype, np.integer):
            raise SettingError("TOKENS", str(file), f"integers, found {indices.dtype.name}")
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
        shard, names = _listed(path)
        return Tokens([(path, shard)], names, shape, size)
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
        fix = "add --force (force=True) to decode them anyway"
        raise SettingError("TOKENS", str(path), f"{expected}; found {chosen_by(manifest)}", fix)
    if any(shard.sha256 is None for shard in manifest.shards):
        _log.warning("%s has no digests, as of version 0.1: damage may go unseen", path / NAME)
    files = [(path / shard.file, shard) for shard in manifest.shards]
    return Tokens(files, manifest.names, shape, size)


def _listed(file: Path) -> tuple[Shard | None, list[str] | None]:
    """What a manifest beside a file says of it, and the names of its samples."""
    try:
        manifest = Manifest.read(file.parent)
    except VQError:  # none, or that of something else
        return None, None
    start = 0
    for shard in manifest.shards:
        if shard.file == file.name:
            return shard, manifest.names[start : start + shard.samples]
        start += shard.samples
    return None, None
