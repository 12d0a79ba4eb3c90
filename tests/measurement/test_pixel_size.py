"""The size of a pixel, from flags and from the tags of files."""

import numpy as np
import pytest
import tifffile
from etils.epath import Path
from PIL import Image

from unet_jax.errors import UserError
from unet_jax.measurement.pixel_size import PixelSize, given, read_pixel_size

PIXELS = np.zeros((4, 5), np.uint8)


def read(tmp_path, name="a.tif", **options):
    path = Path(tmp_path / name)
    tifffile.imwrite(path, PIXELS, **options)
    return read_pixel_size(path)


def ome(x, y, unit="µm", unit_y=""):
    return {
        "ome": True,
        "metadata": {
            "axes": "YX",
            "PhysicalSizeX": x,
            "PhysicalSizeXUnit": unit,
            "PhysicalSizeY": y,
            "PhysicalSizeYUnit": unit_y or unit,
        },
    }


def test_ome_imagej_and_centimetres(tmp_path):
    assert read(tmp_path, **ome(0.65, 0.65)) == PixelSize(0.65, "um")
    assert read(tmp_path, **ome(0.65, 0.65, "nm")) == PixelSize(0.65, "nm")
    assert read(tmp_path, imagej=True, resolution=(4, 4), metadata={"unit": "micron"}) == PixelSize(0.25, "um")
    assert read(tmp_path, imagej=True, resolution=(4, 4), metadata={"unit": r"\u00B5m"}) == PixelSize(0.25, "um")
    assert read(tmp_path, resolution=(200, 200), resolutionunit="CENTIMETER") == PixelSize(0.005, "cm")
    sides = 'PhysicalSizeX="2" PhysicalSizeY="2"'
    plain = f'<OME><Image><Pixels {sides} PhysicalSizeXUnit="mm" PhysicalSizeYUnit="mm"/></Image></OME>'
    assert read(tmp_path, description=plain, metadata=None) == PixelSize(2, "mm")


def test_what_says_no_size(tmp_path):
    assert read(tmp_path) is None
    # How large it is to be printed.
    assert read(tmp_path, resolution=(300, 300), resolutionunit="INCH") is None
    assert read(tmp_path, imagej=True, resolution=(1, 1), metadata={"unit": "pixel"}) is None
    assert read(tmp_path, ome=True, metadata={"axes": "YX"}) is None
    assert read(tmp_path, description='<OME xmlns="http://a"></OME>', metadata=None) is None
    Image.fromarray(PIXELS).save(tmp_path / "b.png", dpi=(300, 300))
    assert read_pixel_size(Path(tmp_path / "b.png")) is None
    (tmp_path / "c.tif").write_bytes(b"no TIFF")
    assert read_pixel_size(Path(tmp_path / "c.tif")) is None


def test_pixels_that_are_not_square_are_refused(tmp_path):
    for options in (ome(0.5, 0.6), ome(0.5, 0.5, "µm", "mm"), {"resolution": (200, 100), "resolutionunit": 3}):
        with pytest.raises(UserError, match=r"a\.tif: its tags give pixels that are not square.*--pixel_size"):
            read(tmp_path, **options)


def test_flags():
    assert given(None, "") is None
    assert given(0.05, "mm") == PixelSize(0.05, "mm")
    for size, unit, message in (
        (0.05, "", "--pixel_size=0.05: give its unit"),
        (None, "mm", "--unit=mm: give the length"),
        (0.0, "mm", "--pixel_size=0.0: give the length"),
        (float("nan"), "mm", "--pixel_size=nan"),
        (1.0, "inch", "--unit=inch is unknown; give one of nm, um, mm"),
    ):
        with pytest.raises(UserError, match=message):
            given(size, unit)
