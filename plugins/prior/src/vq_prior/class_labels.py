"""The names of classes above the images of a grid."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence

from PIL import Image, ImageDraw

from vq.data.font import font_for
from vqcore.errors import printable, shortened

#: Pixels: of the letters, and between a name and what is around it.
_SIZE, _MARGIN = 12, 3
_LONGEST = 24


def with_labels(grid: bytes, names: Sequence[str], columns: int, padding: int) -> bytes:
    """A PNG of images in rows of ``columns``, with a name for each image above it.

    Where all images of a column have the same name, it stands above the column once. A row of names
    of which one is too wide stands upright.
    """
    picture = Image.open(io.BytesIO(grid))
    columns = min(columns, len(names))
    rows = [names[start : start + columns] for start in range(0, len(names), columns)]
    height = (picture.height - padding) // len(rows)
    alike = all(row == rows[0][: len(row)] for row in rows)
    labelled = [_strip(row, picture, columns) for row in (rows[:1] if alike else rows)]
    made = Image.new(
        picture.mode, (picture.width, picture.height + sum(s.height for s in labelled))
    )
    y = 0
    for number in range(len(rows)):
        if number < len(labelled):
            made.paste(labelled[number], (0, y))
            y += labelled[number].height
        top = number * height
        made.paste(picture.crop((0, top, picture.width, top + height + padding)), (0, y))
        y += height
    file = io.BytesIO()
    made.save(file, "PNG")
    return file.getvalue()


def _strip(names: Sequence[str], picture: Image.Image, columns: int) -> Image.Image:
    """One line of names, a column each, in black on white."""
    texts = [shortened(printable(name), _LONGEST) for name in names]
    font = font_for("".join(texts), _SIZE)
    width = picture.width // columns
    widest = max(math.ceil(font.getlength(text)) for text in texts)
    upright = widest > width - _MARGIN
    size = (widest if upright else width, _SIZE + _MARGIN)
    height = (widest if upright else _SIZE) + 2 * _MARGIN
    strip = Image.new(picture.mode, (picture.width, height), "white")
    for column, text in enumerate(texts):
        label = Image.new(picture.mode, size, "white")
        place, anchor = ((0, size[1] // 2), "lm") if upright else ((width // 2, size[1] // 2), "mm")
        ImageDraw.Draw(label).text(place, text, "black", font, anchor)
        if upright:
            label = label.transpose(Image.Transpose.ROTATE_90)
        left = column * width + (width - label.width) // 2
        strip.paste(label, (left, height - label.height - _MARGIN * upright))
    return strip
