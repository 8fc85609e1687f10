"""Options of the data sets. Torch-free."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from vqcore.plugin.bounds import Count, Number, Workers, check_total
from vqcore.plugin.component_config import ComponentConfig, OnDisk

ImageSize = Annotated[int, Field(ge=4, le=1024)]
Root = Annotated[str, Field(min_length=1), OnDisk()]
Share = Annotated[float, Field(gt=0, lt=1)]
NoiseLevel = Annotated[float, Field(ge=0, le=0.5)]


class ImageConfig(ComponentConfig):
    """Options of every image data set."""

    flip: bool = False
    """Flip half of the training images horizontally, at random."""
    shift: Annotated[int, Field(ge=0, le=1024)] = 0
    """Shift training images at random by up to this many pixels; borders are reflected."""


class PhotosConfig(ImageConfig):
    """Options of ``photos``."""

    patch: Annotated[int, Field(ge=4, le=64)] = 32
    """Side of a patch in pixels; whole blocks of 64x64 pixels are held out."""
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
    """Side in pixels after centre cropping and resizing."""
    workers: Workers | None = None
    """Processes that read images ahead; 0: the training process; null: by the number of cores."""


class ImageFolderConfig(ImageConfig):
    """Options of ``image-folder``."""

    root: Root = "data/images"
    """Folder of images, nested in any way, or with the folders train and test (or val)."""
    image_size: ImageSize = 64
    """Side in pixels after centre cropping and resizing."""
    held_out: Share = 0.1
    """Share of the images that is held out if there are no train and test folders."""
    workers: Workers | None = None
    """Processes that read images ahead; 0: the training process; null: by the number of cores."""
    strict: bool = False
    """Refuse a folder with broken images instead of skipping them."""


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
