"""Reads image, mask and instance files. Every fault of a file is an error of one line that names the file.

`formats/` decodes; docs/reference/files.md says what is read, how, and what is refused.
"""

import contextlib
import dataclasses
import os
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np
from etils.epath import Path

from unet_jax.data.datasets import instance_labels, palettes, reading
from unet_jax.data.datasets.formats import (
    axes,
    bmp,
    declared,
    dicom,
    jpeg,
    jpeg2000,
    nifti,
    numpy_arrays,
    pictures,
    png,
    tiff,
    tiff_series,
    tiff_tags,
    web,
)
from unet_jax.data.datasets.formats.pictures import Pictures
from unet_jax.data.datasets.palettes import Palette, few
from unet_jax.data.datasets.reading import Reading
from unet_jax.data.datasets.rows import zarr_arrays, zarr_rows
from unet_jax.data.store.cache import read_error
from unet_jax.errors import UserError
from unet_jax.segmentation import VOID_ID
from unet_jax.storage.paths import home_expanded, in_bucket, read_file
from unet_jax.storage.write_errors import first_line

# Pixels that are counted together: OpenCV gives their number as float32, which is exact up to here.
COUNTED = 2**24
# Objects of an image: their numbers are stored with 16 bits.
MOST_INSTANCES = 65535
REMEDY = "save it again as PNG or TIFF, or remove it"
# By the format of `declared.format_of`. A module has `open_image` and `open_labels`, which take the path, the bytes of the file
# and the `Reading`, and return its `Pictures`; or, for a format of one picture, `read_image` and `read_labels`, which take path and
# bytes, and return the pixels and `declared.Labels`.
FORMATS: dict[str, Any] = {
    "PNG": png,
    "TIFF": tiff,
    "BMP": bmp,
    "JPEG": jpeg,
    "GIF": web,
    "WebP": web,
    "JPEG 2000": jpeg2000,
    "NumPy": numpy_arrays,
    "ZIP": numpy_arrays,
    "NIfTI": nifti,
    "DICOM": dicom,
}
# Source files whose code decides what is read.
_MODULES = (
    *(palettes, reading, axes, declared, pictures, tiff_series, tiff_tags, zarr_arrays, zarr_rows),
    *dict.fromkeys(FORMATS.values()),
)
READERS = (__file__, *(str(module.__file__) for module in _MODULES))
AS_STORED = Reading()


class Mask(NamedTuple):
    """Holds a mask.

    Attributes:
      ids: class ids, uint8 `[H, W]`; 255 is void.
      colours: RGB by index, for the indices that occur, if the file is indexed and its indices were taken for values; else
        empty. See `palettes.check_orders`.
    """

    ids: np.ndarray
    colours: palettes.Colours


def open_pictures(path: str | Path, how: Reading = AS_STORED) -> Pictures:
    """Returns the pictures of an image file, each uint8, uint16 or float32 `[H, W, C]`.

    Alpha is dropped and never changes a colour. A palette is expanded to RGB, and grey of less than 8 bits is stretched to
    0..255. A TIFF whose 0 is white (WhiteIsZero) is returned as it is displayed. Signed values, and those of more than 16 bits,
    become float32. Every command reads images with this function.

    Args:
      path: the file, local or in a bucket.
      how: what the file does not tell, and what is taken of it.

    Raises:
      UserError: the file cannot be read, is damaged or too large, or its pixels mean something else: it is to be turned
        (orientation tag), does not tell what its dimensions are, or holds numbers that are not read. So does `read`.
    """
    opened = _open(path, "image", "an image", REMEDY, how)

    def read(page: int) -> np.ndarray:
        with name_errors(path):
            return pictures.chosen_channels(path, opened.read(page), how)

    return dataclasses.replace(opened, read=read)


