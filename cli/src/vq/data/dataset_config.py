"""Options of the data sets. Torch-free."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import (
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_validator,
)

from vqcore.plugin.bounds import Count, Number, Workers, check_total
from vqcore.plugin.component_config import ActsIf, ComponentConfig, DatasetRefs, OnDisk


def _in_one_message(value: Any, check: ValidatorFunctionWrapHandler) -> Any:
    try:
        return check(value)
    except ValidationError as error:  # one for each of the two types
        expected = "a number of pixels from 4 to 1024, or [height, width]"
        raise ValueError(expected) from error


Side = Annotated[int, Field(ge=4, le=1024)]
ImageSize = Annotated[Side | tuple[Side, Side], WrapValidator(_in_one_message)]
CropScale = Annotated[float, Field(ge=0.01, le=1)]
CropRatio = Annotated[float, Field(ge=0.1, le=10)]
Root = Annotated[str, Field(min_length=1), OnDisk()]
MaybeRoot = Annotated[str | None, Field(min_length=1), OnDisk()]
Extension = Annotated[str | None, Field(min_length=1, max_length=100, pattern=r"^[^./][^/]*$")]
Share = Annotated[float, Field(gt=0, lt=1)]
NoiseLevel = Annotated[float, Field(ge=0, le=0.5)]
_RESIZED = ActsIf("crop", ("resized",))


class ImageConfig(ComponentConfig):
    """Options of every image data set."""

    flip: bool = False
    """Flip half of the training images horizontally, at random."""
    shift: Annotated[int, Field(ge=0, le=1024)] = 0
    """Shift training images at random by up to this many pixels; borders are reflected."""
    crop: Literal["center", "random", "resized", "pixels"] = "center"
    """Training images: largest part in the middle or anywhere; of random size; without resizing."""
    crop_scale: Annotated[tuple[CropScale, CropScale], _RESIZED] = (0.5, 1.0)
    """For resized: bounds of the part's share of the image's area."""
    crop_ratio: Annotated[tuple[CropRatio, CropRatio], _RESIZED] = (3 / 4, 4 / 3)
    """For resized: bounds of its width over its height, relative to that of the samples."""


class PhotosConfig(ImageConfig):
    """Options of ``photos``."""

    patch: Annotated[int, Field(ge=4, le=256)] = 32
    """Side of a patch in pixels; blocks of 64x64, above that a part of each photo, are held out."""
    stride: Annotated[int, Field(ge=1, le=64)] = 8
    """Stride in pixels between training patches; test patches never overlap."""


class TreesConfig(ComponentConfig):
    """Options of ``trees``."""

    depth: Annotated[int, Field(ge=2, le=12)] = 8
    """Levels of the full binary tree. A sample has 2^depth - 1 bits, one per node."""
    noise: NoiseLevel = 0.1
    """Probability that a bit of a training sample is flipped; test samples are the clean nodes."""
    samples: Count = 8160
    """Number of training samples, which are noisy copies of all nodes in turn."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        check_total("depth and samples", self.samples * 2**self.depth)
        return self


class TreeLinksConfig(ComponentConfig):
    """Options of ``tree-links``."""

    tree: Literal["full", "random", "icd10"] = "full"
    """All nodes have as many children, or skewed numbers of them; icd10: respiratory diseases."""
    depth: Annotated[int, Field(ge=2, le=12), ActsIf("tree", ("full",))] = 8
    """Levels of the full tree."""
    branching: Annotated[int, Field(ge=2, le=64), ActsIf("tree", ("full",))] = 2
    """Children of each node of the full tree."""
    nodes: Annotated[int, Field(ge=3, le=8192), ActsIf("tree", ("random",))] = 400
    """Nodes of the random tree, which has 10 levels at most."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        nodes = (self.branching**self.depth - 1) // (self.branching - 1)
        if self.tree == "full" and nodes > 8192:
            raise ValueError(f"a tree of {nodes} nodes: expected at most 8192, as n x n numbers")
        return self


class DownloadConfig(ImageConfig):
    """Options of every data set that can be downloaded."""

    root: Root = "data"
    """Folder that contains one folder per data set."""
    download: bool = False
    """Download the data set to root if it is not there."""


class MnistConfig(DownloadConfig):
    """Options of ``mnist`` and ``fashion-mnist``."""

    pad: Annotated[int, Field(ge=0, le=16)] = 0
    """Pixels of background added on each side of 28x28; 2 gives 32x32."""


class CelebAConfig(DownloadConfig):
    """Options of ``celeba``."""

    image_size: ImageSize = 64
    """Side in pixels after cropping and resizing, or [height, width]."""
    workers: Workers | None = None
    """Processes that read images ahead; 0: the training process; null: by the number of cores."""


class ImageFolderConfig(ImageConfig):
    """Options of ``image-folder``."""

    root: Root = "data/images"
    """Folder of images, nested in any way, or with the folders train and test (or val)."""
    image_size: ImageSize = 64
    """Side in pixels after cropping and resizing, or [height, width]."""
    held_out: Share = 0.1
    """Share of the images that is held out if there are no train and test folders."""
    workers: Workers | None = None
    """Processes that read images ahead; 0: the training process; null: by the number of cores."""
    strict: bool = False
    """Refuse broken images instead of skipping them."""


class FramesConfig(ImageConfig):
    """Options of ``frames``."""

    root: Root = "data/frames"
    """Folder of videos, each a folder of numbered images, or with the folders train and test."""
    length: Annotated[int, Field(ge=1, le=1024)] = 8
    """Frames of a clip."""
    stride: Annotated[int, Field(ge=1, le=1024)] = 1
    """Take every frame (1), every second one (2) and so on."""
    image_size: ImageSize = 64
    """Side in pixels after cropping and resizing, or [height, width]."""
    held_out: Share = 0.1
    """Share of the videos that is held out if there are no train and test folders."""
    workers: Workers | None = None
    """Processes that read frames ahead; 0: the training process; null: by the number of cores."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        size = self.image_size
        pixels = size**2 if isinstance(size, int) else size[0] * size[1]
        check_total("length and image_size", 3 * self.length * pixels)
        return self


