"""Image files of any size and mode as uint8 tensors of one shape."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms.v2 import functional as transforms

from vqcore.errors import RunError
from vqcore.plugin.loader import describe_error

#: Suffixes (in lower case) of image files.
SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".pbm"}
)
#: The same, to show in messages.
KINDS = ", ".join(sorted(suffix[1:] for suffix in SUFFIXES))


class ImageFiles(Dataset[Tensor]):
    """Image files decoded on access to uint8 ``shape`` (C, H, W), centre-cropped and resized.

    C is 3, or 1 for grey.
    """

    def __init__(self, paths: Sequence[Path], shape: tuple[int, ...]) -> None:
        self.paths, self.shape = [str(path) for path in paths], shape

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Tensor:
        path = self.paths[index]
        channels, height, width = self.shape
        try:
            with Image.open(path) as file:
                image = to_rgb(file)
                if channels == 1:
                    image = image.convert("L")
                return crop_and_resize(image, height, width)
        except Exception as error:  # Pillow raises many kinds on bad files
            raise RunError(f"{path} cannot be read: {_reason(error)}") from error


def crop_and_resize(image: Image.Image, height: int, width: int) -> Tensor:
    """The largest centre crop of these proportions, resized to (C, height, width).

    Cropping comes first: resizing the whole of a 1x10000 image would need a huge one.
    """
    scale = min(image.height / height, image.width / width)
    size = [max(1, round(height * scale)), max(1, round(width * scale))]
    crop = transforms.center_crop(image, size)
    return transforms.pil_to_tensor(transforms.resize(crop, [height, width], antialias=True))


def to_rgb(image: Image.Image) -> Image.Image:
    """Any mode as RGB, rotated as its EXIF tag says, transparent pixels on white."""
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):  # 16 bits a pixel: Pillow's own conversion would clip at 255
        image = Image.fromarray((np.asarray(image).clip(0, 65535) >> 8).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def find_images(root: Path) -> list[Path]:
    """All image files below a folder, sorted by relative path, without hidden files and folders.

    Symbolic links are followed; each real folder is visited once.

    Raises:
        OSError: if a folder cannot be listed.
    """
    found: list[Path] = []
    visited: set[str] = set()
    for folder, folders, files in os.walk(root, followlinks=True, onerror=_raise):
        real = os.path.realpath(folder)
        if real in visited:
            folders.clear()
            continue
        visited.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [Path(folder) / name for name in files if _is_image(name)]
    return sorted(found, key=lambda path: path.relative_to(root).as_posix())


def unreadable(paths: Sequence[Path]) -> dict[Path, str]:
    """The files that cannot be decoded to their end, with the reason, in the order given."""
    # Threads hide a slow disk. Decoding itself holds the interpreter's lock.
    with ThreadPoolExecutor(8) as pool:
        reasons = pool.map(_problem, paths)
        return {path: reason for path, reason in zip(paths, reasons, strict=True) if reason}


def _is_image(name: str) -> bool:
    return Path(name).suffix.lower() in SUFFIXES and not name.startswith(".")


def _raise(error: OSError) -> None:
    raise error


def _problem(path: Path) -> str:
    try:
        with Image.open(path) as image:
            image.draft(None, (1, 1))  # a JPEG at 1/8 of its size: faster, yet all bytes are parsed
            image.load()
    except Exception as error:  # Pillow raises many kinds on bad files
        return _reason(error)
    return ""


def _reason(error: Exception) -> str:
    """Why a file cannot be read, without its path, which Pillow repeats for unknown formats."""
    if isinstance(error, UnidentifiedImageError):
        return "not an image of a known format"
    return describe_error(error)
