"""Your own images in tar shards, as WebDataset lays them out."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Unpack

import numpy as np
from torch import Tensor
from torch.utils.data import Dataset

from vq.data.arrays import numbered
from vq.data.encoded_images import decoded
from vq.data.image_files import sides_of
from vq.data.skipping import log_skipped
from vq.data.tar_shards import Sample, expanded, index_shards
from vqcore.data.crop import Crop
from vqcore.data.dataset_split import DatasetSplit
from vqcore.data.image_source import Augmentation, ImageSource
from vqcore.data.partition import train_test_indices
from vqcore.errors import RunError, SettingError, describe_error

#: A sample and the shard that holds it.
Placed = tuple[Path, Sample]


class TarImages(Dataset[Tensor]):
    """Pictures in uncompressed tar files, decoded on access to uint8 ``shape`` (3, H, W)."""

    def __init__(self, samples: Sequence[Placed], shape: tuple[int, ...], crop: Crop) -> None:
        self.shape, self.crop, self.keys = shape, crop, [sample.key for _, sample in samples]
        shards = {path: number for number, path in enumerate(dict.fromkeys(s for s, _ in samples))}
        self.shards = [str(path) for path in shards]
        # an array, which worker processes share
        self.places = np.array([(shards[path], s.offset, s.size) for path, s in samples], np.int64)

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, key: int | tuple[int, Sequence[float]]) -> Tensor:
        index, draws = key if isinstance(key, tuple) else (key, None)
        shard, offset, size = self.places[index].tolist()
        name = f"{self.shards[shard]}: {self.keys[index]}"
        try:
            with open(self.shards[shard], "rb", buffering=0) as file:
                file.seek(offset)
                content = file.read(size)
        except OSError as error:
            raise RunError(f"{name} cannot be read: {describe_error(error)}") from error
        return decoded(content, self.shape, name, self.crop, draws)


class WebDataset(ImageSource):
    """All pictures in tar files on this machine, cropped and resized, in any order.

    Members of a shard that differ in their extension alone are one sample: a picture and, in
    ``cls`` or a field of ``json``, its class. Without ``test_shards``, a fixed share of the samples
    is held out, by a seeded permutation. For the options see ``WebDatasetConfig``.
    """

    cuts_when_read = True

    def __init__(
        self,
        *,
        shards: str = "data/shards/*.tar",
        test_shards: str | None = None,
        image: str | None = None,
        label: str | None = None,
        image_size: int | tuple[int, int] = 64,
        held_out: float = 0.1,
        workers: int | None = None,
        **augmentation: Unpack[Augmentation],
    ) -> None:
        super().__init__((3, *sides_of(image_size)), **augmentation)
        self.patterns = {"shards": shards, "test_shards": test_shards}
        self.image, self.label = image, label
        self.held_out, self.workers = held_out, workers
        self._skipped: dict[str, str] = {}

    def split(self, name: Literal["train", "test"]) -> DatasetSplit:
        """uint8 (3, *image_size), in the order of the shards."""
        samples = self.samples[name]
        labels, _ = self._labels
        names = [f"{shard.stem}/{sample.key}" for shard, sample in samples]
        images, own = (
            TarImages(samples, self.shape, self.crop),
            labels[("train", "test").index(name)],
        )
        return DatasetSplit(images, self.workers, own, names=names, cuts=self.cuts, skips=True)

    def describe(self) -> dict[str, Any]:
        """Adds the number of pictures, and the reason for each sample that is left out."""
        counts = {name: len(samples) for name, samples in self.samples.items()}
        counts["skipped"] = len(self._skipped)
        return super().describe() | {"pictures": counts, "skipped": self._skipped}

    @property
    def classes(self) -> Sequence[str] | None:  # type: ignore[override]  # known once indexed
        """The texts of the labels, sorted, or the numbers from 0."""
        return self._labels[1]

    @cached_property
    def samples(self) -> dict[str, list[Placed]]:
        """The samples of each split."""
        found = {option: self._indexed(option) for option, given in self.patterns.items() if given}
        log_skipped(f"{len(self._skipped)} samples or shards", self._skipped)
        for option, samples in found.items():
            if len(samples) < (least := 3 - len(found)):  # two to partition, else one
                image = self.image or "an image"
                reason = next(iter(self._skipped.values()), f"{len(samples)} samples have {image}")
                raise self._error(option, f"tar files with {least} or more pictures, but {reason}")
        if len(found) == 2:
            return dict(zip(("train", "test"), found.values(), strict=True))
        rows = train_test_indices(len(found["shards"]), self.held_out)
        chosen = ([found["shards"][row] for row in part.tolist()] for part in rows)
        return dict(zip(("train", "test"), chosen, strict=True))

    def _indexed(self, option: str) -> list[Placed]:
        shards = expanded(str(Path(str(self.patterns[option])).expanduser()))
        missing = next((shard for shard in shards if not shard.is_file()), None)
        if missing or not shards:
            found = f"but {missing} is missing" if missing else "but there are none"
            fix = "write several as shard-{000..012}.tar or shard-*.tar, in quotes"
            raise self._error(option, f"tar files, {found}", fix)
        samples = []
        for shard, index in zip(shards, index_shards(shards, self.image, self.label), strict=True):
            skipped = {f"{shard.name}/{key}": why for key, why in index.skipped.items()}
            self._skipped |= skipped | ({shard.name: index.broken} if index.broken else {})
            samples += [(shard, sample) for sample in index.samples]
        return samples

    @cached_property
    def _labels(self) -> tuple[list[Tensor | None], list[str] | None]:
        """The labels of both splits, if every sample has one, and the names of the classes."""
        texts = [[s.label for _, s in self.samples[name]] for name in ("train", "test")]
        if any(text is None for part in texts for text in part):
            return [None, None], None
        whole = all(str(text).isdecimal() for part in texts for text in part)
        try:
            return numbered([np.array(part, np.int64 if whole else np.str_) for part in texts])
        except (ValueError, OverflowError) as error:
            raise SettingError("dataset.label", self.label, f"classes: {error}") from error

    def _error(self, option: str, expected: str, fix: str = "") -> SettingError:
        return SettingError(f"dataset.{option}", self.patterns[option], expected, fix)
