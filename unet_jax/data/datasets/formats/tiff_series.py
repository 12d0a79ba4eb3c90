"""Which pictures the pages of a TIFF are: pages, channels and stacks, as tifffile's series describe them."""

import hashlib
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from xml.etree import ElementTree

import tifffile
from etils.epath import Path

from unet_jax.data.datasets.formats import axes
from unet_jax.data.datasets.formats.axes import CHANNELS, COLUMNS, ROWS
from unet_jax.errors import UserError

# tifffile's letter for a dimension of which nothing is said.
UNKNOWN = "Q"
# A picture that is no wider is taken for the channels of a pixel where nothing says what the dimensions are.
NARROW = 8
RGB, PLANAR = 2, 2


class Plane(NamedTuple):
    """A part of a picture: rows and columns of one page, with the channels that lie together there.

    Attributes:
      page: the page, of an open file.
      part: its planes or slices that lie apart are counted from 0; of a page whose data begin a whole stack, the pictures that
        lie one behind the other.
      parts: number of such parts of the page.
      is_behind: True where parts lie one behind the other, beyond what the page declares.
      is_named: True where the config says what the planes of the page are, or the file that they are channels C; none of them
        is alpha then.
    """

    page: tifffile.TiffPage
    part: int
    parts: int
    is_behind: bool = False
    is_named: bool = False


class TiffPictures(NamedTuple):
    """The pictures of a TIFF.

    Attributes:
      planes: of each picture, its channels in their order.
      set_id: see `pictures.Pictures`.
    """

    planes: list[list[Plane]]
    set_id: str = ""


def find_pictures(
    path: str | Path, tif: tifffile.TiffFile, pages: Sequence[tifffile.TiffPage], letters: str = ""
) -> TiffPictures:
    """Returns the pictures of a TIFF.

    Args:
      path: name of the file, for errors.
      tif: the file, opened without the other files of an OME set.
      pages: its pages of full size.
      letters: what each dimension is, as `Reading.axes`; "" for what the file says.

    Raises:
      UserError: the file does not tell what its dimensions are, or holds pictures of several kinds.
    """
    set_id = ome_set(path, tif)
    series = [] if set_id else [one for one in tif.series if _is_full(one, pages)]
    # Previews in a page of their own, such as those of a raw picture, are in no series.
    if not series:
        return TiffPictures([picture for page in pages for picture in _of_page(page)], set_id)
    kinds = {(one.axes, tuple(one.shape), one.dtype) for one in series}
    if len(kinds) > 1:
        examples = " and ".join(f"{shape} ({name})" for name, shape, _ in sorted(kinds, key=str)[:2])
        raise UserError(
            f"{path}: holds {len(series)} series of pages that differ, such as {examples}; save each series as a separate file"
        )
    by_offset = {page.offset: page for page in pages}
    found = [picture for one in series for picture in _of_series(path, tif, one, by_offset, letters)]
    declared, stored = _imagej_planes(tif), sum(map(len, found))
    if declared > stored:
        raise UserError(f"{path}: says that it holds {declared} pages of ImageJ, and holds {stored}; copy it again")
    return TiffPictures(found)


def _is_full(series: Any, pages: Sequence[tifffile.TiffPage]) -> bool:
    """Returns False for a series of overviews, previews or transparency masks."""
    return series.keyframe.offset in {page.offset for page in pages}


def _of_page(page: tifffile.TiffPage) -> list[list[Plane]]:
    """Returns the pictures of a page by itself: its slices, or one picture whose planes may lie apart."""
    planes, depth = page.shaped[:2]
    every = [Plane(page, part, planes * depth) for part in range(planes * depth)]
    return [[plane] for plane in every] if depth > 1 else [every]


def describe(tif: tifffile.TiffFile) -> str:
    """Returns the description of a file, in which ImageJ and OME say what it holds; "" if there is none."""
    first: Any = tif.pages[0]
    return first.description or ""


def _imagej_planes(tif: tifffile.TiffFile) -> int:
    """Returns the number of planes that ImageJ says to have written; 0 for a file of another program."""
    lines = describe(tif).splitlines() if tif.is_imagej else []
    numbers = [line.removeprefix("images=") for line in lines if line.startswith("images=")]
    return int(numbers[0]) if numbers and numbers[0].isdecimal() else 0


def _of_series(
    path: str | Path, tif: tifffile.TiffFile, series: Any, by_offset: Mapping[int, Any], letters: str
) -> list[list[Plane]]:
    """Returns the pictures of a series, made of the pages of `by_offset`: tifffile keeps less of those of a series."""
    if any(page is None for page in series.pages):
        missing = sum(page is None for page in series.pages)
        raise UserError(
            f"{path}: {missing} of its {len(series.pages)} planes are missing in the file; save it again whole"
        )
    pages = [by_offset[page.offset] for page in series.pages]
    first = pages[0]
    given, shape = _letters(path, tif, series, first, letters)
    planes, depth, _, _, samples = first.shaped
    # Dimensions in front of the rows: pages, slices and planes that lie apart.
    front = [(axis, length) for axis, length in zip(given, shape, strict=True) if axis not in (ROWS, COLUMNS)]
    if samples > 1:
        if not front or front[-1][1] != samples or given[-1] != front[-1][0]:
            raise _unclear(path, shape, given)
        if front.pop()[0] not in CHANNELS:
            raise UserError(
                f"{path}: its {samples} samples of a pixel are named {given[-1]!r} by axes={given!r}; they are channels: name them C or S"
            )
    total = math.prod(length for _, length in front)
    parts = planes * depth
    is_named = bool(letters) or (planes > 1 and front[-1:] == [("C", planes)])
    if len(pages) * parts == total:
        every = [Plane(page, part, parts, is_named=is_named) for page in pages for part in range(parts)]
    elif len(pages) == 1 and parts == 1:
        # ImageJ and tifffile store a stack behind one page.
        if not first.is_contiguous or first.dataoffsets[0] + total * first.nbytes > tif.filehandle.size:
            raise ValueError(f"it declares {total} pictures behind one page, and ends before")
        every = [Plane(first, part, total, is_behind=True) for part in range(total)]
    else:
        raise UserError(f"{path}: its {len(pages)} pages are not the {total} planes that it declares; save it again")
    return _grouped(every, front)


