"""Indices from a folder of shards or a single file, checked against the model that is to decode them."""

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
        names: of each sample, where a manifest tells them.
        samples: in each shard, where a manifest tells them.
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
            SettingError: if they have another shape or type, or one is no index of a code.
            RunError: if a file is damaged, or has other rows than the manifest says: names would be those of others.
        """
        for number, file in enumerate(self.files):
            indices = self._checked(file, read_shard(file)[INDICES])
            if self.samples is not None and len(indices) != self.samples[number]:
                fix = "remove the file and run the same vq encode again"
                raise RunError(
                    f"{file}: {len(indices)} samples where {NAME} says {self.samples[number]}: {fix}"
                )
            yield indices

    def _checked(self, file: Path, indices: np.ndarray) -> np.ndarray:
        if not np.issubdtype(indices.dtype, np.integer):
            raise SettingError("TOKENS", str(file), f"whole numbers, found {indices.dtype}")
        if indices.shape[1:] != self.index_shape or indices.ndim == 0:
            shape = ", ".join(map(str, ("N", *self.index_shape)))
            raise SettingError(
                "TOKENS",
                str(file),
                f"indices of shape ({shape}) for this model, found {indices.shape}",
            )
        bad = (indices < 0) | (indices >= self.codebook_size)
        if bad.any():
            row = int(np.argwhere(bad)[0][0])
            found = f"{int(indices[bad][0])} in row {row}"
            raise SettingError(
                "TOKENS", str(file), f"indices from 0 to {self.codebook_size - 1}, found {found}"
            )
        return indices.astype(np.int64)


def read_tokens(run: TrainedRun, path: Path, *, force: bool = False) -> Tokens:
    """Indices for a run's model.

    Args:
        run: whose model decodes them.
        path: of a folder that ``vq encode`` wrote, or one .npz, .safetensors or .npy file.
        force: take indices that another model's weights chose.

    Raises:
        SettingError: if there are no indices, or they are another model's.
        RunError: if the folder is damaged.
    """
    require_codes(run)
    shape, size = run.model.index_shape, run.model.codebook_size
    if path.is_file() and path.suffix in ENDINGS:
        return Tokens([path], None, None, shape, size)
    if not (path / NAME).is_file():
        expected = (
            f"a folder that vq encode wrote, or one {', '.join(ENDINGS[:-1])} or {ENDINGS[-1]} file"
        )
        raise SettingError("TOKENS", str(path), expected)
    manifest = Manifest.read(path)
    if not manifest.complete:
        raise SettingError(
            "TOKENS",
            str(path),
            "all shards, but vq encode was stopped",
            "run the same vq encode again",
        )
    if manifest.model["sha256"] != model_of(run)["sha256"] and not force:
        expected = "indices that this checkpoint's weights chose"
        found = f"those of run {manifest.model['run']}, {manifest.model['checkpoint']}"
        raise SettingError(
            "TOKENS",
            str(path),
            f"{expected}; found {found}",
            "add --force to decode them all the same",
        )
    _check_names(path, manifest)
    files, samples = (
        [path / shard.file for shard in manifest.shards],
        [shard.samples for shard in manifest.shards],
    )
    return Tokens(files, manifest.names, samples, shape, size)


def _check_names(folder: Path, manifest: Manifest) -> None:
    """Refuse a manifest that leads out of the folders it belongs to: names become paths."""
    names = [shard.file for shard in manifest.shards] + manifest.names
    outside = next((name for name in names if not _stays(name)), None)
    if outside is not None or sum(shard.samples for shard in manifest.shards) != len(
        manifest.names
    ):
        cause = (
            "its shards and names do not agree"
            if outside is None
            else f"{outside!r} names no file in the folder"
        )
        raise RunError(f"{folder / NAME}: {cause}")


def _stays(name: str) -> bool:
    path = PurePosixPath(name)
    return (
        bool(path.name) and not path.is_absolute() and ".." not in path.parts and "\0" not in name
    )
