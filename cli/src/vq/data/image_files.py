"""Image files of any size and mode as uint8 tensors of one shape."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from PIL import Image, UnidentifiedImageError
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms.v2 import functional as transforms

from vq.data.find_images import FORMATS
from vq.data.image_modes import to_rgb
from vq.data.packed_names import PackedNames
from vq.files import check_regular
from vq.progress import working
from vqcore.data.crop import Crop
from vqcore.errors import RunError, VQError, describe_error

_CENTRE = Crop()


class ImageFiles(Dataset[Tensor]):
    """Image files decoded on access to uint8 ``shape`` (C, H, W), cropped and resized.

    A key is a file's number, or a pair of it and the numbers drawn for a random crop.

    Args:
        names: of the files.
        shape: C is 3, or 1 for grey.
        root: the folder that the names are relative to.
        crop: by default, the largest centre crop of these proportions.
    """

    def __init__(
        self,
        names: Sequence[str] | Sequence[Path],
        shape: tuple[int, ...],
        root: str | Path = "",
        crop: Crop = _CENTRE,
    ) -> None:
        self.names = names if isinstance(names, PackedNames) else PackedNames(names)
        self.root, self.shape, self.crop = str(root) if root else "", shape, crop

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, key: int | tuple[int, Sequence[float]]) -> Tensor:
        index, draws = key if isinstance(key, tuple) else (key, None)
        path = os.path.join(self.root, self.names[index])
        try:
            with _quiet(), _opened(Path(path)) as file:
                image = to_rgb(file)
                if self.shape[0] == 1:
                    image = image.convert("L")
                return cut(image, self.shape[1:], self.crop, draws)
        except Exception as error:  # Pillow raises many kinds on bad files
            raise RunError(f"{path} cannot be read: {_reason(error)}") from error


def sides_of(image_size: int | tuple[int, int]) -> tuple[int, int]:
    """Height and width, of which one number stands for both."""
    return (image_size, image_size) if isinstance(image_size, int) else image_size


def cut(
    image: Image.Image, sides: tuple[int, ...], crop: Crop, draws: Sequence[float] | None
) -> Tensor:
    """A part of an image resized to (C, *sides), see ``Crop.box``."""
    height, width = sides
    if crop.kind == "center" or (draws is None and crop.kind != "pixels"):
        return crop_and_resize(image, height, width)
    top, left, tall, wide = crop.box(image.height, image.width, (height, width), draws)
    box = (left, top, left + wide, top + tall)
    return transforms.pil_to_tensor(image.resize((width, height), Image.Resampling.BILINEAR, box))


def crop_and_resize(image: Image.Image, height: int, width: int) -> Tensor:
    """The largest centre crop of these proportions, resized to (C, height, width).

    Cropping comes first: resizing the whole of a 1x10000 image would need a huge one.
    """
    scale = min(image.height / height, image.width / width)
    size = [max(1, round(height * scale)), max(1, round(width * scale))]
    crop = transforms.center_crop(image, size)
    return transforms.pil_to_tensor(transforms.resize(crop, [height, width], antialias=True))


def unreadable(names: Sequence[str], root: str | Path = "") -> dict[str, str]:
    """The files that cannot be decoded to their end, with the reason, in the order given."""
    # Threads hide a slow disk. Decoding itself holds the interpreter's lock.
    with _quiet(), ThreadPoolExecutor(8) as pool:
        broken = {}
        with working("checking", len(names), "images") as task:
            paths = (Path(root, name) for name in names)
            for name, reason in zip(names, pool.map(_problem, paths), strict=True):
                task.advance()
                if reason:
                    broken[name] = reason
        return broken


def _opened(path: Path) -> Image.Image:
    """An image whose pixels are not read yet.

    Its format is looked for among those that Pillow decodes by itself, whatever its suffix.
    """
    check_regular(path)  # a FIFO would be waited for
    Image.init()  # loads every format, once
    return Image.open(path, formats=[name for name in FORMATS if name in Image.OPEN])


@contextmanager
def _quiet() -> Iterator[None]:
    """Without Pillow's warnings, which name no file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _problem(path: Path) -> str:
    try:
        with _opened(path) as image:
            image.draft(None, (1, 1))  # a JPEG at 1/8 of its size: faster, yet all bytes are parsed
            to_rgb(image)
    except Exception as error:  # Pillow raises many kinds on bad files
        return _reason(error)
    return ""


def _reason(error: Exception) -> str:
    """Why a file cannot be read, without its path."""
    if isinstance(error, UnidentifiedImageError):
        return "not an image of a known format"
    if isinstance(error, Image.DecompressionBombError):
        return f"more than {2 * (Image.MAX_IMAGE_PIXELS or 0):,} pixels"
    if isinstance(error, VQError):
        return str(error)
    return (isinstance(error, OSError) and error.strerror) or describe_error(error)