def open_labels(path: str | Path, how: Reading = AS_STORED) -> Pictures:
    """Returns the masks of a file, with the values as stored and without alpha. Of an indexed file these are the indices.

    Args:
      path: the file, local or in a bucket.
      how: as in `open_pictures`; all channels are kept.

    Returns:
      Each is ids or grey values `[H, W]`, or uint8 RGB `[H, W, 3]`.

    Raises:
      UserError: as `open_pictures`; also for lossy compression, which changes ids, and for RGB of 16 bits.
    """
    opened = _open(path, "labels", "a mask", "export it again as PNG", how)

    def read(page: int) -> np.ndarray:
        with name_errors(path, "a mask", "export it again as PNG"):
            values = opened.read(page)
        if values.ndim == 2 or values.shape[-1] == 1:
            return values.reshape(values.shape[:2])
        if values.shape[-1] != 3 or values.dtype != np.uint8:
            raise UserError(
                f"{path}: is a mask of {values.shape[-1]} channels of type {values.dtype}; save it as class ids in one channel, or as "
                "8-bit RGB"
            )
        return values

    return dataclasses.replace(opened, read=read)


def read_image(path: str | Path) -> np.ndarray:
    """Returns the pixels of an image file of one picture, `[H, W, C]`; see `open_pictures`.

    It is public as `unet_jax.read_image`.

    Raises:
      UserError: as `open_pictures`, or the file holds several pictures.
    """
    return open_pictures(path).only(path)


def read_labels(path: str | Path) -> np.ndarray:
    """Returns the values of a mask file of one picture; see `open_labels`.

    Raises:
      UserError: as `open_labels`, or the file holds several pictures.
    """
    return open_labels(path).only(path)


def read_mask(path: str | Path, mask_values: Sequence[int] = (), palette: Palette = ()) -> Mask:
    """Returns the class ids of a mask file of one picture; see `mask_of`.

    Raises:
      UserError: as `read_labels` and `to_ids`.
    """
    opened = open_labels(path)
    return mask_of(path, opened.only(path), opened.colours, mask_values, palette)


def mask_of(
    path: str | Path,
    values: np.ndarray,
    colours: np.ndarray | None,
    mask_values: Sequence[int] = (),
    palette: Palette = (),
) -> Mask:
    """Returns the class ids of a mask.

    An indexed file is read by its colours where `palette` is given, else by its indices. With `mask_values` it is read by its
    grey levels if the palette is grey and its indices are not in `mask_values`.

    Args:
      path: name of its file, for errors.
      values: as `open_labels` reads them.
      colours: the palette of the file, `Pictures.colours`.
      mask_values: as in `to_ids`.
      palette: as in `to_ids`.

    Raises:
      UserError: as `to_ids`.
    """
    if colours is None or values.ndim == 3:
        return Mask(to_ids(values, path, mask_values, palette), {})
    present = values_in(values).tolist()
    if palette:
        return Mask(palettes.indices_to_ids(values, present, colours, str(path), palette), {})
    levels = palettes.grey_levels(present, colours, str(path), mask_values) if mask_values else None
    if levels is not None:
        return Mask(to_ids(levels[values], path, mask_values), {})
    return Mask(to_ids(values, path, mask_values), palettes.colours_of(present, colours))


