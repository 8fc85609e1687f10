"""Images as the bytes of a file, from an archive or a table, as uint8 tensors of one shape."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence

from PIL import Image, UnidentifiedImageError
from torch import Tensor

from vq.data.find_images import FORMATS
from vq.data.image_files import cut
from vq.data.image_modes import to_rgb
from vqcore.data.crop import Crop
from vqcore.errors import RunError, VQError, describe_error


def decoded(
    content: bytes,
    shape: tuple[int, ...],
    name: str,
    crop: Crop,
    draws: Sequence[float] | None = None,
) -> Tensor:
    """The bytes of an image file as uint8 ``shape`` (3, H, W), read as ``ImageFiles`` reads files.

    Raises:
        RunError: if they cannot be read, with ``name``.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's, which name no file
            Image.init()
            formats = [known for known in FORMATS if known in Image.OPEN]
            with Image.open(io.BytesIO(content), formats=formats) as image:
                return cut(to_rgb(image), shape[1:], crop, draws)
    except Exception as error:  # Pillow raises many kinds on bad files
        reason = str(error) if isinstance(error, VQError) else describe_error(error)
        if isinstance(error, UnidentifiedImageError):
            reason = "not an image of a known format"
        raise RunError(f"{name} cannot be read: {reason}") from error
