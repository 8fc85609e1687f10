"""manifest.json: what a folder of indices holds, and which model chose them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from vq.files import write_text
from vqcore.errors import RunError

FORMAT = 1
NAME = "manifest.json"


class Shard(BaseModel):
    """One file of a folder of indices."""

    file: str
    """Its name in the folder."""
    samples: int
    """Its rows."""


class Manifest(BaseModel):
    """The contents of manifest.json. Rows of the shards, in order, are the samples in ``names``."""

    model_config = ConfigDict(extra="forbid")

    format: int = FORMAT
    """Version of this layout."""
    complete: bool = False
    """Whether every shard is written."""
    model: dict[str, str]
    """Run, checkpoint, and the SHA-256 of the weights file that chose the indices."""
    input: dict[str, str]
    """The path as it was given, and a SHA-256 that identifies it, see ``vq.tokens.inputs``."""
    codebook_size: int
    """K: indices are 0 to K - 1."""
    index_shape: list[int]
    """Of one sample's indices: its positions, groups or stages last."""
    latent_shapes: list[list[int]]
    """The positions of each level, coarsest first; ``index_shape`` holds them as one sequence."""
    dtype: str
    """Of the indices in the shards."""
    sample_shape: list[int]
    """Of what was encoded: (C, H, W) for images."""
    value_range: tuple[float, float]
    """Of the samples."""
    file_format: str
    """npz or safetensors."""
    shard_size: int
    """Samples in each shard but the last."""
    shards: list[Shard]
    """All of them, including those not written yet."""
    names: list[str]
    """Of each sample: the file's path relative to the folder that was read, or the row's number."""
    skipped: dict[str, str]
    """Files that could not be read, each with the reason."""
    versions: dict[str, str]
    """Of the software that wrote this."""

    def write(self, folder: Path) -> None:
        """Write it into its folder atomically."""
        write_text(folder / NAME, self.model_dump_json(indent=1) + "\n")

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """The manifest of a folder.

        Raises:
            RunError: if it is damaged, or of another format.
        """
        path = folder / NAME
        try:
            values: Any = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise RunError(f"{path}: damaged or not a manifest of indices: {error}") from error
        if not isinstance(values, dict) or values.get("format") != FORMAT:
            found = values.get("format") if isinstance(values, dict) else type(values).__name__
            raise RunError(f"{path}: manifest format {found!r}: this version reads {FORMAT}")
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise RunError(f"{path}: {where}: {first['msg']}") from error