def to_ids(values: np.ndarray, path: str | Path, mask_values: Sequence[int] = (), palette: Palette = ()) -> np.ndarray:
    """Returns the class ids, uint8 `[H, W]`, for the values of a mask file; 255 is void.

    >>> to_ids(np.array([[0, 128, 255]]), "mask.png", mask_values=(0, 128)).tolist()
    [[0, 1, 255]]

    Args:
      values: the result of `read_labels`.
      path: name of the file, for errors.
      mask_values: values by class id; 255 is void unless it is one of them. () means that the values are the ids.
      palette: RGB triples by class id, for RGB masks. `read_mask` uses it for indexed masks, too.

    Raises:
      UserError: a value or a colour is not a class.
    """
    if values.ndim == 3:
        return palettes.rgb_to_ids(values, str(path), palette)
    if values.dtype == np.uint8 and not mask_values:
        # Each of them is an id.
        return values
    present = values_in(values)
    if mask_values:
        table = {VOID_ID: VOID_ID} | {int(value): index for index, value in enumerate(mask_values)}
        unknown = [int(v) for v in present if int(v) not in table]
        if unknown:
            pixels = int(np.isin(values, unknown).sum())
            raise UserError(
                f"{path}: holds values {few(unknown)} that are not in mask_values={tuple(mask_values)}, in {pixels} of "
                f"{values.size} pixels; add them to mask_values or correct the mask (255 is void; values between those of classes "
                "come from smoothed edges: export the mask without smoothing, or save the nearest class of each pixel)"
            )
        return np.array([table[int(v)] for v in present], np.uint8)[np.searchsorted(present, values)]
    if present[0] < 0 or present[-1] > VOID_ID:
        instance_labels.check_values(values, present, path)
        example = f", e.g. mask_values={tuple(present.tolist())}" if len(present) <= 8 else ""
        raise UserError(
            f"{path}: holds values {few(present.tolist())}; give class ids 0..254, and 255 for void, or set mask_values to "
            f"the value of each class{example}"
        )
    return values.astype(np.uint8)


def read_instances(path: str | Path) -> np.ndarray:
    """Returns instance numbers uint16 `[H, W]`; 0 is background.

    Args:
      path: the file, local or in a bucket.

    Raises:
      UserError: the file is not one channel of numbers from 0 on, has more than 65535 of them, or cannot be read (see
        `read_labels`).
    """
    return instances_of(path, read_labels(path))


def instances_of(path: str | Path, values: np.ndarray) -> np.ndarray:
    """Returns instance numbers uint16 `[H, W]` from the values of a file.

    Numbers are kept; if one is above 65535, all are replaced by 1, 2, ... in their order.

    Raises:
      UserError: as `read_instances`.
    """
    if values.ndim == 3 or (values.dtype.kind != "u" and values.min() < 0):
        raise UserError(f"{path}: instances must be one channel of numbers from 0 on; save them as 16-bit grey PNG")
    if values.dtype in (np.uint8, np.uint16) or values.max() <= MOST_INSTANCES:
        return values.astype(np.uint16, copy=False)
    present = np.union1d(values, 0)
    if len(present) - 1 > MOST_INSTANCES:
        raise UserError(
            f"{path}: holds {len(present) - 1} instances; split the image so that none has more than {MOST_INSTANCES}"
        )
    return np.searchsorted(present, values).astype(np.uint16)


def read_pages(path: str | Path) -> np.ndarray:
    """Returns the pages of a TIFF, uint8 `[N, H, W]`.

    Args:
      path: the file, local or in a bucket.

    Raises:
      UserError: the file cannot be read, or its pages are not 8-bit grey or not of one size.
    """
    opened = open_pictures(path)
    pages = [opened.read(page) for page in range(opened.count)]
    if {(page.shape, page.dtype.name) for page in pages} != {((*pages[0].shape[:2], 1), "uint8")}:
        raise UserError(f"{path}: is not a stack of 8-bit grey pages of the same size; copy the original again")
    return np.stack(pages)[..., 0]


def check_size(array: np.ndarray, path: str | Path, image: np.ndarray) -> None:
    """Checks that a mask has the size of its image.

    Args:
      array: mask or instances `[H, W, ...]`.
      path: name of its file, for the error.
      image: `[H, W, C]`.

    Raises:
      UserError: height or width differs.
    """
    if array.shape[:2] != image.shape[:2]:
        sizes = [f"{width} x {height}" for height, width in (array.shape[:2], image.shape[:2])]
        apart = [abs(ours - theirs) for ours, theirs in zip(array.shape[:2], image.shape[:2], strict=True)]
        if array.shape[:2] == image.shape[1::-1]:
            remedy = "exchange its rows and columns"
        elif max(apart) == 1:
            remedy = "find out which edge has the pixel more or less, and cut it there: the masks may be shifted by one pixel"
        else:
            remedy = "make them the same size"
        raise UserError(f"{path}: has {sizes[0]} pixels, its image {sizes[1]}; {remedy}")


