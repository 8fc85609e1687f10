"""The font of text in images."""

from __future__ import annotations

import contextlib
from functools import cache

from PIL import ImageFont

#: Fonts with the letters of many languages, in the order of preference.
FONTS = ("DejaVuSans.ttf", "Arial Unicode.ttf", "Arial.ttf", "arial.ttf")


def font_for(text: str, size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's own font, the same on every machine; for other letters than ASCII's, one of it."""
    return _font(size, text.isascii())


@cache
def _font(size: int, ascii_only: bool) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    for name in () if ascii_only else FONTS:
        with contextlib.suppress(OSError):
            return ImageFont.truetype(name, size)
    return ImageFont.load_default(size)
