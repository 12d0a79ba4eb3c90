"""Decodes NIfTI, with nibabel (extra `medical`).

Dimensions are x, y, z and time. A picture has y as rows and x as columns, in the order of the file: an array `[W, H, Z]` of nibabel
gives Z pictures `[H, W]`. Nothing is turned by the affine, so image and mask must have the same one; see `check_space`.
"""

import gzip
import io
from typing import Any

import numpy as np
from etils.epath import Path

from unet_jax.data.datasets.formats import axes, declared
from unet_jax.data.datasets.formats.pictures import Pictures, of_array, to_image_type
from unet_jax.data.datasets.reading import Reading
from unet_jax.errors import UserError
from unet_jax.storage.paths import to_path

SUFFIXES = (".nii", ".nii.gz")
# The letters of the dimensions of a file.
LETTERS = "XYZT"
# The largest distance from a whole number at which a value of float is an id.
LEAST_WHOLE = 1e-3
# Affines that differ by no more are one: programs store them in several ways, and round.
SAME_PLACE = 1e-3
# Bytes that hold the header, also where gzip has compressed it.
HEAD_BYTES = 4096


def open_image(path: str | Path, data: bytes, reading: Reading) -> Pictures:
    """Returns the slices, with `scl_slope` and `scl_inter` applied: float32, or the stored type where they change nothing.

    Raises:
      UserError: the values are complex or colours, there are more than four dimensions, or nibabel is not installed.
      Exception: the file is damaged.
    """
    stored, slope, inter = _read(path, data)
    slices = _slices(path, stored, reading.axes)

    def read(page: int) -> np.ndarray:
        values = slices.read(page)
        return to_image_type(values if (slope, inter) == (1, 0) else values * np.float64(slope) + inter)

    return Pictures(slices.count, read)


def open_labels(path: str | Path, data: bytes, reading: Reading) -> Pictures:
    """Returns the slices as whole numbers.

    A program may have stretched ids over the range of a whole type, and rounded them: each value is less than half a step of
    that type from its id, which is brought back.

    Raises:
      UserError: as `open_image`; or, in a slice that is read, values are no whole numbers.
      Exception: the file is damaged.
    """
    stored, slope, inter = _read(path, data)
    slices = _slices(path, stored, axes.of_mask(reading.axes, stored.ndim))
    is_whole = stored.dtype.kind in "ui"
    nearest = max(abs(slope) / 2, LEAST_WHOLE) if is_whole and abs(slope) < 0.5 else LEAST_WHOLE

    def read(page: int) -> np.ndarray:
        values = slices.read(page)
        if is_whole and (slope, inter) == (1, 0):
            return values
        values = values * np.float64(slope) + inter
        whole = np.rint(values)
        apart = np.abs(values - whole)
        # A small part more, for slopes that are stored as float32.
        if not (apart <= nearest * 1.001).all():
            worst = float(values.flat[apart.argmax()])
            raise UserError(f"{path}: holds {worst:.4g}, which is no id; save whole numbers (scl_slope is {slope:g})")
        return whole.astype(np.int64)

    return Pictures(slices.count, read)


def check_space(path: str | Path, image: str | Path) -> None:
    """Checks that a mask and its image, if both are NIfTI by their suffixes, lie in one place with equal dimensions.

    Args:
      path: the mask or the instances, local or in a bucket.
      image: its image.

    Raises:
      UserError: affine, or width, height and depth differ; or nibabel is not installed.
    """
    if not all(str(one).lower().endswith(SUFFIXES) for one in (path, image)):
        return
    headers = []
    for one in (path, image):
        with to_path(one).open("rb") as file:
            headers.append(_header(one, file.read(HEAD_BYTES)))
    ours, theirs = (header.get_best_affine() for header in headers)
    if not np.allclose(ours, theirs, rtol=0, atol=SAME_PLACE):
        row = int(np.abs(ours - theirs).max(1).argmax())
        shown = [np.round(affine[row], 3).tolist() for affine in (ours, theirs)]
        raise UserError(
            f"{path}: lies elsewhere than its image: row {row} of its affine is {shown[0]}, of the image {shown[1]}; save the mask in the "
            "space of its image"
        )
    sizes = [tuple(int(size) for size in (*header.get_data_shape(), 1, 1)[:3]) for header in headers]
    if sizes[0] != sizes[1]:
        raise UserError(
            f"{path}: has x, y, z of {sizes[0]}, its image {sizes[1]}; save the mask in the space of its image"
        )


def _slices(path, stored: np.ndarray, letters: str) -> Pictures:
    """Returns the slices of the values as stored; `letters` are as in `Reading.axes`."""
    while stored.ndim > 2 and stored.shape[-1] == 1 and stored.ndim != len(letters):
        stored = stored[..., 0]
    if not letters and stored.ndim > len(LETTERS):
        raise UserError(
            f"{path}: has the shape {stored.shape}; set data.axes to a letter for each dimension, such as 'XYZTC'"
        )
    return of_array(path, stored, letters or LETTERS[: stored.ndim])


def _header(path, data: bytes) -> Any:
    """Returns the header at the start of a file."""
    try:
        import nibabel
    except ImportError as error:
        raise UserError(f"{path}: NIfTI is read with nibabel; pip install 'unet-jax[medical]'") from error
    start = declared.unpacked_start(data) if declared.is_gzip(data) else data[: declared.NIFTI_HEADER]
    kind = nibabel.Nifti2Header if start[4:8] == declared.NIFTI_2 else nibabel.Nifti1Header
    return kind.from_fileobj(io.BytesIO(start), check=False)


def _read(path, data: bytes) -> tuple[np.ndarray, float, float]:
    """Returns the values as stored, and what they are multiplied by and what is added."""
    header = _header(path, data)
    dtype = header.get_data_dtype()
    if dtype.fields is not None or dtype.kind not in "uif":
        raise UserError(f"{path}: holds values of type {dtype}; save grey values, as whole numbers or floats")
    shape: tuple[int, ...] = header.get_data_shape()
    width, height = (*shape, 1, 1)[:2]
    declared.check_size(path, width, height, dtype.itemsize)
    # What is compressed may be much longer than it says.
    offset, count = int(header.get_data_offset()), int(np.prod(shape, dtype=np.int64))
    end = offset + count * dtype.itemsize
    if declared.is_gzip(data):
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
            data = file.read(end)
    if len(data) < end:
        raise ValueError("the file is cut short")
    stored = np.frombuffer(data, dtype, count, offset).reshape(shape, order="F")
    slope, inter = header.get_slope_inter()
    values = stored.astype(dtype.newbyteorder("="), copy=False)
    return values, 1.0 if slope is None else float(slope), float(inter or 0)
