"""Finding image files below a folder, by their suffix."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

#: Formats that Pillow decodes by itself, in the order in which it tries them, with their suffixes.
#: The list is fixed, so that a folder gives the same splits with any version of Pillow. Left out on
#: purpose: documents (.eps, .ps, .emf, .wmf), which Pillow hands to other programs; measurements
#: (.fits, .hdf, .grib, .bufr), which have no white; and films.
FORMATS = {
    "BMP": ".bmp",
    "DIB": ".dib",
    "GIF": ".gif",
    "JPEG": ".jpg .jpeg .jpe .jfif .mpo",
    "PPM": ".ppm .pgm .pbm .pnm .pfm",
    "PNG": ".png .apng",
    "AVIF": ".avif .avifs",
    "BLP": ".blp",
    "CUR": ".cur",
    "DCX": ".dcx",
    "DDS": ".dds",
    "FLI": ".flc .fli",
    "FTEX": ".ftc .ftu",
    "GBR": ".gbr",
    "ICNS": ".icns",
    "ICO": ".ico",
    "IM": ".im",
    "JPEG2000": ".jp2 .j2k .jpc .jpf .jpx .j2c",
    "MSP": ".msp",
    "PCD": ".pcd",
    "PCX": ".pcx",
    "PIXAR": ".pxr",
    "PSD": ".psd",
    "QOI": ".qoi",
    "SGI": ".sgi .rgb .rgba .bw",
    "SUN": ".ras",
    "TGA": ".tga .icb .vda .vst",
    "TIFF": ".tif .tiff",
    "WEBP": ".webp",
    "XBM": ".xbm",
    "XPM": ".xpm",
}
#: Suffixes, in lower case.
SUFFIXES = frozenset(suffix for suffixes in FORMATS.values() for suffix in suffixes.split())
#: The common ones, to show in messages.
KINDS = "png, jpg, webp, gif, bmp, tif, avif, jp2 and others"


@dataclass(frozen=True)
class Found:
    """What is below a folder.

    Attributes:
        images: files with the suffix of an image, sorted by relative path.
        others: the number of other files, by suffix in lower case.
    """

    images: list[Path]
    others: dict[str, int]

    def beside(self) -> str:
        """The other files in words; empty without any."""
        kinds = [f"{count} {suffix or 'without one'}" for suffix, count in self.others.items()]
        listed = ", ".join(kinds[:10]) + (", ..." if len(kinds) > 10 else "")
        return f" beside files of other suffixes ({listed})" if kinds else ""


def find_images(root: Path) -> Found:
    """All image files below a folder, without hidden files and folders; others are counted.

    Symbolic links are followed; each real folder is visited once.

    Raises:
        OSError: if a folder cannot be listed.
    """
    images: list[Path] = []
    others: Counter[str] = Counter()
    visited: set[str] = set()
    for folder, folders, files in os.walk(root, followlinks=True, onerror=_raise):
        real = os.path.realpath(folder)
        if real in visited:
            folders.clear()
            continue
        visited.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for path in (Path(folder) / name for name in files if not name.startswith(".")):
            suffix = path.suffix.lower()
            if suffix in SUFFIXES:
                images.append(path)
            else:
                others[suffix] += 1
    images.sort(key=lambda path: path.relative_to(root).as_posix())
    return Found(images, dict(others.most_common()))


def _raise(error: OSError) -> None:
    raise error
