"""Decodes NIfTI, with nibabel (extra `medical`).

Dimensions are x, y, z and time. A picture has y as rows and x as columns, in the order of the file: nothing is turned by the affine,
so image and mask must have the same one.
"""

import gzip
import io
from typing import Any

import numpy as np
from etils.epath import Path

from unet_jax.data.datasets.formats import declared
from unet_jax.data.datasets.formats.pictures import Pictures, of_array, to_image_type
from unet_jax.data.datasets.reading import Reading
from unet_jax.errors import UserError

# The letters of the dimensions of a file.
LETTERS = "XYZT"
# Farther from whole numbers the values of a mask are no ids: nibabel stretches ids over the range of a type, and rounds.
LEAST_WHOLE = 1e-2


def open_image(path: str | Path, data: bytes, reading: Reading) -> Pictures:
    """Returns the slices, with `scl_slope` and `scl_inter` applied: float32, or the stored type where they change nothing.

    Raises:
      UserError: the values are complex or colours, there are more than four dimensions, or nibabel is not installed.
      Exception: the file is damaged.
    """
    volume, stored, slope, inter = _read(path, data)
    values = stored if (slope, inter) == (1, 0) else stored * np.float64(slope) + inter
    return _pictures(path, volume, to_image_type(values), reading)


def open_labels(path: str | Path, data: bytes, reading: Reading) -> Pictures:
    """Returns the slices as whole numbers. Ids that were stretched over the range of a type are brought back.

    Raises:
      UserError: as `open_image`; or the values are no whole numbers.
      Exception: the file is damaged.
    """
    volume, stored, slope, inter = _read(path, data)
    if (slope, inter) == (1, 0) and stored.dtype.kind in "ui":
        return _pictures(path, volume, stored, reading)
    values = stored * np.float64(slope) + inter
    whole = np.rint(values)
    if not (np.abs(values - whole) <= LEAST_WHOLE).all():
        worst = float(values.flat[np.abs(values - whole).argmax()])
        raise UserError(f"{path}: holds {worst:.4g}, which is no id; save whole numbers (scl_slope is {slope:g})")
    return _pictures(path, volume, whole.astype(np.int32), reading)


def _pictures(path, volume: Any, values: np.ndarray, reading: Reading) -> Pictures:
    while values.ndim > 2 and values.shape[-1] == 1 and len(reading.axes) != values.ndim:
        values = values[..., 0]
    if not reading.axes and values.ndim > len(LETTERS):
        raise UserError(
            f"{path}: has the shape {values.shape}; set data.axes to a letter for each dimension, such as 'XYZTC'"
        )
    opened = of_array(path, values, reading.axes or LETTERS[: values.ndim])
    space = ", ".join(f"{value:.4g}" for value in np.asarray(volume.affine, np.float64)[:3].ravel() + 0.0)
    return Pictures(opened.count, opened.read, space=f"affine ({space})")


def _read(path, data: bytes) -> tuple[Any, np.ndarray, float, float]:
    """Returns the volume, the values as stored, and what they are multiplied by and what is added."""
    try:
        import nibabel
    except ImportError as error:
        raise UserError(f"{path}: NIfTI is read with nibabel; pip install 'unet-jax[medical]'") from error
    is_packed = data.startswith(b"\x1f\x8b")
    start = declared.unpacked_start(data) if is_packed else data[: declared.NIFTI_HEADER]
    kind = nibabel.Nifti2Image if start[4:8] == b"n+2\0" else nibabel.Nifti1Image
    header = kind.header_class.from_fileobj(io.BytesIO(start))
    dtype = header.get_data_dtype()
    if dtype.fields is not None or dtype.kind not in "uif":
        raise UserError(f"{path}: holds values of type {dtype}; save grey values, as whole numbers or floats")
    shape: tuple[int, ...] = header.get_data_shape()
    width, height = (*shape, 1, 1)[:2]
    declared.check_size(path, width, height, dtype.itemsize)
    # What is compressed may be much longer than it says.
    most = int(header.get_data_offset()) + int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    if is_packed:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
            data = file.read(most)
    if len(data) < most:
        raise ValueError("the file is cut short")
    volume = kind.from_bytes(data)
    proxy: Any = volume.dataobj
    return volume, np.asarray(proxy.get_unscaled()), float(proxy.slope), float(proxy.inter)
