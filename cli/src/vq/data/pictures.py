"""Picture files of any size and mode as tensors of bytes, all of one shape."""

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
from vqcore.plugin.loader import describe

#: Endings (in lower case) of the files that count as pictures.
ENDINGS = frozenset(
    {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".pbm"}
)


class PictureFiles(Dataset[Tensor]):
    """Files read when they are asked for: bytes (C, H, W), the middle of each, scaled.

    Args:
        paths: of the files.
        shape: (C, H, W) of the pictures served; C is 3, or 1 for grey.
    """

    def __init__(self, paths: Sequence[Path], shape: tuple[int, int, int]) -> None:
        self.paths, self.shape = [str(path) for path in paths], shape

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Tensor:
        path = self.paths[index]
        channels, *sides = self.shape
        try:
            with Image.open(path) as image:
                picture = to_rgb(image)
                return middle(picture if channels == 3 else picture.convert("L"), *sides)
        except Exception as error:  # Pillow raises many kinds on bad files
            raise RunError(f"{path} cannot be read: {_reason(error)}") from error


def middle(image: Image.Image, height: int, width: int) -> Tensor:
    """The largest middle part of a picture that has these proportions, scaled to (C, height, width).

    Cropped before it is scaled, for a picture of 1x10000 scaled first would be enormous.
    """
    scale = min(image.height / height, image.width / width)
    part = transforms.center_crop(
        image, [max(1, round(height * scale)), max(1, round(width * scale))]
    )
    return transforms.pil_to_tensor(transforms.resize(part, [height, width], antialias=True))


def to_rgb(image: Image.Image) -> Image.Image:
    """Any mode as RGB, turned upright as its EXIF tag says; what is transparent shows white."""
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):  # 16 bits a pixel: Pillow's own conversion would clip at 255
        image = Image.fromarray((np.asarray(image).clip(0, 65535) >> 8).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def find_pictures(root: Path) -> list[Path]:
    """Every picture in a folder and those below it, sorted by relative path; hidden files and folders left out.

    Linked folders are followed, each real folder once.

    Raises:
        OSError: if a folder cannot be listed.
    """
    found, seen = [], set()
    for folder, folders, files in os.walk(root, followlinks=True, onerror=_raise):
        real = os.path.realpath(folder)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [Path(folder) / name for name in files if _is_picture(name)]
    return sorted(found, key=lambda path: path.relative_to(root).as_posix())


def _is_picture(name: str) -> bool:
    return Path(name).suffix.lower() in ENDINGS and not name.startswith(".")


def _raise(error: OSError) -> None:
    raise error


def unreadable(paths: Sequence[Path]) -> dict[Path, str]:
    """The files that cannot be decoded to their end, each with the reason, in the order given."""
    with ThreadPoolExecutor(
        8
    ) as pool:  # threads hide a slow disk; decoding itself holds the interpreter's lock
        reasons = pool.map(_problem, paths)
        return {path: reason for path, reason in zip(paths, reasons, strict=True) if reason}


def _problem(path: Path) -> str:
    try:
        with Image.open(path) as image:
            image.draft(
                None, (1, 1)
            )  # a JPEG at an eighth of its size: all its bytes are parsed, in less time
            image.load()
    except Exception as error:  # Pillow raises many kinds on bad files
        return _reason(error)
    return ""


def _reason(error: Exception) -> str:
    """Why a file cannot be read, without its path: Pillow's own text for what it does not know repeats it."""
    return (
        "not a picture of a known kind"
        if isinstance(error, UnidentifiedImageError)
        else describe(error)
    )
