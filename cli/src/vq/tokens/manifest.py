"""manifest.json: what a folder of indices holds, and which model chose them.

The names of the samples are in a file beside it, one a line: there may be millions.
"""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from vq.config.plain_values import repeated
from vq.files import plain_name, plain_path, read_bytes, write_bytes, write_text
from vqcore.errors import RunError, UsageError, describe_error, shown

NAME, NAMES = "manifest.json", "names.txt"

Count = Annotated[int, Field(ge=0, lt=2**63)]


def _plain(check: Callable[[Any, str], str]) -> AfterValidator:
    """A name that ``check`` accepts, see ``vq.files``."""

    def checked(name: str) -> str:
        try:
            return check(name, "name")
        except UsageError as error:
            raise ValueError(str(error)) from error

    return AfterValidator(checked)


def _with_keys(*keys: str) -> AfterValidator:
    def check(values: dict[str, str]) -> dict[str, str]:
        if missing := [key for key in keys if key not in values]:
            raise ValueError(f"missing: {', '.join(missing)}")
        return values

    return AfterValidator(check)


class Shard(BaseModel):
    """One file of a folder of indices."""

    file: Annotated[str, _plain(plain_name)]
    """Its name in the folder."""
    samples: Count
    """Its rows."""
    sha256: str | None = None
    """Of the file; null until it is written. Version 0.1 wrote none."""


class Manifest(BaseModel):
    """The contents of manifest.json and names.txt.

    Rows of the shards, in order, are the samples in ``names``.
    """

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    format: Literal[1, 2] = 2
    """Version of this layout. Version 1 has the names in manifest.json, and no classes."""
    complete: bool = False
    """Whether every shard is written."""
    model: Annotated[dict[str, str], _with_keys("run", "checkpoint", "sha256")]
    """Run, checkpoint, and the SHA-256 of the weights file that chose the indices."""
    input: Annotated[dict[str, str], _with_keys("path", "sha256")]
    """The path as it was given, and a SHA-256 that identifies it, see ``vq.tokens.inputs``."""
    codebook_size: Count
    """K: indices are 0 to K - 1."""
    index_shape: list[Count]
    """Of one sample's indices: its positions, groups or stages last."""
    latent_shapes: list[list[Count]]
    """The positions of each level, coarsest first; ``index_shape`` holds them as one sequence."""
    dtype: str
    """Of the indices in the shards."""
    sample_shape: list[Count]
    """Of what was encoded: (C, H, W) for images."""
    value_range: tuple[float, float]
    """Of the samples."""
    file_format: str
    """npz or safetensors."""
    shard_size: Count
    """Samples in each shard but the last."""
    shards: list[Shard]
    """All of them, including those not written yet."""
    names: list[Annotated[str, _plain(plain_path)]] = []
    """Of each sample: the file's path relative to the folder that was read, or the row's number."""
    names_sha256: str | None = None
    """Of names.txt."""
    classes: Sequence[str] | None = None
    """Names of the classes that ``labels`` in the shards number; null without classes."""
    skipped: dict[str, str]
    """Files that were left out, each with the reason."""
    versions: dict[str, str]
    """Of the software that wrote this."""

    @model_validator(mode="after")
    def _consistent(self) -> Manifest:
        if self.format == 2 and not self.names:  # they are read next
            return self
        for key, names in (("names", self.names), ("shards", [each.file for each in self.shards])):
            if (twice := repeated(names)) is not None:
                raise ValueError(f"{key}: {shown(twice)} is there twice")
        if sum(shard.samples for shard in self.shards) != len(self.names):
            raise ValueError("shards and names do not agree")
        return self

    def write(self, folder: Path) -> None:
        """Write it into its folder, each of its two files atomically."""
        names = "".join(f"{name}\n" for name in self.names).encode()
        digest = hashlib.sha256(names).hexdigest()
        if digest != self.names_sha256:
            write_bytes(folder / NAMES, names)
            self.names_sha256 = digest
        write_text(folder / NAME, self.model_dump_json(indent=1, exclude={"names"}) + "\n")

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """The manifest of a folder.

        Raises:
            RunError: if it is damaged, or of another format.
        """
        path = folder / NAME
        try:
            manifest = cls.model_validate_json(read_bytes(path))
            if manifest.format == 1:
                return manifest
            path = folder / NAMES
            names = _names_in(read_bytes(path), manifest.names_sha256)
            return cls.model_validate(manifest.model_dump() | {"names": names})
        except ValidationError as error:
            errors = error.errors(include_url=False)
            # of another format, the other keys are no mistake
            first = next((each for each in errors if "format" in each["loc"]), errors[0])
            where = shown(".".join(map(str, first["loc"])))[1:-1]
            problem = f"{where}: {first['msg'].removeprefix('Value error, ')}".removeprefix(": ")
            if first["type"] not in ("value_error", "json_invalid", "missing"):
                problem += f", found {shown(first['input'])}"
            raise RunError(f"{path}: not a manifest of indices: {problem}") from error
        except (OSError, MemoryError, UnicodeDecodeError) as error:
            raise RunError(f"{path} cannot be read: {describe_error(error)}") from error


def _names_in(content: bytes, digest: str | None) -> list[str]:
    """The lines of names.txt.

    Raises:
        OSError: if they are not those of the manifest.
    """
    if hashlib.sha256(content).hexdigest() != digest or not content:
        raise OSError(errno.EIO, f"its SHA-256 is not the one in {NAME}")
    return content.decode().split("\n")[:-1]


def chosen_by(manifest: Manifest) -> str:
    """The model that chose the indices, in words."""
    run, checkpoint = manifest.model["run"], manifest.model["checkpoint"]
    return f"those of run {shown(run)}, checkpoint {shown(checkpoint)}"
