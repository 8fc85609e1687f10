"""Finding image files below a folder, by their suffix."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection
from contextlib import suppress
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
        images: paths below the folder, with slashes, of files with the suffix of an image; sorted.
        others: the number of other files, by suffix in lower case.
    """

    images: list[str]
    others: dict[str, int]

    def beside(self) -> str:
        """The other files in words; empty without any."""
        kinds = [f"{count} {suffix or 'without one'}" for suffix, count in self.others.items()]
        listed = ", ".join(kinds[:10]) + (", ..." if len(kinds) > 10 else "")
        return f" beside files of other suffixes ({listed})" if kinds else ""


def find_images(root: Path) -> Found:
    """All image files below a folder; see ``find_files``."""
    return Found(*find_files(root, SUFFIXES))


def find_files(root: Path, suffixes: Collection[str]) -> tuple[list[str], dict[str, int]]:
    """The files below a folder with one of these suffixes, and the number of others by suffix.

    Files are relative paths with slashes, sorted; suffixes are in lower case. Hidden files and
    folders are left out. Each folder is listed once, and no file is touched. Symbolic links are
    followed; each real folder is visited once.

    Raises:
        OSError: if a folder cannot be listed.
    """
    found: list[str] = []
    others: Counter[str] = Counter()
    visited: set[str] = set()
    waiting = [""]
    while waiting:
        below = waiting.pop()
        folder = os.path.join(root, below)
        real = os.path.realpath(folder)
        if real in visited:
            continue
        visited.add(real)
        folders = []
        with os.scandir(folder) as entries:
            for entry in entries:
                name = entry.name
                if name.startswith("."):
                    continue
                suffix = os.path.splitext(name)[1].lower()
                if _is_folder(entry):
                    folders.append(f"{below}{name}/")
                elif suffix in suffixes:
                    found.append(below + name)
                else:
                    others[suffix] += 1
        waiting += sorted(folders, reverse=True)
    found.sort()
    return found, dict(others.most_common())


def _is_folder(entry: os.DirEntry[str]) -> bool:
    with suppress(OSError):  # a link to itself
        return entry.is_dir()
    return False
