"""TIFF of one picture is read exactly, whatever its layout; what changes the meaning of its pixels is refused by name."""

import io
import itertools

import numpy as np
import pytest
import tifffile
from PIL import Image

from unet_jax.data.datasets.formats import declared, tiff
from unet_jax.data.datasets.reading import Reading
from unet_jax.errors import UserError

RNG = np.random.default_rng(0)
GREY8 = RNG.integers(0, 256, (37, 45)).astype(np.uint8)
GREY16 = RNG.integers(0, 65536, (37, 45)).astype(np.uint16)
RGB8 = RNG.integers(0, 256, (37, 45, 3)).astype(np.uint8)
RGB16 = RNG.integers(0, 65536, (37, 45, 3)).astype(np.uint16)
IDS = RNG.integers(0, 3, (37, 45)).astype(np.uint8)


def written(array, **options):
    """Returns the bytes of a TIFF that tifffile writes."""
    file = io.BytesIO()
    tifffile.imwrite(file, array, **options)
    return file.getvalue()


def pages(*arrays, **options):
    """Returns the bytes of a TIFF of several pages; an item is an array, or an array and its options."""
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        for item in arrays:
            array, own = item if isinstance(item, tuple) else (item, {})
            writer.write(array, metadata=None, **(options | own))
    return file.getvalue()


def changed(data, tag, value):
    """Returns the file with another value of a tag of its first page."""
    file = io.BytesIO(data)
    with tifffile.TiffFile(file, mode="r+b") as tif:
        tif.pages[0].tags[tag].overwrite(value)
        return file.getvalue()


def image(data, axes=""):
    return tiff.open_image("a.tif", data, Reading(axes)).only("a.tif")


def labels(data):
    opened = tiff.open_labels("a.tif", data, Reading())
    values = opened.only("a.tif")
    return declared.Labels(values[..., 0] if values.shape[-1] == 1 else values, opened.colours)


def refused(read, data, *words):
    with pytest.raises(UserError) as error:
        read(data)
    message = str(error.value)
    assert message.startswith("a.tif: ")
    assert "\n" not in message
    assert all(word in message for word in words), message


LAYOUTS = [{}, {"tile": (16, 16)}, {"rowsperstrip": 5}, {"bigtiff": True, "byteorder": ">"}]
CODERS = [{}, *({"compression": name} for name in ("lzw", "zlib", "packbits", "zstd", "lzma", "png"))]
CODERS += [{"compression": name, "predictor": True} for name in ("lzw", "zlib")]


@pytest.mark.parametrize("array", [GREY8, GREY16, RGB8, RGB16], ids=["grey8", "grey16", "rgb8", "rgb16"])
def test_every_layout_and_compression_is_read_exactly(array):
    want = array if array.ndim == 3 else array[..., None]
    for layout, coder in itertools.product(LAYOUTS, CODERS):
        if layout.get("byteorder") == ">" and coder.get("compression") == "png" and array.dtype == np.uint16:
            # tifffile does not write it.
            continue
        stored = written(array, **layout, **coder)
        np.testing.assert_array_equal(image(stored), want, err_msg=f"{layout} {coder}")
        if array.ndim == 2:
            np.testing.assert_array_equal(labels(stored).values, array, err_msg=f"{layout} {coder}")
    if array.ndim == 3:
        for coder in CODERS:
            planes = written(np.moveaxis(array, -1, 0), photometric="rgb", planarconfig="separate", **coder)
            if array.dtype == np.uint16:
                refused(image, planes, "stack of grey pictures", "axes='ZYX'")
            np.testing.assert_array_equal(image(planes, "CYX"), want, err_msg=f"planes {coder}")


def test_three_channels_without_a_meaning_are_kept():
    stored = written(RGB16, photometric="minisblack", planarconfig="contig")
    np.testing.assert_array_equal(image(stored), RGB16)


@pytest.mark.parametrize("coder", ["jpeg2000", "jpegxl", "webp", "jpeg"])
def test_other_compressions_are_read_as_images_and_refused_as_masks(coder):
    array = RGB8 // 4 + 90 if coder == "webp" else np.full((32, 32), 90, np.uint8)
    stored = written(array, compression=coder)
    got = image(stored)
    assert np.abs(got.astype(int) - (array if array.ndim == 3 else array[..., None])).max() <= 2
    refused(labels, stored, coder.upper())


def test_jpeg_in_colour_is_rgb():
    colours = np.zeros((32, 32, 3), np.uint8)
    colours[..., 0] = 200
    stored = written(colours, photometric="rgb", compression="jpeg", compressionargs={"outcolorspace": "ycbcr"})
    assert np.abs(image(stored).astype(int) - colours).max() <= 3


