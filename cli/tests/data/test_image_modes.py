"""Every mode of Pillow: the right grey or colour, or a reason why there is none."""

import os
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from vq.data.find_images import FORMATS, SUFFIXES, find_images
from vq.data.image_files import ImageFiles, unreadable
from vqcore.errors import RunError

#: Formats that Pillow opens and that are left out on purpose, see ``FORMATS``.
NOT_IMAGES = {"BUFR", "EPS", "FITS", "GRIB", "HDF5", "IPTC", "MPEG", "WMF"}


def tiff(values, *, photometric=1, bits=None, sample_format=1):
    """A grey TIFF file of one row of values, little-endian, without compression."""
    pixels = values.tobytes()
    width = len(values)
    bits = bits or values.dtype.itemsize * 8
    tags = {256: width, 257: 1, 258: bits, 259: 1, 262: photometric, 273: 8, 277: 1, 278: 1}
    tags |= {279: len(pixels), 339: sample_format}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    start = 8 + len(pixels)
    return (
        struct.pack("<2sHI", b"II", 42, start)
        + pixels
        + struct.pack("<H", len(tags))
        + entries
        + bytes(4)
    )


def png(width, depth, colour, row, transparent):
    """A PNG file of one row, with a transparent colour."""

    def chunk(kind, content):
        checked = kind + content
        return struct.pack(">I", len(content)) + checked + struct.pack(">I", zlib.crc32(checked))

    header = struct.pack(">IIBBBBB", width, 1, depth, colour, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"tRNS", transparent), (b"IDAT", zlib.compress(b"\0" + row))]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*each) for each in [*chunks, (b"IEND", b"")])


U16 = np.array([0, 256, 32768, 65535], np.uint16)
F32 = np.array([0, 0.25, 0.5, 1], np.float32)
PACKED_12 = np.array([0x00, 0x08, 0x00, 0xFF, 0xFF, 0xFF], np.uint8)  # 0, 2048, 4095, 4095


@pytest.mark.parametrize(
    ("name", "content", "greys"),
    [
        ("16 bits", tiff(U16), [0, 1, 128, 255]),
        ("16 bits, white is 0", tiff(U16, photometric=0), [255, 254, 127, 0]),
        ("float", tiff(F32, sample_format=3), [0, 64, 128, 255]),
        ("float, white is 0", tiff(F32, sample_format=3, photometric=0), [255, 191, 127, 0]),
        ("16 bits, one transparent", png(2, 16, 0, b"\0\0\1\0", b"\1\0"), [0, 255]),
        ("2 bits, one transparent", png(4, 2, 0, b"\x1b", b"\0\1"), [0, 255, 170, 255]),
        ("1 bit, one transparent", png(2, 1, 0, b"\0", b"\0\0"), [255, 255]),
        (
            "16 bits of colour, one transparent",
            png(2, 16, 2, b"\1\7" * 3 + b"\x9c\0" * 3, b"\1\7" * 3),
            [255, 156],
        ),
        ("PGM of 12 bits", b"P5 4 1 4095\n\x00\x00\x08\x00\x0f\xff\x0f\xff", [0, 128, 255, 255]),
        ("PGM of 16 bits", b"P5 2 1 65535\n\x80\x00\xff\xff", [128, 255]),
    ],
)
def test_deep_and_transparent_greys(tmp_path, name, content, greys):
    path = tmp_path / "a.tif"
    path.write_bytes(content)
    assert unreadable([path]) == {}
    image = ImageFiles([path], (3, 1, len(greys)))[0]
    assert image[0, 0].tolist() == greys
    assert (image == image[:1]).all()


