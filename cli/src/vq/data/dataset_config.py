"""Options of the data sets."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt, PositiveInt

from vqcore.plugin.component_config import ComponentConfig, OnDisk

ImageSize = Annotated[int, Field(ge=4, le=1024)]
Root = Annotated[str, Field(min_length=1), OnDisk()]


class PictureConfig(ComponentConfig):
    """Options of every data set of pictures."""

    flip: bool = False
    """In training, mirror half of the pictures left to right."""
    shift: NonNegativeInt = 0
    """In training, move pictures by up to this many pixels along each axis; the border is reflected."""


class PhotosConfig(PictureConfig):
    """Options of the two photos."""

    patch: Annotated[int, Field(ge=4, le=64)] = 32
    """Side of a patch in pixels; the splits are parted in blocks of 64."""
    stride: Annotated[int, Field(ge=1, le=64)] = 8
    """Step in pixels between training patches; test patches never overlap."""


class TreesConfig(ComponentConfig):
    """Options of the noisy tree."""

    depth: Annotated[int, Field(ge=2, le=12)] = 8
    """HierarchicalBottleneck of the full binary tree; a sample has 2^depth - 1 bits, one for each node."""
    noise: Annotated[float, Field(ge=0, le=0.5)] = 0.1
    """Probability that a bit of a training sample is flipped; test samples are the clean nodes."""
    samples: PositiveInt = 8160
    """Training samples, noisy copies of all nodes in turn (32 of each by default)."""


class DownloadConfig(PictureConfig):
    """Options of every data set that can be downloaded."""

    root: Root = "data"
    """Folder that holds the data sets, each in a folder of its own."""
    download: bool = False
    """Download the data set to the root if it is not there."""


class MnistConfig(DownloadConfig):
    """Options of MNIST and Fashion-MNIST."""

    pad: Annotated[int, Field(ge=0, le=16)] = 0
    """Pixels of background added on each side of 28x28; 2 makes 32x32."""


class Cifar10Config(DownloadConfig):
    """Options of CIFAR-10."""


class CelebAConfig(DownloadConfig):
    """Options of CelebA."""

    image_size: ImageSize = 64
    """Side in pixels to which the middle square of each face is scaled."""
    workers: NonNegativeInt = 2
    """Processes that read pictures ahead; 0 reads them in the training process."""


class ImageFolderConfig(PictureConfig):
    """Options of a folder of pictures."""

    root: Root = "data/images"
    """The folder: pictures in any nesting, or train and test (or val) folders of them."""
    image_size: ImageSize = 64
    """Side in pixels to which the middle square of each picture is scaled."""
    held_out: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """Share of the pictures held out, where the folder has no train and test folders."""
    workers: NonNegativeInt = 2
    """Processes that read pictures ahead; 0 reads them in the training process."""
    strict: bool = False
    """Refuse a folder with broken pictures instead of leaving them out."""


class ArraysConfig(PictureConfig):
    """Options of NumPy's files."""

    root: Root = "data/arrays.npz"
    """A .npz file, a folder of .npy files, or one .npy file: arrays train and test (or x_train and x_test), or x."""
    layout: Literal["auto", "NCHW", "NHWC"] = "auto"
    """Where the channels of pictures are; auto takes the axis of length 1 or 3."""
    range: tuple[float, float] | None = None
    """Floats that become -1 and 1; left out, the smallest and largest there are."""
    held_out: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """Share of the samples held out, where there is one array of them."""


class HierarchyConfig(PictureConfig):
    """Options of the part-of tree and its pictures."""

    depth: Annotated[int, Field(ge=2, le=5)] = 3
    """HierarchicalBottleneck below the root: 3 are objects, parts and sub-parts; a picture is 2^(depth - 1) cells high and wide."""
    branching: Annotated[int, Field(ge=2, le=6)] = 4
    """Kinds of objects, of parts that each has, of sub-parts that each of these has."""
    cell: Annotated[int, Field(ge=4, le=32)] = 8
    """Side of a cell, which shows one node of the deepest level, in pixels."""
    noise: Annotated[float, Field(ge=0, le=0.5)] = 0.02
    """Standard deviation of the noise on a pixel; the range of values is 2."""
    samples: PositiveInt = 4096
    """Training pictures; a quarter as many are held out."""