@pytest.mark.parametrize("array", [GREY8, GREY16, GREY8 > 99], ids=["8", "16", "1"])
def test_white_is_zero_is_displayed_in_images_and_stored_in_masks(array):
    stored = written(array, photometric="miniswhite")
    most = 65535 if array.dtype == np.uint16 else 255
    shown = most - array if array.dtype != bool else np.where(array, 0, 255)
    np.testing.assert_array_equal(image(stored)[..., 0], shown)
    values = labels(stored).values
    assert values.dtype != bool
    np.testing.assert_array_equal(values, array)


@pytest.mark.parametrize("bits", [2, 4])
def test_grey_of_few_bits_is_stretched_in_images_and_kept_in_masks(bits):
    array = GREY8 >> (8 - bits)
    stored = written(array, bitspersample=bits)
    np.testing.assert_array_equal(image(stored)[..., 0], array * (255 // (2**bits - 1)))
    np.testing.assert_array_equal(labels(stored).values, array)


def test_alpha_never_changes_colours():
    for array, channels in ((RGB8, 3), (RGB16, 3), (GREY8[..., None], 1)):
        alpha = np.full((*array.shape[:2], 1), 7, array.dtype)
        photometric = "rgb" if channels == 3 else "minisblack"
        options = {"photometric": photometric, "planarconfig": "contig"}
        stored = written(np.concatenate([array, alpha], -1), extrasamples=["unassalpha"], **options)
        np.testing.assert_array_equal(image(stored), array)
        stored = written(np.concatenate([array, alpha], -1), extrasamples=["assocalpha"], **options)
        refused(image, stored, "alpha", "premultiplied")
        opaque = np.full_like(alpha, np.iinfo(array.dtype).max)
        stored = written(np.concatenate([array, opaque], -1), extrasamples=["assocalpha"], **options)
        np.testing.assert_array_equal(image(stored), array)
    stored = written(
        np.dstack([IDS, 255 - IDS]), extrasamples=["unassalpha"], photometric="minisblack", planarconfig="contig"
    )
    np.testing.assert_array_equal(labels(stored).values, IDS)


def test_other_channels_and_colours_are_named():
    contiguous = {"photometric": "minisblack", "planarconfig": "contig"}
    for count in (2, 4, 5):
        stored = written(np.arange(72 * count, dtype=np.uint16).reshape(9, 8, count), **contiguous)
        np.testing.assert_array_equal(image(stored), np.arange(72 * count).reshape(9, 8, count))
        refused(labels, stored, f"{count} channels")
    unspecified = written(np.zeros((9, 8, 4), np.uint8), photometric="rgb", extrasamples=["unspecified"])
    refused(image, unspecified, "fourth channel", "data.channels")
    opened = tiff.open_image("a.tif", unspecified, Reading(channels=(0, 1, 2, 3)))
    assert opened.only("a.tif").shape == (9, 8, 4)
    among = written(np.zeros((9, 8, 5), np.uint8), photometric="rgb", extrasamples=["unassalpha", "unspecified"])
    refused(image, among, "ExtraSamples (2, 0)")
    for photometric, word in (("separated", "CMYK"), ("cielab", "CIELAB")):
        samples = 4 if word == "CMYK" else 3
        stored = written(np.zeros((9, 8, samples), np.uint8), photometric=photometric, planarconfig="contig")
        refused(image, stored, word)
        refused(labels, stored, word)
    refused(image, written(RGB8, photometric="ycbcr"), "YCBCR")


@pytest.mark.parametrize("read", [image, labels])
def test_what_only_alpha_shows_is_named(read):
    rgba = np.dstack([np.zeros_like(RGB8), GREY8])
    refused(read, written(rgba, photometric="rgb", extrasamples=["unassalpha"]), "alpha", "grey")


@pytest.mark.parametrize("read", [image, labels])
def test_a_file_that_does_not_say_what_0_is_is_an_error(read):
    data = written(GREY8, photometric="minisblack", metadata=None)
    with tifffile.TiffFile(io.BytesIO(data)) as tif:
        at = tif.pages[0].tags["PhotometricInterpretation"].offset
    # Another tag takes its place; 262 is 0x106.
    without = data[:at] + b"\x07" + data[at + 1 :]
    with pytest.raises(ValueError, match="PhotometricInterpretation is missing"):
        read(without)


def test_other_numbers_become_float32():
    for dtype in (np.float32, np.float16, np.float64, np.int16, np.int8, np.int32, np.uint32):
        values = np.array([[0, 1, 100], [3, 2, 5]], dtype) * np.array(-1 if np.dtype(dtype).kind != "u" else 1, dtype)
        got = image(written(values))
        assert got.dtype == np.float32
        np.testing.assert_array_equal(got[..., 0], values)
    np.testing.assert_array_equal(image(written(GREY16 >> 4, bitspersample=12))[..., 0], GREY16 >> 4)
    assert image(written(np.full((2, 2), 7, np.uint8), bitspersample=3, photometric="minisblack")).max() == 255
    refused(image, written(np.zeros((9, 8), np.complex64)), "SampleFormat 6")
    refused(image, written(np.zeros((9, 8), np.int16), photometric="miniswhite"), "0 is white")
    refused(labels, written(np.zeros((9, 8), np.float32)), "float32")
    refused(labels, written(RGB16), "16-bit RGB")
    for dtype in (np.int16, np.int32, np.uint32):
        np.testing.assert_array_equal(labels(written(IDS.astype(dtype))).values, IDS)


def test_signed_values_of_imagej_are_read_as_they_were():
    about = "ImageJ=1.54f\nimages=1\ncf=0\nc0=-32768.0\nc1=1.0\n"
    stored = written(GREY16, description=about, metadata=None)
    np.testing.assert_array_equal(image(stored)[..., 0], GREY16.astype(np.int32) - 32768)
    np.testing.assert_array_equal(labels(stored).values, GREY16.astype(np.int32) - 32768)


def test_a_stack_that_ends_before_its_last_picture_is_an_error():
    stack = written(np.dstack([GREY8] * 3)[..., 0], description="ImageJ=1.54f\nimages=5\nslices=5\n", metadata=None)
    with pytest.raises((ValueError, UserError)):
        image(stack)


def test_a_colour_table_is_no_guess():
    table = np.zeros((3, 256), np.uint16)
    table[0] = np.arange(256) * 257
    stored = written(GREY8, photometric="palette", colormap=table)
    refused(image, stored, "colour table")
    got = labels(stored)
    np.testing.assert_array_equal(got.values, GREY8)
    np.testing.assert_array_equal(got.colours[:, 0], np.arange(256))
    imagej = written(GREY8, photometric="palette", colormap=table, description="ImageJ=1.54f\n", metadata=None)
    np.testing.assert_array_equal(image(imagej)[..., 0], GREY8)
    plain = written(GREY8, photometric="palette", colormap=np.stack([np.arange(256, dtype=np.uint16) * 257] * 3))
    np.testing.assert_array_equal(image(plain)[..., 0], GREY8)
    assert labels(plain).colours is None


def test_small_copies_are_no_pages():
    small = GREY8[::2, ::2]
    reduced = (small, {"subfiletype": 1})
    for stored in (pages(GREY8, reduced, (small[::2, ::2], {"subfiletype": 1})), pages(reduced, GREY8)):
        np.testing.assert_array_equal(image(stored)[..., 0], GREY8)
        np.testing.assert_array_equal(labels(stored).values, GREY8)
    transparency = (GREY8 > 9, {"subfiletype": 4, "photometric": "mask"})
    np.testing.assert_array_equal(image(pages(GREY8, transparency))[..., 0], GREY8)
    # Overviews in SubIFDs, marked and not; and the full picture in one, behind a preview.
    for kind in (1, 0):
        stored = pages((GREY8, {"subifds": 1}), (small, {"subfiletype": kind}))
        np.testing.assert_array_equal(image(stored)[..., 0], GREY8)
    stored = pages((small, {"subifds": 1, "subfiletype": 1}), GREY8)
    np.testing.assert_array_equal(image(stored)[..., 0], GREY8)


def test_several_pictures_are_counted():
    for stored, words in ((pages(GREY8, GREY8, GREY8), "3 pages"), (pages((GREY8, {"subifds": 1}), GREY8), "SubIFDs")):
        refused(image, stored, words)
        refused(labels, stored, words)
    # All slices in one page.
    refused(image, written(np.stack([GREY8] * 3), photometric="minisblack", truncate=True), "3 pages")
    # Three slices that tifffile stores as red, green and blue.
    options = {"photometric": "rgb", "planarconfig": "separate"}
    refused(image, written(np.stack([GREY8] * 3), metadata={"axes": "ZYX"}, **options), "3 pages")
    assert image(written(np.stack([GREY8] * 3), metadata={"axes": "CYX"}, **options)).shape == (*GREY8.shape, 3)


@pytest.mark.parametrize("read", [image, labels])
def test_a_turned_file_is_named(read):
    for orientation in range(2, 9):
        refused(read, written(IDS, extratags=[(274, 3, 1, orientation, True)]), "orientation", str(orientation))
    for ignored in (0, 1, 9):
        read(written(IDS, extratags=[(274, 3, 1, ignored, True)]))


def test_a_mask_in_rgb_keeps_its_colours():
    got = labels(written(RGB8))
    np.testing.assert_array_equal(got.values, RGB8)
    assert got.colours is None


@pytest.mark.parametrize("coder", [None, "lzw", "zlib", "packbits", "lzma", "png"])
def test_damage_is_an_error(coder):
    # Many small strips, of which one is damaged.
    smooth = np.add.outer(np.arange(64), np.arange(64)).astype(np.uint8)
    stored = written(smooth, compression=coder, rowsperstrip=32)
    with tifffile.TiffFile(io.BytesIO(stored)) as tif:
        start, length = tif.pages[0].dataoffsets[-1], tif.pages[0].databytecounts[-1]
    cut = stored[: start + length // 2]
    if start + length > len(stored) - 16:
        with pytest.raises(Exception, match=r"."):
            image(cut)
    if coder:
        middle = start + length // 2
        holed = stored[:middle] + bytes(max(4, length // 10)) + stored[middle + max(4, length // 10) :]
        with pytest.raises(Exception, match=r"."):
            image(holed)


@pytest.mark.parametrize("writer", ["tifffile", "Pillow"])
def test_damaged_jpeg_in_tiff_is_an_error(writer):
    noise = np.clip(RNG.normal(90, 30, (96, 128)), 0, 255).astype(np.uint8)
    if writer == "tifffile":
        stored = written(noise, compression="jpeg")
    else:
        # The tables of the compression stand in a tag.
        file = io.BytesIO()
        Image.fromarray(noise).save(file, "TIFF", compression="jpeg")
        stored = file.getvalue()
    with tifffile.TiffFile(io.BytesIO(stored)) as tif:
        page = tif.pages[0]
        assert bool(page.jpegtables) == (writer == "Pillow")
        middle = page.dataoffsets[0] + page.databytecounts[0] // 2
    assert image(stored).shape == (96, 128, 1)
    with pytest.raises(ValueError, match="Corrupt JPEG data"):
        image(stored[:middle] + bytes(300) + stored[middle + 300 :])


def test_missing_strips_are_an_error():
    stored = written(GREY8, rowsperstrip=10, compression="zlib")
    with tifffile.TiffFile(io.BytesIO(stored)) as tif:
        counts = tif.pages[0].databytecounts
    with pytest.raises(ValueError, match="1 of 4 strips"):
        image(changed(stored, 279, (0, *counts[1:])))


def test_lzw_that_holds_too_much_is_an_error():
    rows = written(np.zeros((40, 45), np.uint8), compression="lzw", rowsperstrip=40)
    # The same data for fewer rows.
    stored = changed(changed(rows, 257, 20), 278, 20)
    with pytest.raises(ValueError, match="damaged"):
        image(stored)


def test_the_size_is_checked_before_decoding():
    stored = changed(changed(written(GREY8, compression="zlib", bigtiff=True), 256, 33_000), 257, 33_000)
    refused(image, stored, "33000 x 33000", "split")
    refused(labels, stored, "33000 x 33000", "split")


def test_pages_of_a_stack():
    stack = np.stack([GREY8, GREY8[::-1]])
    for photometric, expected in (("minisblack", stack), ("miniswhite", 255 - stack)):
        opened = tiff.open_image("a.tif", pages(*stack, photometric=photometric), Reading())
        found = [opened.read(page)[..., 0] for page in (1, 0)]
        np.testing.assert_array_equal(found[::-1], expected)
    refused(image, pages(*stack, extratags=[(274, 3, 1, 3, True)]), "orientation")
    refused(image, pages(*stack), "2 pages")


def test_a_file_without_a_picture_is_an_error():
    for empty in (b"II*\0\0\0\0\0", b"II*\0\x08\0\0\0"):
        with pytest.raises(ValueError, match="no picture"):
            image(empty)


def test_files_of_pillow_and_opencv():
    file = io.BytesIO()
    Image.fromarray(np.dstack([RGB8, GREY8])).save(file, "TIFF", compression="tiff_lzw")
    np.testing.assert_array_equal(image(file.getvalue()), RGB8)
    # OpenCV writes a fourth channel without a word about it.
    cv2 = pytest.importorskip("cv2")
    stored = cv2.imencode(".tif", np.dstack([RGB8[..., ::-1], GREY8]))[1].tobytes()
    np.testing.assert_array_equal(image(stored), RGB8)
