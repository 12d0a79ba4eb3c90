"""Decodes NPY and NPZ, the files of NumPy. They do not say what their dimensions are, and are never unpickled."""

import io
import zipfile

import numpy as np
from etils.epath import Path

from unet_jax.data.datasets.formats import axes
from unet_jax.data.datasets.formats.pictures import Pictures, of_array, to_image_type
from unet_jax.data.datasets.reading import Reading
from unet_jax.errors import UserError

# Kinds of NumPy's types that are read as images, and as masks.
IMAGES, MASKS = "buif", "bui"


def open_image(path: str | Path, data: bytes, reading: Reading) -> Pictures:
    """Returns the pictures of an array; bool is 0 and 255, and types other than uint8 and uint16 become float32.

    Raises:
      UserError: the array has other values or more than two dimensions that nothing names; or an NPZ holds several.
      Exception: the file is damaged.
    """
    values = _read(path, data, IMAGES, "numbers")
    pixels = values.astype(np.uint8) * np.uint8(255) if values.dtype == bool else to_image_type(values)
    return of_array(path, pixels, _letters(path, values, reading.axes))


def open_labels(path: str | Path, data: bytes, reading: Reading) -> Pictures:
    """Returns the values of an array of whole numbers as they are; it may lack the channels of `Reading.axes`. Raises as `open_image`."""
    values = _read(path, data, MASKS, "whole numbers")
    letters = _letters(path, values, axes.of_mask(reading.axes, values.ndim))
    return of_array(path, values.astype(np.uint8) if values.dtype == bool else values, letters)


def _letters(path, values: np.ndarray, letters: str) -> str:
    """Returns what each dimension is; `letters` are as in `Reading.axes`."""
    if not letters and values.ndim != 2:
        raise UserError(
            f"{path}: has the shape {values.shape}, and does not tell what its dimensions are; set data.axes to a letter for each, "
            "such as 'YXC' for channels or 'ZYX' for a stack"
        )
    return letters or "YX"


def _read(path, data: bytes, kinds: str, described: str) -> np.ndarray:
    values = _of_zip(path, data) if data.startswith(b"PK") else _of_npy(path, data)
    if values.dtype.kind not in kinds:
        raise UserError(f"{path}: holds values of type {values.dtype}; save {described}")
    if not values.size:
        raise UserError(f"{path}: has the shape {values.shape}, with no values; save it again, or remove it")
    return values.astype(values.dtype.newbyteorder("="), copy=False)


def _of_zip(path, data: bytes) -> np.ndarray:
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        names = file.namelist()
        if len(names) != 1 or not names[0].endswith(".npy"):
            shown = ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")
            raise UserError(f"{path}: is a ZIP file of {len(names)} files ({shown}); only an NPZ of one array is read")
        return _of_npy(path, file.read(names[0]))


def _of_npy(path, data: bytes) -> np.ndarray:
    file = io.BytesIO(data)
    version = np.lib.format.read_magic(file)
    read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    _, _, dtype = read_header(file)
    # NumPy writes types that it does not know, such as bfloat16, as bytes without a meaning.
    if dtype.hasobject or dtype.fields is not None or dtype.kind == "V":
        raise UserError(f"{path}: holds values of type {dtype}, which may be anything; save numbers")
    file.seek(0)
    return np.lib.format.read_array(file, allow_pickle=False)
