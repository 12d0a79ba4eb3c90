"""The size of a pixel in a unit of length: as the user gives it, or as the tags of a TIFF do."""

import dataclasses
import math
import os
import re
import xml.etree.ElementTree as ElementTree
from typing import Any

import tifffile
from etils.epath import Path

from unet_jax.errors import UserError
from unet_jax.storage.paths import in_bucket

# Units of length, and what files call them.
UNITS = {
    "nm": ("nm", "nanometer", "nanometre"),
    "um": ("um", "µm", "μm", "\\u00b5m", "micron", "microns", "micrometer", "micrometre"),
    "mm": ("mm", "millimeter", "millimetre"),
    "cm": ("cm", "centimeter", "centimetre"),
    "m": ("m", "meter", "metre"),
}
# TIFF's resolution unit of a centimetre. That of an inch is not read: it says how an image is to be printed.
CENTIMETRE = 3


@dataclasses.dataclass(frozen=True)
class PixelSize:
    """The length of a pixel's side.

    Attributes:
      size: in the unit, above 0.
      unit: one of `UNITS`.

    Raises:
      UserError: a value is not allowed.
    """

    size: float
    unit: str

    def __post_init__(self) -> None:
        if not 0 < self.size < math.inf:
            raise UserError(f"--pixel_size={self.size}: give the length of a pixel's side, above 0")
        if self.unit not in UNITS:
            raise UserError(f"--unit={self.unit} is unknown; give one of {', '.join(UNITS)}")


def given(size: float | None, unit: str) -> PixelSize | None:
    """Returns the pixel size of the flags, or None if neither is given.

    Raises:
      UserError: one is given without the other, or a value is not allowed.
    """
    if size is None and not unit:
        return None
    if size is None:
        raise UserError(f"--unit={unit}: give the length of a pixel's side in it, too, such as --pixel_size=0.05")
    if not unit:
        raise UserError(f"--pixel_size={size}: give its unit, too, such as --unit=mm")
    return PixelSize(size, unit)


def read_pixel_size(path: Path) -> PixelSize | None:
    """Returns the pixel size of a local TIFF, from its OME metadata, from ImageJ, or from its resolution in centimetres.

    Returns:
      None for another file, and where the tags give no size.

    Raises:
      UserError: the tags give pixels that are not square.
    """
    if path.suffix.lower() not in (".tif", ".tiff") or in_bucket(path):
        return None
    try:
        with tifffile.TiffFile(os.fspath(path), _multifile=False) as file:
            sizes = _of_ome(file.ome_metadata) if file.is_ome else _of_resolution(file)
    except (OSError, ValueError, LookupError, TypeError, ElementTree.ParseError, tifffile.TiffFileError):
        # Whether the file can be read is found where its pixels are.
        return None
    if sizes is None:
        return None
    (x, unit), (y, unit_y) = sizes
    if unit != unit_y or not math.isclose(x, y, rel_tol=1e-3):
        raise UserError(
            f"{path}: its tags give pixels that are not square, {x:g} {unit} x {y:g} {unit_y}; give one --pixel_size and --unit "
            "for both sides"
        )
    return PixelSize(x, unit)


Sizes = tuple[tuple[float, str], tuple[float, str]] | None


def _of_ome(text: str | None) -> Sizes:
    """Returns width and height of a pixel, each with its unit."""
    # With or without a namespace.
    elements = (one for one in ElementTree.fromstring(text or "").iter() if re.search(r"(^|\})Pixels$", one.tag))
    pixels = next(elements, None)
    if pixels is None:
        return None
    sides = []
    for axis in "XY":
        unit = known_unit(pixels.get(f"PhysicalSize{axis}Unit", "µm"))
        size = float(pixels.get(f"PhysicalSize{axis}", 0))
        if not unit or not 0 < size < math.inf:
            return None
        sides.append((size, unit))
    return sides[0], sides[1]


def _of_resolution(file: tifffile.TiffFile) -> Sizes:
    tags = file.pages.first.tags
    unit = known_unit(str((file.imagej_metadata or {}).get("unit", ""))) if file.is_imagej else ""
    if not unit and _value(tags, "ResolutionUnit") == CENTIMETRE:
        unit = "cm"
    if not unit:
        return None
    # Pixels in a unit.
    x, y = (tags[name].value for name in ("XResolution", "YResolution"))
    if not (x[0] and x[1] and y[0] and y[1]):
        return None
    return (x[1] / x[0], unit), (y[1] / y[0], unit)


def _value(tags: Any, name: str) -> Any:
    return tags[name].value if name in tags else None


def known_unit(text: str) -> str:
    """Returns the unit of `UNITS` that a text names, or "".

    >>> known_unit("Micron"), known_unit("pixel")
    ('um', '')
    """
    text = re.sub(r"\s", "", text)
    return next((unit for unit, names in UNITS.items() if text.lower() in names), "")
