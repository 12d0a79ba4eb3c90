"""JPEG images are read as OpenCV reads them; damage, CMYK, several pictures and orientation tags are named."""

import io
import itertools

import cv2
import numpy as np
import pytest
from PIL import Image

from unet_jax.data.datasets.formats import jpeg
from unet_jax.errors import UserError

RNG = np.random.default_rng(0)
COLOURS = cv2.GaussianBlur(RNG.integers(0, 256, (96, 128, 3)).astype(np.uint8), (0, 0), 2)
GREY = np.clip(RNG.normal(90, 30, (96, 128)), 0, 255).astype(np.uint8)
KINDS = {
    "baseline": {},
    "no subsampling": {"subsampling": 0},
    "4:2:0": {"subsampling": 2},
    "progressive": {"progressive": True},
    "restarts": {"restart_marker_rows": 1},
    "progressive with restarts": {"progressive": True, "restart_marker_rows": 1},
    "rgb": {"keep_rgb": True},
    "metadata": {"comment": b"text" * 1000, "icc_profile": b"no profile" * 9},
}


def written(array, **options):
    image = array if isinstance(array, Image.Image) else Image.fromarray(array)
    file = io.BytesIO()
    image.save(file, options.pop("format", "JPEG"), **options)
    return file.getvalue()


def refused(data, *words):
    with pytest.raises(UserError) as error:
        jpeg.read_image("a.jpg", data)
    assert str(error.value).startswith("a.jpg: ")
    assert all(word in str(error.value) for word in words), error.value


@pytest.mark.parametrize("options", KINDS.values(), ids=KINDS)
def test_pixels_are_those_of_opencv(options):
    flat = [np.full((9, 7), value, np.uint8) for value in (0, 90, 255)]
    for array in (COLOURS, GREY, COLOURS[:1, :1], *flat):
        if "keep_rgb" in options and array.ndim == 2:
            continue
        data = written(array, quality=85, **options)
        want = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
        want = want[..., ::-1] if want.ndim == 3 else want[..., None]
        np.testing.assert_array_equal(jpeg.read_image("a.jpg", data), want)
        # What stands behind the picture is not read.
        np.testing.assert_array_equal(jpeg.read_image("a.jpg", data + b"\0" * 99), want)


def test_other_sampling_factors_are_read():
    for factors in (cv2.IMWRITE_JPEG_SAMPLING_FACTOR_411, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_440):
        data = cv2.imencode(".jpg", COLOURS, [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, factors])[1].tobytes()
        assert jpeg.read_image("a.jpg", data).shape == COLOURS.shape


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("array", [COLOURS, GREY], ids=["colours", "grey"])
def test_damaged_data_are_an_error(kind, array, capfd):
    if kind == "rgb" and array.ndim == 2:
        return
    data = written(array, quality=90, **KINDS[kind])
    scan = next(segment for segment in jpeg._segments(data) if segment.marker == jpeg.SOS)
    start, length = (scan.start + scan.end) // 2, len(data) // 20
    damaged = {
        "zeros": data[:start] + bytes(length) + data[start + length :],
        "missing": data[:start] + data[start + length :],
        "added": data[: scan.end] + b"\x55" * 50 + data[scan.end :],
        "cut": data[: start + length],
        "no end": data[:-2],
    }
    for name, content in damaged.items():
        with pytest.raises(Exception, match=r"."):
            pytest.fail(f"{name}: {jpeg.read_image('a.jpg', content).shape}")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("kind", ["progressive", "restarts and progressive"])
@pytest.mark.parametrize("array", [COLOURS, GREY], ids=["colours", "grey"])
def test_a_file_that_ends_between_two_scans_is_cut_short(kind, array):
    data = written(array, progressive=True, restart_marker_rows=int("restarts" in kind))
    *ends, last = [segment.end for segment in jpeg._segments(data) if segment.marker == jpeg.SOS]
    assert jpeg.read_image("a.jpg", data[:last] + b"\xff\xd9").shape[:2] == array.shape[:2]
    for end in ends:
        with pytest.raises(ValueError, match="scans are missing"):
            jpeg.read_image("a.jpg", data[:end] + b"\xff\xd9")


def test_whole_files_are_never_taken_for_damaged():
    options = itertools.product((1, 50, 100), (False, True), (False, True), (0, 1, 2), (0, 1))
    for quality, progressive, optimize, subsampling, rows in options:
        height, width = RNG.integers(1, 50, 2)
        noise = RNG.integers(0, 256, (height, width, 3)).astype(np.uint8)
        for array in (noise, noise[..., 0], np.full_like(noise, RNG.choice([0, 77, 255]))):
            data = written(
                array,
                quality=quality,
                progressive=progressive,
                optimize=optimize,
                subsampling=subsampling,
                restart_marker_rows=rows,
            )
            assert jpeg.read_image("a.jpg", data).shape[:2] == (height, width)


def test_padding_is_no_damage():
    data = written(GREY)
    np.testing.assert_array_equal(
        jpeg.read_image("a.jpg", data[:-2] + b"\0\0" + data[-2:]), jpeg.read_image("a.jpg", data)
    )


def test_an_orientation_tag_is_named():
    for orientation in range(10):
        exif = Image.Exif()
        exif[274] = orientation
        files = [written(GREY, exif=exif)]
        xmp = f"<rdf:Description><tiff:Orientation>{orientation}</tiff:Orientation></rdf:Description>"
        files.append(written(GREY, xmp=xmp.encode()))
        for data in files:
            if 2 <= orientation <= 8:
                refused(data, "orientation", str(orientation))
            else:
                jpeg.read_image("a.jpg", data)


def test_several_pictures_are_counted_and_previews_passed_over():
    first = Image.fromarray(COLOURS)
    same = written(first, format="MPO", save_all=True, append_images=[Image.fromarray(COLOURS[::-1])])
    refused(same, "2 pictures")
    preview = written(first, format="MPO", save_all=True, append_images=[first.resize((32, 24))])
    np.testing.assert_array_equal(jpeg.read_image("a.jpg", preview), jpeg.read_image("a.jpg", written(first)))


def test_other_kinds_are_named():
    refused(written(Image.fromarray(COLOURS).convert("CMYK")), "CMYK")
    twelve = bytearray(written(GREY))
    place = twelve.index(b"\xff\xc0")
    twelve[place + 4] = 12
    refused(bytes(twelve), "12 bits")


def test_the_size_is_checked_before_decoding():
    data = bytearray(written(GREY))
    place = data.index(b"\xff\xc0")
    data[place + 5 : place + 9] = (65_000).to_bytes(2) * 2
    refused(bytes(data), "65000 x 65000", "split")


def test_a_mask_may_not_be_a_jpeg():
    with pytest.raises(UserError, match=r"a\.jpg: .*JPEG.*PNG"):
        jpeg.read_labels("a.jpg", written(GREY))