class WebDatasetConfig(ImageConfig):
    """Options of ``webdataset``."""

    shards: Root = "data/shards/*.tar"
    """Uncompressed tar files: several as shard-{000..012}.tar or shard-*.tar."""
    test_shards: MaybeRoot = None
    """Those of the held-out split; null: a share of the samples is held out."""
    image: Extension = None
    """Extension of the member that is the picture; null: the first that is an image's."""
    label: Extension = None
    """Extension of the member with the class, or json.FIELD; null: cls, if all samples have it."""
    image_size: ImageSize = 64
    """Side in pixels after cropping and resizing, or [height, width]."""
    held_out: Share = 0.1
    """Share of the samples that is held out if there are no test shards."""
    workers: Workers | None = None
    """Processes that read images ahead; 0: the training process; null: by the number of cores."""


class HuggingFaceConfig(ImageConfig):
    """Options of ``huggingface``."""

    root: MaybeRoot = None
    """Parquet or arrow file, folder of them or of images, or one that save_to_disk wrote."""
    hub: Annotated[str | None, Field(min_length=1, max_length=200)] = None
    """Name of a data set on the hub, such as uoft-cs/cifar10, instead of root."""
    config: Annotated[str | None, Field(min_length=1, max_length=200)] = None
    """Configuration (subset) of the data set, if it has several."""
    revision: Annotated[str | None, Field(min_length=1, max_length=200)] = None
    """Branch, tag or commit on the hub; null: main."""
    download: bool = False
    """Download the data set from the hub; without, it is taken from the hub's cache."""
    train: Annotated[str, Field(min_length=1, max_length=200)] = "train"
    """Split to train on."""
    test: Annotated[str | None, Field(min_length=1, max_length=200)] = None
    """Held-out split; null: test, validation, valid or val, else a share of the training split."""
    image: Annotated[str | None, Field(min_length=1, max_length=200)] = None
    """Column of the images; null: the only one of the type Image."""
    label: Annotated[str | None, Field(min_length=1, max_length=200)] = None
    """Column of the classes; null: the only ClassLabel, or one named label, if there is one."""
    image_size: ImageSize = 64
    """Side in pixels after cropping and resizing, or [height, width]."""
    held_out: Share = 0.1
    """Share of the images that is held out if there is no held-out split."""
    workers: Workers | None = None
    """Processes that read images ahead; 0: the training process; null: by the number of cores."""


class AudioFolderConfig(ComponentConfig):
    """Options of ``audio-folder``."""

    root: Root = "data/audio"
    """Folder of .wav, .flac, .aiff and .mp3 files, or with the folders train and test (or val)."""
    length: Annotated[int, Field(ge=16, le=2**24)] = 16384
    """Samples of a segment at the sample rate; files are cut into segments of this length."""
    channels: Literal[1, 2] = 1
    """1: the mean of a file's channels; 2: stereo, where a single channel is taken twice."""
    sample_rate: Annotated[int, Field(ge=1, le=10**6)] | None = None
    """Rate in Hz that files are resampled to; null: that of the files, which must agree."""
    held_out: Share = 0.1
    """Share of the files that is held out if there are no train and test folders."""
    workers: Workers | None = None
    """Processes that read files ahead; 0: the training process; null: by the number of cores."""


class ArraysConfig(ImageConfig):
    """Options of ``arrays``."""

    root: Root = "data/arrays.npz"
    """.npz file, folder of .npy files, or .npy file, with the arrays train and test, or x."""
    layout: Literal["auto", "NCHW", "NHWC"] = "auto"
    """Layout of images; auto takes the axis of length 1 or 3 as the channels."""
    range: tuple[Number, Number] | None = None
    """Float values mapped to -1 and 1; null: the smallest and largest of the training array."""
    held_out: Share = 0.1
    """Share of the samples that is held out if there is one array only."""


class MixtureConfig(ComponentConfig):
    """Options of ``mixture``."""

    sources: DatasetRefs = {}
    """The data sets, each under a name of yours, as in {faces: {name: image-folder, root: a}}."""
    weights: dict[str, Annotated[float, Field(gt=0, le=1e9)]] = {}
    """Share of the training samples that a source gives, relative to the others; 1 if not named."""

    @model_validator(mode="after")
    def _known(self) -> Self:
        unknown = ", ".join(map(repr, self.weights.keys() - self.sources.keys()))
        if unknown:
            known = ", ".join(map(repr, self.sources)) or "none"
            raise ValueError(f"weights of sources, which are {known}; found {unknown}")
        return self


class HierarchyConfig(ImageConfig):
    """Options of ``hierarchy``."""

    depth: Annotated[int, Field(ge=2, le=5)] = 3
    """Levels below the root (objects, parts, ...). An image has 2^(depth-1) cells per side."""
    branching: Annotated[int, Field(ge=2, le=6)] = 4
    """Children of a node: kinds of objects, kinds of parts per object, and so on."""
    cell: Annotated[int, Field(ge=4, le=32)] = 8
    """Side in pixels of a cell, which shows one node of the deepest level."""
    noise: NoiseLevel = 0.02
    """Standard deviation of the pixel noise, in a value range of 2."""
    samples: Count = 4096
    """Number of training images; a quarter as many are held out."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        side = self.cell * 2 ** (self.depth - 1)
        check_total("depth, cell and samples", self.samples * 3 * side**2)
        return self
