"""Patches of scikit-learn's two photos: natural colour images without a download."""

from __future__ import annotations

from typing import Literal, Unpack

import torch
from torch import Tensor

from vqcore.data.image_source import Augmentation, ImageSource
from vqcore.data.partition import train_test_indices
from vqcore.data.tensor_split import TensorSplit

#: Side of the blocks that belong to one split as a whole.
BLOCK = 64
#: Of a patch, at most. Columns at the right of a photo that are held out where patches are larger
#: than blocks.
LARGEST = 256


class Photos(ImageSource):
    """Patches of a temple and a flower, both photos 427x640.

    Each photo is cut into blocks of 64x64 (43x64 in the last row), a fixed fifth of which is held
    out. For larger patches there are two blocks, of which the right one, 256 wide, is held out.
    Patches lie within blocks, so no pixel is in both splits. For the options see ``PhotosConfig``.
    """

    credits = (
        "Photos (patches cut from them): china.jpg by danielbuechele, "
        "https://www.flickr.com/photos/danielbuechele/6061409035; flower.jpg by vultilion, "
        "https://www.flickr.com/photos/vultilion/6056698931 (scikit-learn's notice names "
        "danielbuechele for both). CC BY 2.0, https://creativecommons.org/licenses/by/2.0/"
    )

    def __init__(
        self, *, patch: int = 32, stride: int = 8, **augmentation: Unpack[Augmentation]
    ) -> None:
        super().__init__((3, patch, patch), **augmentation)
        self.patch, self.stride = patch, stride

    def split(self, name: Literal["train", "test"]) -> TensorSplit:
        """uint8 (N, 3, patch, patch) in the order of photos, blocks and rows."""
        from sklearn.datasets import load_sample_images

        stride = self.stride if name == "train" else self.patch
        photos = [torch.tensor(photo).permute(2, 0, 1) for photo in load_sample_images().images]
        cut = blocks if self.patch <= BLOCK else halves
        chosen = [block for photo in photos for block in cut(photo, name)]
        return TensorSplit(torch.cat([patches(block, self.patch, stride) for block in chosen]))


def blocks(photo: Tensor, name: Literal["train", "test"]) -> list[Tensor]:
    """The blocks (C, <= 64, <= 64) of a photo (C, H, W) that belong to a split."""
    tiles = [tile for row in photo.split(BLOCK, 1) for tile in row.split(BLOCK, 2)]
    train, test = train_test_indices(len(tiles), 0.2)
    return [tiles[index] for index in (train if name == "train" else test).tolist()]


def halves(photo: Tensor, name: Literal["train", "test"]) -> list[Tensor]:
    """The part of a photo (C, H, W) that belongs to a split of large patches."""
    train, test = photo.split([photo.shape[2] - LARGEST, LARGEST], 2)
    return [train if name == "train" else test]


def patches(block: Tensor, size: int, stride: int) -> Tensor:
    """Squares (N, C, size, size) of a block (C, H, W); none if the block is smaller."""
    channels, height, width = block.shape
    if min(height, width) < size:
        return block.new_empty(0, channels, size, size)
    windows = block.unfold(1, size, stride).unfold(2, size, stride)
    return windows.permute(1, 2, 0, 3, 4).flatten(0, 1)  # of (C, rows, columns, size, size)
