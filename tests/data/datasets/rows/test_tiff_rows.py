"""A TIFF that is read in bands has the pixels, and the faults, of one that is read whole."""

import io
import itertools
import os

import numpy as np
import pytest
import tifffile

from unet_jax.data.datasets import image_files
from unet_jax.data.datasets.formats import tiff
from unet_jax.data.datasets.image_rows import bands
from unet_jax.data.datasets.image_sources import open_rows
from unet_jax.data.datasets.reading import Reading
from unet_jax.data.datasets.rows import tiff_rows
from unet_jax.errors import UserError

RNG = np.random.default_rng(0)
GREY16 = RNG.integers(0, 65536, (37, 45)).astype(np.uint16)
GREY8 = (GREY16 >> 8).astype(np.uint8)
RGB8 = RNG.integers(0, 256, (37, 45, 3)).astype(np.uint8)
RGBA8 = np.dstack([RGB8, GREY8])
PLANES = {"photometric": "rgb", "planarconfig": "separate"}

KINDS = {
    "grey8": (GREY8, {}),
    "grey16": (GREY16, {}),
    "rgb8": (RGB8, {}),
    "planes": (np.moveaxis(RGB8, -1, 0), PLANES),
    "white is 0": (GREY16, {"photometric": "miniswhite"}),
    "1 bit": (GREY8 > 99, {}),
    "4 bits": (GREY8 >> 4, {"bitspersample": 4}),
    "alpha": (RGBA8, {"photometric": "rgb", "extrasamples": ["unassalpha"]}),
    "alpha in planes": (np.moveaxis(RGBA8, -1, 0), PLANES | {"extrasamples": ["unassalpha"], "metadata": None}),
    "12 bits": (GREY16 >> 4, {"bitspersample": 12}),
    "7 channels": (
        np.stack([GREY16 * (channel + 1) for channel in range(7)], -1).astype(np.float32),
        {"photometric": "minisblack", "planarconfig": "contig"},
    ),
    "signed": (GREY16.astype(np.int16), {}),
    "stack of channels": (
        RNG.integers(0, 2**32, (3, 2, 37, 45), np.uint32),
        {"photometric": "minisblack", "metadata": {"axes": "ZCYX"}},
    ),
    "channels of a stack": (
        RNG.random((3, 2, 37, 45), np.float32),
        {"photometric": "minisblack", "metadata": {"axes": "CTYX"}},
    ),
    "OME": (RNG.random((3, 2, 37, 45)), {"photometric": "minisblack", "ome": True, "metadata": {"axes": "ZCYX"}}),
    "ImageJ": (np.stack([GREY16, GREY16[::-1], GREY16 // 2]), {"imagej": True, "metadata": {"axes": "ZYX"}}),
    "volume": (
        np.stack([GREY16, GREY16[::-1], GREY16 // 2]),
        {"volumetric": True, "photometric": "minisblack", "metadata": {"axes": "ZYX"}},
    ),
    "colours in a stack": (np.stack([RGB8, RGB8[::-1]]), {"photometric": "rgb"}),
}
PAGES = {"stack of channels": 3, "channels of a stack": 2, "OME": 3, "ImageJ": 3, "volume": 3, "colours in a stack": 2}
LAYOUTS = [{}, {"tile": (32, 16)}, {"rowsperstrip": 5}, {"bigtiff": True, "byteorder": ">"}]
CODERS = [{}, {"compression": "lzw"}, {"compression": "zlib"}, {"compression": "zlib", "predictor": True}]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a.tif"


def read_in_bands(path, band_rows=7):
    (picture,) = open_rows(path)
    assert picture.suffix == ""
    pixels = np.concatenate(list(bands(picture.rows, band_rows)))
    assert pixels.shape == picture.rows.shape
    assert pixels.dtype == picture.rows.dtype
    return pixels


@pytest.mark.parametrize("kind", KINDS)
def test_bands_have_the_pixels_of_the_whole(path, kind):
    array, options = KINDS[kind]
    written = 0
    for layout, coder in itertools.product(LAYOUTS, CODERS):
        # tifffile does not write these.
        if (kind == "1 bit" and coder.get("predictor")) or (kind.endswith(" bits") and coder):
            continue
        if (
            (kind == "12 bits" and layout)
            or (kind == "ImageJ" and "bigtiff" in layout)
            or (kind == "volume" and "tile" in layout)
        ):
            continue
        tifffile.imwrite(path, array, **options, **layout, **coder)
        written += 1
        whole = image_files.open_pictures(path)
        assert whole.count == PAGES.get(kind, 1)
        pictures = open_rows(path)
        assert len(pictures) == whole.count
        for page, band_rows in itertools.product(range(whole.count), (7, 32)):
            rows = pictures[page].rows
            pixels = np.concatenate(list(bands(rows, band_rows)))
            assert (pixels.shape, pixels.dtype) == (rows.shape, rows.dtype)
            expected = whole.read(page)
            assert pixels.dtype == expected.dtype
            np.testing.assert_array_equal(pixels, expected, err_msg=f"{layout} {coder} {page}")
    assert written >= (1 if kind == "12 bits" else len(LAYOUTS) - 1)


@pytest.mark.parametrize("options", [{"tile": (256, 256), "compression": "zlib"}, {"rowsperstrip": 100}, {}])
def test_only_the_bytes_of_the_rows_are_read(path, monkeypatch, options):
    image = RNG.integers(0, 256, (3000, 500)).astype(np.uint8)
    tifffile.imwrite(path, image, photometric="minisblack", **options)
    (picture,) = open_rows(path)
    counts = []
    read = tiff_rows._read
    monkeypatch.setattr(tiff_rows, "_read", lambda file, start, count: counts.append(count) or read(file, start, count))
    np.testing.assert_array_equal(picture.rows.read(1500, 1501)[..., 0], image[1500:1501])
    assert 0 < sum(counts) < path.stat().st_size / 1.4
    counts.clear()
    np.testing.assert_array_equal(np.concatenate(list(bands(picture.rows, 64)))[..., 0], image)
    assert sum(counts) <= path.stat().st_size


def test_an_image_of_more_pixels_than_are_read_whole(path, monkeypatch):
    """The rows of a tile must fit, and not the image."""
    monkeypatch.setattr(tiff_rows.declared, "MOST_PIXELS", 1024)
    tifffile.imwrite(path, GREY8, tile=(16, 16), compression="zlib")
    with pytest.raises(UserError, match="too large"):
        image_files.read_image(path)
    np.testing.assert_array_equal(read_in_bands(path)[..., 0], GREY8)
    tifffile.imwrite(path, GREY8, compression="zlib", rowsperstrip=37)
    with pytest.raises(UserError, match="too large"):
        open_rows(path)


def test_pages_of_a_stack_are_opened_one_by_one(path):
    stack = RNG.integers(0, 256, (3, 37, 45)).astype(np.uint8)
    small = {"photometric": "minisblack", "metadata": None}
    with tifffile.TiffWriter(path) as writer:
        for page in stack:
            writer.write(page, compression="zlib", tile=(16, 16), **small)
        writer.write(stack[0, ::2, ::2], subfiletype=1, **small)
    pictures = open_rows(path)
    assert [picture.suffix for picture in pictures] == ["_p000", "_p001", "_p002"]
    for picture, page in zip(pictures, stack, strict=True):
        np.testing.assert_array_equal(np.concatenate(list(bands(picture.rows, 10)))[..., 0], page)
    with pytest.raises(UserError, match="3 pages"):
        image_files.read_image(path)


def test_pages_that_are_stored_as_one(path):
    stack = np.stack([GREY16, GREY16[::-1]])
    for options in ({"photometric": "minisblack", "truncate": True}, {"imagej": True, "truncate": True}):
        tifffile.imwrite(path, stack, metadata={"axes": "ZYX"}, **options)
        with tifffile.TiffFile(path) as tif:
            assert len(tif.pages) == 1
        pictures = open_rows(path)
        for picture, page in zip(pictures, stack, strict=True):
            np.testing.assert_array_equal(picture.rows.read(5, 30)[..., 0], page[5:30])
    # Three slices that tifffile stores as red, green and blue.
    slices = np.stack([GREY8, GREY8[::-1], GREY8 // 2])
    for options, how in (({"metadata": {"axes": "ZYX"}}, Reading()), ({}, Reading("ZYX"))):
        tifffile.imwrite(path, slices, **options, **PLANES)
        for picture, page in zip(open_rows(path, how), slices, strict=True):
            np.testing.assert_array_equal(picture.rows.read(5, 30)[..., 0], page[5:30])


def test_a_page_of_a_stack_is_checked_as_a_single_one(path):
    with tifffile.TiffWriter(path) as writer:
        writer.write(GREY8, metadata=None)
        writer.write(np.zeros((9, 8), np.float32), metadata=None)
    with pytest.raises(UserError, match="2 series of pages that differ"):
        open_rows(path)


def test_channels_are_chosen(path):
    tifffile.imwrite(path, RGB8)
    (picture,) = open_rows(path, Reading(channels=(2, 0)))
    assert picture.rows.shape == (37, 45, 2)
    np.testing.assert_array_equal(picture.rows.read(3, 9), RGB8[3:9, :, [2, 0]])


def assert_same_error(path, data):
    """Asserts that the file has the same error in bands as it has whole."""
    path.write_bytes(data)
    with pytest.raises(UserError) as whole:
        image_files.read_image(path)
    with pytest.raises(UserError) as parts:
        read_in_bands(path)
    # A single picture with the remedy of its reader.
    assert str(parts.value).split(";")[0] == str(whole.value).split(";")[0]


def written(array, **options):
    file = io.BytesIO()
    tifffile.imwrite(file, array, **options)
    return file.getvalue()


def test_what_is_refused_whole_is_refused_in_parts(path):
    alpha = {"photometric": "rgb", "tile": (16, 16), "compression": "zlib"}
    for data in (
        written(GREY8.astype(np.complex64)),
        written(GREY16, photometric=32803),
        written(GREY16[..., None][..., [0, 0, 0]].transpose(2, 0, 1), **PLANES),
        written(GREY8, extratags=[(274, 3, 1, 6, True)]),
        written(np.zeros((9, 8, 4), np.uint8), photometric="separated", planarconfig="contig"),
        written(GREY8, photometric="palette", colormap=np.arange(768, dtype=np.uint16).reshape(3, 256)),
        written(RGBA8, extrasamples=["assocalpha"], **alpha),
        written(np.dstack([np.zeros_like(RGB8), GREY8]), extrasamples=["unassalpha"], **alpha),
    ):
        assert_same_error(path, data)


def test_opaque_premultiplied_alpha_is_dropped(path):
    opaque = np.dstack([RGB8, np.full_like(GREY8, 255)])
    tifffile.imwrite(path, opaque, photometric="rgb", extrasamples=["assocalpha"], tile=(16, 16))
    np.testing.assert_array_equal(read_in_bands(path), RGB8)


@pytest.mark.parametrize("coder", ["lzw", "zlib", "jpeg", "lzma"])
def test_damage_is_found_when_its_rows_are_read(path, coder):
    smooth = np.add.outer(np.arange(64), np.arange(64)).astype(np.uint8)
    data = written(smooth, compression=coder, rowsperstrip=32)
    with tifffile.TiffFile(io.BytesIO(data)) as tif:
        start, count = tif.pages[0].dataoffsets[1], tif.pages[0].databytecounts[1]
    middle = start + count // 2
    path.write_bytes(data[:middle] + bytes(max(8, count // 10)) + data[middle + max(8, count // 10) :])
    (picture,) = open_rows(path)
    assert picture.rows.read(0, 32).shape == (32, 64, 1)
    with pytest.raises(UserError, match=r"a\.tif: cannot be read as an image"):
        picture.rows.read(32, 33)


def test_a_strip_that_holds_too_much_is_an_error(path):
    """tifffile cuts it off."""
    tifffile.imwrite(path, np.zeros((40, 45), np.uint8), compression="lzw", rowsperstrip=40)
    with tifffile.TiffFile(path, mode="r+b") as tif:
        for tag in ("ImageLength", "RowsPerStrip"):
            tif.pages[0].tags[tag].overwrite(20)
    (picture,) = open_rows(path)
    with pytest.raises(UserError, match="damaged"):
        picture.rows.read(0, 1)


def test_a_file_that_is_cut_short_is_an_error(path):
    data = written(GREY16, bigtiff=True)
    path.write_bytes(data[:-50])
    (picture,) = open_rows(path)
    with pytest.raises(UserError, match="cut short"):
        picture.rows.read(30, 37)


def test_missing_tiles_are_found_at_once(path):
    tifffile.imwrite(path, GREY8, tile=(16, 16), compression="zlib")
    with tifffile.TiffFile(path, mode="r+b") as tif:
        counts = tif.pages[0].databytecounts
        tif.pages[0].tags["TileByteCounts"].overwrite((0, *counts[1:]))
    with pytest.raises(UserError, match="1 of 9 strips or tiles are missing"):
        open_rows(path)


@pytest.mark.parametrize("change", ["content", "time", "another file", "gone"])
def test_a_file_that_changes_is_an_error(path, change):
    tifffile.imwrite(path, GREY8, tile=(16, 16), compression="zlib")
    (picture,) = open_rows(path)
    picture.rows.read(0, 16)
    if change == "content":
        path.write_bytes(path.read_bytes() + b"\0")
    elif change == "time":
        os.utime(path, ns=(0, 0))
    elif change == "another file":
        copy = path.with_name("copy")
        copy.write_bytes(path.read_bytes())
        os.utime(copy, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns))
        copy.replace(path)
    else:
        path.unlink()
    with pytest.raises(UserError, match=r"a\.tif: changed while it was read"):
        picture.rows.read(16, 32)


def test_a_layout_that_is_decoded_as_a_whole(path, monkeypatch):
    tifffile.imwrite(path, GREY8, compression="jpeg", tile=(16, 16))
    whole = image_files.read_image(path)
    decoded = []
    decode_page = tiff.decode_page
    monkeypatch.setattr(tiff, "decode_page", lambda page: decoded.append(page) or decode_page(page))
    monkeypatch.setattr(tiff_rows, "_is_in_parts", lambda page: False)
    (picture,) = open_rows(path)
    assert len(decoded) == 1
    np.testing.assert_array_equal(picture.rows.read(0, 37), whole)
    assert len(decoded) == 1