def _grouped(planes: Sequence[Plane], front: Sequence[tuple[str, int]]) -> list[list[Plane]]:
    """Returns the planes of each picture, in the order of its channels.

    Args:
      planes: in the order in which they are stored.
      front: what counts them, outermost first, with its length.
    """
    pictures: dict[tuple[int, ...], list[tuple[tuple[int, ...], Plane]]] = {}
    for number, plane in enumerate(planes):
        place = number
        of_page: list[tuple[str, int]] = []
        of_channel: list[tuple[str, int]] = []
        for axis, length in reversed(front):
            place, at = divmod(place, length)
            (of_channel if axis in CHANNELS else of_page).append((axis, at))
        key = tuple(at for _, at in reversed(of_page))
        # C is outermost, as in `axes.to_pictures`.
        pictures.setdefault(key, []).append((tuple(at for _, at in sorted(of_channel)), plane))
    return [
        [plane for _, plane in sorted(picture, key=lambda item: item[0])] for _, picture in sorted(pictures.items())
    ]


def _letters(
    path: str | Path, tif: tifffile.TiffFile, series: Any, page: Any, given: str
) -> tuple[str, tuple[int, ...]]:
    """Returns what each dimension of a series is, and its shape.

    Raises:
      UserError: nothing says it, or `given` does not fit.
    """
    found, shape = series.axes, tuple(series.shape)
    if given:
        axes.lay_out(path, shape, given)
        if [given.find(axis) for axis in (ROWS, COLUMNS)] != [found.find(axis) for axis in (ROWS, COLUMNS)]:
            raise UserError(
                f"{path}: stores rows and columns as {found!r} {shape}, and axes={given!r} names others; save it with the rows and "
                "columns of a picture together, or as NPY"
            )
        return given, shape
    is_told = tif.is_ome or tif.is_imagej or any("axes" in (about or {}) for about in tif.shaped_metadata or ())
    is_eight = page.dtype is not None and page.dtype.itemsize == 1
    is_planar = page.photometric == RGB and page.planarconfig == PLANAR
    planes = page.samplesperpixel
    # tifffile writes four slices of 8 bits as RGB with alpha. Three are red, green and blue by custom.
    is_colour = is_eight and (planes == 3 or not tif.is_shaped)
    if not is_told and is_planar and not is_colour:
        front = found[: found.index(ROWS) - 1]
        raise UserError(
            f"{path}: holds {planes} planes of {page.dtype} that may be colours, channels or a stack of grey pictures; set "
            f"data.axes={front + 'ZYX'!r} for a stack, {front + 'CYX'!r} for channels or colours"
        )
    if not is_told and UNKNOWN in found and shape[found.index(COLUMNS)] <= NARROW < shape[found.index(ROWS)]:
        raise _unclear(path, shape, found)
    return found, shape


def _unclear(path: str | Path, shape: Sequence[int], found: str) -> UserError:
    return UserError(
        f"{path}: is stored as {tuple(shape)}, and it is not clear which of these are rows, columns and channels ({found!r}); save "
        "pictures of several channels with photometric='minisblack' and planarconfig='contig', or as NPY"
    )


def ome_set(path: str | Path, tif: tifffile.TiffFile) -> str:
    """Returns what identifies the OME set of which a file is a part; "" for a file that stands alone.

    Raises:
      UserError: the channels of a picture lie in different files.
    """
    about = describe(tif)
    if "<OME" not in about[:2000] or "FileName" not in about:
        return ""
    if "<!DOCTYPE" in about or "<!ENTITY" in about:
        raise UserError(f"{path}: its OME-XML declares entities; save it again")
    root = ElementTree.fromstring(about)
    places = [element for element in root.iter() if element.tag.endswith("}UUID")]
    names = {element.get("FileName", "") for element in places}
    if len(names) < 2:
        return ""
    sizes = [(element.tag.rpartition("}")[2], element) for element in root.iter()]
    channels = max(int(element.get("SizeC", "1")) for tag, element in sizes if tag == "Pixels")
    samples = max([1, *(int(element.get("SamplesPerPixel", "1")) for tag, element in sizes if tag == "Channel")])
    if channels > samples:
        raise UserError(
            f"{path}: is one of {len(names)} files of an OME set with {channels} channels, which lie in different files; save the set "
            "as one file"
        )
    ids = dict.fromkeys(sorted((place.text or "").strip() for place in places))
    return hashlib.sha256("\n".join(ids).encode()).hexdigest()[:16]