def check_space(path: str | Path, image: str | Path) -> None:
    """Checks that a mask lies where its image does, if the files of both say it; see `nifti.check_space`."""
    with name_errors(path, "a mask"):
        nifti.check_space(path, image)


def values_in(array: np.ndarray) -> np.ndarray:
    """Returns the different values of an array, sorted, as `np.unique` does; 8- and 16-bit values are counted, which is faster."""
    return np.flatnonzero(count_values(array)) if array.dtype in (np.uint8, np.uint16) else np.unique(array)


def count_values(array: np.ndarray) -> np.ndarray:
    """Returns the number of pixels by value, as `np.bincount` does, but twice as fast: int64, of 256 values or up to the largest.

    >>> count_values(np.array([[0, 2], [2, 0]], np.uint8))[:3]
    array([2, 0, 2])

    Args:
      array: uint8 or uint16, not empty.
    """
    flat = array.ravel()
    number = 256 if array.dtype == np.uint8 else int(flat.max()) + 1
    counts = np.zeros(number, np.int64)
    for start in range(0, flat.size, COUNTED):
        # As one row: for rows of one pixel it takes four times as long.
        part = cv2.calcHist([flat[None, start : start + COUNTED]], [0], None, [number], [0, number])
        counts += part.ravel().astype(np.int64)
    return counts


def _open(path, what: str, described: str, remedy: str, how: Reading) -> Pictures:
    """Returns what the module of the file's format opens. Every error names the file.

    Args:
      path: the file.
      what: "image" or "labels".
      described: what it is read as, for errors.
      remedy: what to do if it cannot be read.
      how: as in `open_pictures`.
    """
    # Not by epath: that takes as long as reading a small file does.
    if not in_bucket(path) and os.path.isdir(home_expanded(path)):
        with name_errors(path, "a Zarr array", "copy it again"):
            rows = (zarr_rows.open_images if what == "image" else zarr_rows.open_labels)(path, how)
        return Pictures(len(rows), lambda page: rows[page].read(0, rows[page].shape[0]))
    data = _read(path)
    found = declared.format_of(data)
    if found not in FORMATS:
        kind = f"it holds {found} data" if found else "its first bytes are of no known format"
        raise UserError(f"{path}: cannot be read as {described} ({kind}); {remedy}")
    module = FORMATS[found]
    with name_errors(path, described, remedy):
        if hasattr(module, f"open_{what}"):
            return getattr(module, f"open_{what}")(path, data, how)
        return _single(getattr(module, f"read_{what}")(path, data))


def _single(read: Any) -> Pictures:
    """Returns the one picture of a file: its pixels, or its `declared.Labels`."""
    if isinstance(read, declared.Labels):
        return Pictures(1, lambda page: read.values, read.colours)
    return Pictures(1, lambda page: read)


@contextlib.contextmanager
def name_errors(path: str | Path, what: str = "an image", remedy: str = REMEDY) -> Iterator[None]:
    """Makes every error of a decoder inside the context a UserError that names the file.

    Args:
      path: the file.
      what: what it is read as.
      remedy: what to do if it is damaged.
    """
    try:
        yield
    except UserError:
        raise
    except MemoryError as error:
        raise UserError(f"{path}: does not fit into memory; split it into smaller images") from error
    except Exception as error:
        # For a damaged file the decoders raise errors of many types.
        raise UserError(f"{path}: cannot be read as {what} ({first_line(error)}); {remedy}") from error


def _read(path) -> bytes:
    try:
        data = read_file(home_expanded(path))
    except OSError as error:
        raise read_error(path, error) from error
    if not data:
        raise UserError(f"{path}: is empty (0 bytes); copy it again or remove it")
    return data
