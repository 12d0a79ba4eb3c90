"""BMP is read exactly; the indices of an indexed mask are kept, whatever its palette."""

import struct

import cv2
import numpy as np
import pytest

from unet_jax.data.datasets.formats import bmp
from unet_jax.errors import UserError

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (12, 11)).astype(np.uint8)
RGB = RNG.integers(0, 256, (12, 11, 3)).astype(np.uint8)
COLOURS = np.array([[9, 9, 9], [200, 0, 0], [0, 200, 0], [0, 0, 200]], np.uint8)


def indexed(ids, bits, colours, *, core=False, top_down=False):
    """Returns the bytes of an indexed BMP; `core` is the header of OS/2, with three bytes a colour."""
    height, width = ids.shape
    rows = b""
    for row in ids if top_down else ids[::-1]:
        text = "".join(format(int(value), f"0{bits}b") for value in row)
        text = text.ljust(-(-len(text) // 32) * 32, "0")
        rows += int(text, 2).to_bytes(len(text) // 8)
    table = b"".join(bytes(colour[::-1]) + b"\0" * (not core) for colour in np.asarray(colours, np.uint8))
    if core:
        header = struct.pack("<IHHHH", 12, width, height, 1, bits)
    else:
        height = -height if top_down else height
        header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, 0, len(rows), 0, 0, len(colours), 0)
    start = 14 + len(header) + len(table)
    return b"BM" + struct.pack("<IHHI", start + len(rows), 0, 0, start) + header + table + rows


def ramp(count, step=1):
    return np.repeat(np.arange(count)[:, None] * step, 3, -1)


@pytest.mark.parametrize("bits", [1, 4, 8])
def test_indices_are_kept_whatever_the_palette(bits):
    count = 2**bits
    ids = RNG.integers(0, min(count, 4), (12, 11)).astype(np.uint8)
    step = 255 // (count - 1)
    palettes = [ramp(count, step), ramp(count, step)[::-1], ramp(count), COLOURS[: min(count, 4)]]
    for colours in palettes:
        for options in ({}, {"top_down": True}):
            data = indexed(ids, bits, colours, **options)
            got = bmp.read_labels("a.bmp", data)
            np.testing.assert_array_equal(got.values, ids)
            if (colours == ramp(len(colours))).all():
                assert got.colours is None
            else:
                np.testing.assert_array_equal(got.colours, colours)
            image = bmp.read_image("a.bmp", data)
            np.testing.assert_array_equal(image, np.asarray(colours)[ids][..., : image.shape[-1]])
    core = indexed(ids, bits, np.resize(COLOURS, (count, 3)), core=True)
    np.testing.assert_array_equal(bmp.read_labels("a.bmp", core).values, ids)


def test_grey_and_colours_are_read_exactly():
    for array in (GREY, RGB, np.dstack([RGB, GREY])):
        order = array[..., [2, 1, 0, 3][: array.shape[-1]]] if array.ndim == 3 else array
        data = cv2.imencode(".bmp", order)[1].tobytes()
        want = array[..., :3] if array.ndim == 3 else array
        np.testing.assert_array_equal(bmp.read_image("a.bmp", data).squeeze(), want)
        got = bmp.read_labels("a.bmp", data)
        np.testing.assert_array_equal(got.values.squeeze(), want)
        assert got.colours is None


def packed(bits, colour_bits, header, pixel):
    """Returns the bytes of a BMP of one pixel whose colours lie at other places than usual."""
    fields = struct.pack("<IIII", *colour_bits, 0)
    about = struct.pack("<IiiHHIIiiII", header, 1, 1, 1, bits, 3, 4, 0, 0, 0, 0)
    about += fields.ljust(header - 40, b"\0") if header > 40 else fields[:12]
    start = 14 + len(about)
    return b"BM" + struct.pack("<IHHI", start + 4, 0, 0, start) + about + pixel.to_bytes(4, "little")


@pytest.mark.parametrize("read", [bmp.read_image, lambda *file: bmp.read_labels(*file).values])
def test_colours_in_another_order_are_read_rightly_or_refused(read):
    usual, other = (0xFF0000, 0xFF00, 0xFF), (0xFF, 0xFF00, 0xFF0000)
    for header in (40, 52, 56, 108, 124):
        assert read("a.bmp", packed(32, usual, header, 0x010203)).tolist() == [[[1, 2, 3]]]
        if header >= 56:
            assert read("a.bmp", packed(32, other, header, 0x030201)).tolist() == [[[1, 2, 3]]]
        else:
            with pytest.raises(UserError, match=r"a\.bmp: .*unusual order in a pixel; save"):
                read("a.bmp", packed(32, other, header, 0x030201))
    with pytest.raises(UserError, match=r"a\.bmp: .*16 bits per pixel; save"):
        read("a.bmp", packed(16, (0xF800, 0x7E0, 0x1F), 40, 0xFFFF))


def test_the_size_is_checked_before_decoding():
    data = bytearray(indexed(GREY % 2, 1, ramp(2, 255)))
    struct.pack_into("<ii", data, 18, 33_000, -33_000)
    for read in (bmp.read_image, bmp.read_labels):
        with pytest.raises(UserError, match=r"a\.bmp: .*33000 x 33000.*split"):
            read("a.bmp", bytes(data))


def test_a_file_cut_short_is_an_error():
    data = indexed(GREY, 8, ramp(256))
    for read in (bmp.read_image, bmp.read_labels):
        for length in (10, 30, 60, len(data) - 40):
            with pytest.raises(Exception, match=r"."):
                read("a.bmp", data[:length])


def runs(content, ids):
    """Returns an 8-bit BMP of run lengths."""
    data = bytearray(indexed(ids, 8, COLOURS))
    struct.pack_into("<I", data, 30, 1)
    return bytes(data[: struct.unpack_from("<I", data, 10)[0]]) + content


def test_run_lengths_are_read_exactly_and_none_may_be_missing():
    ids = np.array([[1, 1, 2], [3, 0, 1]], np.uint8)
    # Three pixels one by one and a byte to fill up; the end of the row; two runs; the end of the picture.
    parts = [b"\0\3\3\0\1\0", b"\0\0", b"\2\1\1\2", b"\0\1"]
    data = runs(b"".join(parts), ids)
    np.testing.assert_array_equal(bmp.read_labels("a.bmp", data).values, ids)
    np.testing.assert_array_equal(bmp.read_image("a.bmp", data), COLOURS[ids])
    with_last_row_end = runs(b"".join([*parts[:3], b"\0\0", parts[3]]), ids)
    np.testing.assert_array_equal(bmp.read_labels("a.bmp", with_last_row_end).values, ids)
    damaged = [
        (b"".join(parts[:3]), IndexError, "out of range"),
        (b"".join([*parts[:2], b"\0\1"]), ValueError, "1 of 2 rows"),
        (b"".join([*parts[:2], b"\2\1\0\1"]), ValueError, "2 of 3 pixels"),
        (b"".join([*parts[:2], b"\0\2\1\0", *parts[2:]]), ValueError, "leave pixels out"),
    ]
    for content, error, says in damaged:
        for read in (bmp.read_image, bmp.read_labels):
            with pytest.raises(error, match=says):
                read("a.bmp", runs(content, ids))


def test_a_header_of_an_impossible_size_is_an_error():
    data = bytearray(indexed(GREY % 2, 1, ramp(2, 255)))
    struct.pack_into("<I", data, 14, 41)
    with pytest.raises(ValueError, match="41 bytes"):
        bmp.read_image("a.bmp", bytes(data))