def test_12_bits_are_scaled_by_their_white(tmp_path):
    wide = np.tile(PACKED_12, 2)[:9]
    content = bytearray(tiff(wide, bits=12))
    content[content.index(struct.pack("<HHI", 256, 4, 1)) + 8] = 6  # pixels, not bytes
    (tmp_path / "a.tif").write_bytes(content)
    image = ImageFiles([tmp_path / "a.tif"], (1, 1, 6))[0]
    assert image[0, 0].tolist() == [0, 128, 255, 255, 0, 128]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (tiff(F32 * 3, sample_format=3), "floats from 0 to 3, not 0 to 1: which values are black"),
        (tiff(F32 - 1, sample_format=3), "floats from -1 to 0"),
        (tiff(F32 * np.nan, sample_format=3), "floats from nan to nan"),
        (tiff(np.arange(4, dtype=np.uint32)), "32-bit or signed integers: which values are black"),
        (tiff(np.arange(4, dtype=np.int32), sample_format=2), "32-bit or signed integers"),
        (tiff(np.arange(4, dtype=np.int16), sample_format=2), "32-bit or signed integers"),
        (tiff(np.arange(4, dtype=np.int8), sample_format=2), "signed integers"),
        (tiff(np.arange(4, dtype=np.float64), sample_format=3), "not an image of a known format"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image of a known format"),
    ],
)
def test_values_without_a_known_white_are_left_out_with_the_reason(tmp_path, content, reason):
    path = tmp_path / "a.png"  # content decides, not the suffix
    path.write_bytes(content)
    assert unreadable([path])[path].startswith(reason)
    with pytest.raises(RunError, match=r"a\.png cannot be read: " + reason):
        ImageFiles([path], (3, 1, 4))[0]


@pytest.mark.parametrize(
    ("mode", "name", "slack"),
    [
        ("CMYK", "a.tif", 0),
        ("CMYK", "a.jpg", 2),
        ("YCbCr", "a.tif", 3),
        ("LAB", "a.tif", 9),
        ("RGBX", "a.tif", 0),
        ("RGBA", "a.avif", 2),
        ("RGB", "a.jfif", 2),
        ("RGB", "a.jp2", 0),
        ("RGB", "a.tga", 0),
        ("RGB", "a.qoi", 0),
    ],
)
def test_other_colours_become_rgb(tmp_path, mode, name, slack):
    image = Image.new("RGB", (8, 8), (10, 200, 30)).convert(mode)
    try:
        image.save(tmp_path / name)
        Image.open(tmp_path / name).load()
    except (OSError, KeyError, ValueError):
        pytest.skip("an older Pillow writes or reads no such file")
    (path,) = (tmp_path / name for name in find_images(tmp_path).images)
    found = ImageFiles([path], (3, 8, 8))[0][:, 0, 0].tolist()
    assert max(abs(a - b) for a, b in zip(found, (10, 200, 30), strict=True)) <= slack


def test_premultiplied_grey(tmp_path):
    Image.new("LA", (8, 8), (0, 0)).save(tmp_path / "a.tif")
    content = (tmp_path / "a.tif").read_bytes()
    straight, premultiplied = (struct.pack("<HHIHH", 338, 3, 1, kind, 0) for kind in (2, 1))
    (tmp_path / "a.tif").write_bytes(content.replace(straight, premultiplied))
    if unreadable([tmp_path / "a.tif"]):
        pytest.skip("an older Pillow reads no premultiplied grey")
    with Image.open(tmp_path / "a.tif") as image:
        assert image.mode == "La"
    assert (ImageFiles([tmp_path / "a.tif"], (3, 8, 8))[0] == 255).all()


def test_every_suffix_of_pillow_is_found_or_left_out_on_purpose():
    known = Image.registered_extensions()
    readable = {suffix for suffix, kind in known.items() if kind in Image.OPEN or kind == "MPO"}
    missing = {suffix: known[suffix] for suffix in readable - SUFFIXES}
    assert set(missing.values()) <= NOT_IMAGES
    assert not NOT_IMAGES & set(FORMATS)


def test_other_files_are_counted(tmp_path):
    for name in ("a.png", "b.HEIC", "c.heic", "notes", ".hidden", "d.jfif"):
        (tmp_path / name).touch()
    found = find_images(tmp_path)
    assert found.images == ["a.png", "d.jfif"]
    assert found.others == {".heic": 2, "": 1}
    assert found.beside() == " beside files of other suffixes (2 .heic, 1 without one)"


def test_what_is_no_readable_file_is_counted_and_waited_for_by_nobody(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere.png")
    (tmp_path / "round.png").symlink_to(tmp_path / "round.png")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "folder.png" / "a.png").touch()
    found = find_images(tmp_path).images
    reasons = unreadable(found, tmp_path)
    assert reasons == {
        "folder.png/a.png": "not an image of a known format",
        "gone.png": "No such file or directory",
        "pipe.png": "not a regular file",
        "round.png": "Too many levels of symbolic links",
    }


def test_a_huge_image_is_refused_before_it_is_decoded(tmp_path, recwarn):
    (tmp_path / "a.png").write_bytes(b"P5 20000 20000 255\n")
    assert unreadable([tmp_path / "a.png"]) == {tmp_path / "a.png": "more than 178,956,970 pixels"}
    assert not recwarn
