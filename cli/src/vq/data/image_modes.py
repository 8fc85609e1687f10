"""Images of any of Pillow's modes as 8-bit RGB, or the reason why there is no right way."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from vqcore.errors import RunError

#: TIFF's numbers for how values are stored.
_BITS, _PHOTOMETRIC, _SAMPLE_FORMAT = 258, 262, 339
_WHITE_IS_ZERO, _SIGNED = 0, 2
#: By Pillow's raw mode: the factor from the depth of a PNG's transparent colour to 8 bits, which
#: Pillow does not apply.
_TO_BYTES = {"L;2": 85.0, "L;4": 17.0, "RGB;16B": 1 / 256}


def to_rgb(image: Image.Image) -> Image.Image:
    """An image that is not loaded yet as RGB: rotated as its EXIF tag says, on white.

    16 bits become 8 by dropping the lower ones, as Pillow does for colour, and floats from 0 to 1
    are multiplied by 255.

    Raises:
        RunError: for values whose black and white are unknown: other floats, 32-bit and signed
            integers.
    """
    tags: Mapping[int, Any] = getattr(image, "tag_v2", {})
    file_format = image.format
    factor = next((_TO_BYTES.get(str(tile.args)) for tile in getattr(image, "tile", ())), None)
    image = ImageOps.exif_transpose(image)
    if image.mode == "F" or image.mode.startswith("I"):
        image = _eight_bits(image, tags, file_format)
    elif _SIGNED in tags.get(_SAMPLE_FORMAT, ()):
        raise _unknown("signed integers")
    if factor and (colour := image.info.get("transparency")) is not None:
        scaled = tuple(int(factor * value) for value in np.atleast_1d(colour))
        image.info["transparency"] = scaled if len(scaled) > 1 else scaled[0]
    if image.has_transparency_data:
        image = image.convert("LA") if image.mode == "La" else image
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def _eight_bits(
    image: Image.Image, tags: Mapping[int, Any], file_format: str | None
) -> Image.Image:
    """A grey image of more than 8 bits a pixel as mode L; Pillow's own conversion clips at 255."""
    values = np.asarray(image)
    if image.mode == "F":
        low, high = float(values.min()), float(values.max())
        if not (low >= 0 and high <= 1):
            raise _unknown(f"floats from {low:g} to {high:g}, not 0 to 1")
        grey = np.rint(values * 255)
    elif image.mode == "I" and file_format != "PPM":  # Pillow scales PPM's values to 16 bits
        raise _unknown("32-bit or signed integers")
    else:
        grey = values >> (max(tags.get(_BITS, (16,))) - 8)
    grey = grey.astype(np.uint8)
    if (transparent := image.info.get("transparency")) is not None:
        grey[values == transparent] = 255
    if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
        grey = 255 - grey
    return Image.fromarray(grey)


def _unknown(found: str) -> RunError:
    return RunError(f"{found}: which values are black and white is unknown; convert to 8 bits")
