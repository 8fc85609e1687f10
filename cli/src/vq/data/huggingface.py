"""Images in a data set of Hugging Face's library ``datasets``, from this machine or the hub."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Unpack

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from vq.data.arrays import numbered
from vq.data.encoded_images import decoded
from vq.data.image_files import sides_of
from vq.files import read_bytes
from vq.optional_dependencies import require
from vqcore.data.crop import Crop
from vqcore.data.dataset_split import DatasetSplit
from vqcore.data.image_source import Augmentation, ImageSource
from vqcore.data.partition import train_test_indices
from vqcore.errors import RunError, SettingError, VQError, describe_error

#: Names of held-out splits, in the order in which they are looked for.
_TEST = ("test", "validation", "valid", "val")
#: Names of a column that holds classes although its type does not say so.
_LABELS = ("label", "labels", "fine_label", "class")
#: Of a file, by suffix: the library's own reader.
_READERS = {".parquet": "parquet", ".arrow": "arrow"}
#: What ``save_to_disk`` writes into the folder of a data set, and of one with splits.
_SAVED = ("state.json", "dataset_dict.json")


class TableImages(Dataset[Tensor]):
    """A column of image files in a table, decoded on access to uint8 ``shape`` (3, H, W).

    Args:
        table: has the column alone, as the bytes or the path of each file.
        rows: which rows, (N,), in order.
        shape: of an image.
        name: of the table, for messages.
        crop: see ``ImageFiles``.
    """

    def __init__(
        self, table: Any, rows: Tensor, shape: tuple[int, ...], name: str, crop: Crop
    ) -> None:
        self.table, self.rows, self.shape, self.name, self.crop = table, rows, shape, name, crop

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, key: int | tuple[int, Sequence[float]]) -> Tensor:
        index, draws = key if isinstance(key, tuple) else (key, None)
        row = int(self.rows[index])
        name = f"row {row} of the split {self.name}"
        try:
            (value,) = self.table[row].values()
            if value is None:
                raise ValueError("there is no image")
            content = value["bytes"]
            if content is None:
                name, content = f"{name}, {value['path']},", read_bytes(Path(value["path"]))
        except Exception as error:  # pyarrow and the library raise many kinds
            raise RunError(f"{name} cannot be read: {describe_error(error)}") from error
        return decoded(content, self.shape, name, self.crop, draws)


class HuggingFace(ImageSource):
    """The images of a data set, cropped and resized.

    It is read whole from this machine, not streamed: the library maps its tables into memory, so
    rows come in any order. For the options see ``HuggingFaceConfig``.

    Raises:
        UsageError: if the extra ``datasets`` is not installed.
    """

    cuts_when_read = True

    def __init__(
        self,
        *,
        root: str | None = None,
        hub: str | None = None,
        config: str | None = None,
        revision: str | None = None,
        download: bool = False,
        train: str = "train",
        test: str | None = None,
        image: str | None = None,
        label: str | None = None,
        image_size: int | tuple[int, int] = 64,
        held_out: float = 0.1,
        workers: int | None = None,
        **augmentation: Unpack[Augmentation],
    ) -> None:
        super().__init__((3, *sides_of(image_size)), **augmentation)
        require("datasets", "dataset 'huggingface'", "datasets")
        self.root, self.hub, self.config, self.revision = root, hub, config, revision
        self.download, self.train, self.test = download, train, test
        self.image, self.label = image, label
        self.held_out, self.workers = held_out, workers

    def split(self, name: Literal["train", "test"]) -> DatasetSplit:
        """uint8 (3, *image_size), in the order of the rows."""
        part, rows = self._parts[name]
        column = self._image_column
        table = self._tables[part].select_columns([column]).cast_column(column, _as_bytes())
        images = TableImages(table, rows, self.shape, part, self.crop)
        own = self._labels[0][("train", "test").index(name)]
        names = [f"{part}/{row}" for row in rows.tolist()]
        return DatasetSplit(images, self.workers, own, names=names, cuts=self.cuts, skips=True)

    def describe(self) -> dict[str, Any]:
        """Adds the number of pictures, and the splits and columns that were chosen."""
        counts = {name: len(rows) for name, (_, rows) in self._parts.items()}
        chosen: dict[str, Any] = {name: part for name, (part, _) in self._parts.items()}
        chosen |= {"image": self._image_column, "label": self._label_column}
        return super().describe() | {"pictures": counts, "chosen": chosen}

    @property
    def classes(self) -> Sequence[str] | None:  # type: ignore[override]  # known once it is read
        """The names of a ClassLabel, the texts of a column, or its numbers from 0."""
        return self._labels[1]

    @cached_property
    def _tables(self) -> dict[str, Any]:
        """The data set's splits by name."""
        if (self.root is None) == (self.hub is None):
            expected = "a file or folder here, or dataset.hub, a name on the hub: one of the two"
            raise SettingError("dataset.root", self.root, expected)
        try:
            loaded = _load(self._from_hub() if self.root is None else self._local(), self.config)
        except VQError:
            raise
        except Exception as error:  # the library raises many kinds
            raise self._error(f"a data set that can be read ({describe_error(error)})") from error
        if isinstance(loaded, Mapping):
            return dict(loaded)
        return {str(loaded.split or "train"): loaded}

    def _local(self) -> Path:
        path = Path(str(self.root)).expanduser()
        if not path.exists():
            fix = "name another with --set dataset.root=PATH, or one of the hub with dataset.hub"
            raise self._error("a file or folder, but nothing is there", fix)
        if path.is_file() and path.suffix.lower() not in _READERS:
            raise self._error(f"a folder, or a file that ends in {' or '.join(_READERS)}")
        return path

    def _from_hub(self) -> Path:
        """The repository's files in the hub's cache."""
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import LocalEntryNotFoundError

        only = not self.download
        try:
            return Path(
                snapshot_download(
                    str(self.hub), repo_type="dataset", revision=self.revision,
                    local_files_only=only,
                )
            )  # fmt: skip
        except ValueError as error:
            raise self._error(f"the name of a data set on the hub ({error})") from error
        except Exception as error:  # the exceptions differ between versions of the client
            if only and isinstance(error, LocalEntryNotFoundError):
                expected = "a data set in the hub's cache on this machine, but it is not there"
                fix = "download it with --set dataset.download=true"
                raise self._error(expected, fix) from error
            cause = describe_error(error)
            raise RunError(f"dataset.hub = {self.hub!r} is not downloaded: {cause}") from error

    @cached_property
    def _parts(self) -> dict[str, tuple[str, Tensor]]:
        """The data set's split and its rows for each of ours."""
        tables = self._tables
        for option, name in (("train", self.train), ("test", self.test)):
            if name is not None and name not in tables:
                expected, fix = f"one of the splits {', '.join(tables)}", f"set dataset.{option}"
                raise SettingError(f"dataset.{option}", name, expected, fix)
        test = self.test or next((name for name in _TEST if name in tables), self.train)
        rows = len(tables[self.train])
        if test != self.train:
            parts = torch.arange(rows), torch.arange(len(tables[test]))
        elif rows < 2:
            raise SettingError("dataset.train", self.train, f"two or more rows, {rows} found")
        else:
            parts = train_test_indices(rows, self.held_out)
        return {"train": (self.train, parts[0]), "test": (test, parts[1])}

    @cached_property
    def _image_column(self) -> str:
        found = self._columns("Image") or self._columns("Value", "binary")
        if self.image is None and len(found) == 1:
            return found[0]
        return self._given("image", self.image)

    @cached_property
    def _label_column(self) -> str | None:
        if self.label is not None:
            return self._given("label", self.label)
        found = self._columns("ClassLabel") or [name for name in _LABELS if name in self._features]
        return found[0] if len(found) == 1 else None

    @property
    def _features(self) -> Mapping[str, Any]:
        """The type of each column."""
        return self._tables[self._parts["train"][0]].features

    def _columns(self, kind: str, dtype: str | None = None) -> list[str]:
        return [
            name
            for name, feature in self._features.items()
            if type(feature).__name__ == kind and dtype in (None, feature.dtype)
        ]

    def _given(self, option: str, name: str | None) -> str:
        if name in self._features:
            return str(name)
        columns = ", ".join(self._features)
        raise SettingError(f"dataset.{option}", name, f"one of the columns {columns}")

    @cached_property
    def _labels(self) -> tuple[list[Tensor | None], list[str] | None]:
        """The classes of both splits, if every row has one, and their names."""
        column = self._label_column
        parts = self._parts.values()
        if column is None or any(column not in self._tables[part].features for part, _ in parts):
            return [None, None], None
        columns = [(self._tables[part][column][:], rows.tolist()) for part, rows in parts]
        values = [np.array([texts[row] for row in rows]) for texts, rows in columns]
        names = getattr(self._features[column], "names", None)  # of a ClassLabel
        try:
            tensors, found = numbered(values)
        except (ValueError, TypeError) as error:  # -1 stands for an unknown class
            if self.label is None:
                return [None, None], None
            raise SettingError("dataset.label", self.label, f"classes: {error}") from error
        return tensors, names or found

    def _error(self, expected: str, fix: str = "") -> SettingError:
        option = "root" if self.hub is None else "hub"
        return SettingError(f"dataset.{option}", getattr(self, option), expected, fix)


def _load(path: Path, config: str | None) -> Any:
    """A table, or a mapping of tables by split."""
    import datasets

    if path.is_file():
        return datasets.load_dataset(_READERS[path.suffix.lower()], data_files=str(path))
    if any((path / name).is_file() for name in _SAVED):
        return datasets.load_from_disk(str(path))
    return datasets.load_dataset(str(path), config)


def _as_bytes() -> Any:
    """The type of a column of images that are decoded by us, as those of every data set are."""
    from datasets import Image

    return Image(decode=False)
