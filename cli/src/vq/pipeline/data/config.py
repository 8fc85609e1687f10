"""Options of the data sets."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, NonNegativeInt, PositiveInt

from vqcore.config import ComponentConfig

ImageSize = Annotated[int, Field(ge=4, le=1024)]
Root = Annotated[str, Field(min_length=1)]


class PhotosConfig(ComponentConfig):
    """Options of the two photos."""

    patch: Annotated[int, Field(ge=4, le=64)] = 32
    """Side of a patch in pixels; the splits are parted in blocks of 64."""
    stride: Annotated[int, Field(ge=1, le=64)] = 8
    """Step in pixels between training patches; test patches never overlap."""


class TreesConfig(ComponentConfig):
    """Options of the noisy tree."""

    depth: Annotated[int, Field(ge=2, le=12)] = 8
    """Levels of the full binary tree; a sample has 2^depth - 1 bits, one for each node."""
    noise: Annotated[float, Field(ge=0, le=0.5)] = 0.1
    """Probability that a bit of a training sample is flipped; test samples are the clean nodes."""
    samples: PositiveInt = 8160
    """Training samples, noisy copies of all nodes in turn (32 of each by default)."""


class DownloadConfig(ComponentConfig):
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


class ImageFolderConfig(ComponentConfig):
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
