"""PNG is read exactly; damage, animations and orientation tags are named."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from unet_jax.data.datasets.formats import png
from unet_jax.errors import UserError

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (12, 10)).astype(np.uint8)
IDS = RNG.integers(0, 3, (12, 10)).astype(np.uint8)
CHANNELS = {0: 1, 2: 3, 4: 2, 6: 4}


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def written(rows, bits=8, colour_type=0, chunks=(), size=None):
    """Returns PNG bytes of any bit depth and colour type; `chunks` stand between the header and the data."""
    data = b""
    for row in rows:
        text = "".join(format(value, f"0{bits}b") for value in row.ravel())
        data += b"\0" + int(text.ljust(-(-len(text) // 8) * 8, "0"), 2).to_bytes(-(-len(text) // 8))
    width, height = size or (rows.shape[1], rows.shape[0])
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, 0))
    body = b"".join(chunk(*pair) for pair in chunks) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + header + body


def saved(image, **options):
    file = io.BytesIO()
    image.save(file, "PNG", **options)
    return file.getvalue()


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("colour_type", [0, 2, 4, 6])
def test_every_kind_is_read_exactly_and_without_alpha(bits, colour_type):
    channels = CHANNELS[colour_type]
    rows = RNG.integers(0, 2**bits, (7, 9, channels)).astype(np.uint8 if bits == 8 else np.uint16)
    data = written(rows, bits, colour_type)
    colours = 1 if channels < 3 else 3
    got = png.read_image("a.png", data)
    assert got.dtype == rows.dtype
    np.testing.assert_array_equal(got, rows[..., :colours])
    if bits == 16 and colours == 3:
        with pytest.raises(UserError, match=r"a\.png: .*16-bit RGB.*8-bit"):
            png.read_labels("a.png", data)
    else:
        np.testing.assert_array_equal(png.read_labels("a.png", data).values, rows[..., :colours].squeeze())


@pytest.mark.parametrize("read", [png.read_image, png.read_labels])
@pytest.mark.parametrize("colour_type", [4, 6])
def test_what_only_alpha_shows_is_named(read, colour_type):
    rows = np.full((*IDS.shape, CHANNELS[colour_type]), 255, np.uint8)
    read("a.png", written(rows, 8, colour_type))
    rows[..., -1] = 255 * (IDS > 0)
    with pytest.raises(UserError, match=r"a\.png: .*alpha.*grey"):
        read("a.png", written(rows, 8, colour_type))
    rows[0, 0, 0] = 0
    read("a.png", written(rows, 8, colour_type))


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_grey_of_few_bits_is_stretched_in_images_and_kept_in_masks(bits):
    ids = IDS % 2**bits
    data = written(ids, bits)
    np.testing.assert_array_equal(png.read_image("a.png", data)[..., 0], ids * (255 // (2**bits - 1)))
    got = png.read_labels("a.png", data)
    assert got.values.dtype == np.uint8
    assert got.colours is None
    np.testing.assert_array_equal(got.values, ids)


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_a_palette_is_colours_in_images_and_indices_in_masks(bits):
    colours = np.array([[9, 9, 9], [200, 0, 0], [0, 200, 0]], np.uint8)
    # Transparency of a colour changes nothing.
    chunks = ((b"PLTE", colours.tobytes()), (b"tRNS", b"\0\x50"))
    data = written(IDS, bits, 3, chunks)
    np.testing.assert_array_equal(png.read_image("a.png", data), colours[IDS])
    got = png.read_labels("a.png", data)
    np.testing.assert_array_equal(got.values, IDS)
    np.testing.assert_array_equal(got.colours, colours)
    plain = written(IDS, bits, 3, ((b"PLTE", bytes([0, 0, 0, 1, 1, 1, 2, 2, 2])),))
    assert png.read_labels("a.png", plain).colours is None


def test_gamma_does_not_change_values():
    data = written(GREY, chunks=((b"gAMA", struct.pack(">I", 100_000)), (b"sRGB", b"\0"), (b"tRNS", b"\0\x09")))
    np.testing.assert_array_equal(png.read_image("a.png", data)[..., 0], GREY)


def exif_of(orientation):
    exif = Image.Exif()
    exif[274] = orientation
    return exif.tobytes().removeprefix(b"Exif\0\0")


def raw_profile(exif):
    """Returns EXIF as ImageMagick writes it into a text chunk."""
    digits = exif.hex()
    return f"\nexif\n{len(exif):8}\n" + "\n".join(digits[i : i + 72] for i in range(0, len(digits), 72)) + "\n"


def xmp(orientation):
    return f'<x:xmpmeta><rdf:Description tiff:Orientation="{orientation}"/></x:xmpmeta>'


@pytest.mark.parametrize("read", [png.read_image, png.read_labels])
@pytest.mark.parametrize("orientation", [0, 1, 2, 3, 6, 8])
def test_an_orientation_tag_is_named(read, orientation):
    files = [saved(Image.fromarray(GREY), exif=b"Exif\0\0" + exif_of(orientation))]
    for compressed in (False, True):
        for keyword, text in (
            ("Raw profile type exif", raw_profile(exif_of(orientation))),
            ("XML:com.adobe.xmp", xmp(orientation)),
        ):
            info = PngInfo()
            (info.add_itxt if keyword.startswith("XML") else info.add_text)(keyword, text, zip=compressed)
            files.append(saved(Image.fromarray(GREY), pnginfo=info))
    files.append(
        saved(Image.fromarray(GREY)).replace(b"\0\0\0\0IEND", chunk(b"eXIf", exif_of(orientation)) + b"\0\0\0\0IEND")
    )
    for data in files:
        if orientation > 1:
            with pytest.raises(UserError, match=rf"a\.png: .*orientation.* {orientation}\b"):
                read("a.png", data)
        else:
            read("a.png", data)


def test_damaged_metadata_turn_nothing():
    for content in (b"", b"MM", b"II*\0\xff\xff\xff\xff", exif_of(3)[:12]):
        png.read_image("a.png", written(GREY, chunks=((b"eXIf", content),)))
    for content in (b"XML:com.adobe.xmp\0", b"Raw profile type exif\0zz", b"XML:com.adobe.xmp\0\1\0\0\0nonsense"):
        png.read_image("a.png", written(GREY, chunks=((b"iTXt", content),)))


def test_the_tag_that_turns_counts_beside_one_that_does_not():
    chunks = ((b"eXIf", exif_of(9)), (b"tEXt", b"XML:com.adobe.xmp\0" + xmp(6).encode()))
    with pytest.raises(UserError, match=r"orientation tag 6"):
        png.read_image("a.png", written(GREY, chunks=chunks))


def test_an_animation_is_named():
    frames = [Image.fromarray(GREY), Image.fromarray(GREY[::-1])]
    data = saved(frames[0], save_all=True, append_images=frames[1:])
    for read in (png.read_image, png.read_labels):
        with pytest.raises(UserError, match=r"a\.png: .*\b2 pictures"):
            read("a.png", data)


def test_every_damaged_byte_is_an_error(capfd):
    palette = Image.fromarray(IDS)
    palette.putpalette([9, 9, 9, 200, 0, 0, 0, 200, 0])
    for read, data in ((png.read_image, saved(Image.fromarray(GREY))), (png.read_labels, saved(palette))):
        for place in range(8, len(data)):
            damaged = bytearray(data)
            damaged[place] ^= 1 << int(RNG.integers(8))
            with pytest.raises(Exception, match=r"."):
                read("a.png", bytes(damaged))
        for length in range(8, len(data)):
            with pytest.raises(Exception, match=r"."):
                read("a.png", data[:length])
    assert capfd.readouterr() == ("", "")


def test_the_size_is_checked_before_decoding():
    for read in (png.read_image, png.read_labels):
        for size in ((33_000, 33_000), (1_000_001, 1)):
            with pytest.raises(UserError, match=rf"a\.png: .*{size[0]} x {size[1]}.*split"):
                read("a.png", written(GREY, size=size))


@pytest.mark.parametrize("colour_type", [0, 3])
def test_rows_that_are_missing_are_not_taken_for_0(colour_type):
    palette = [(b"PLTE", bytes(range(9)))] if colour_type == 3 else []
    for read in (png.read_image, png.read_labels):
        read("a.png", written(IDS, colour_type=colour_type, chunks=palette))
        with pytest.raises(Exception, match="Not enough"):
            read("a.png", written(IDS, colour_type=colour_type, chunks=palette, size=(10, 13)))
        with pytest.raises(UserError, match=r"a\.png: .*\b0 x 12"):
            read("a.png", written(IDS, colour_type=colour_type, chunks=palette, size=(0, 12)))


def test_a_palette_that_is_missing_is_named():
    for read in (png.read_image, png.read_labels):
        with pytest.raises(ValueError, match="its palette is missing"):
            read("a.png", written(IDS, colour_type=3))
