"""Finds the Zarr array of a folder, and what its dimensions are: a plain array, or the full size of an OME-Zarr image."""

import json
import os
from collections.abc import Sequence
from typing import Any, NamedTuple

from unet_jax.data.datasets.formats import axes
from unet_jax.data.datasets.formats.axes import CHANNELS, COLUMNS, ROWS
from unet_jax.data.datasets.reading import Reading
from unet_jax.errors import UserError

# The files that describe an array or a group of arrays in version 3 and in version 2.
VERSION_3, VERSION_2, ATTRIBUTES_2, GROUP_2 = "zarr.json", ".zarray", ".zattrs", ".zgroup"
# What a dimension is, by its name in small letters.
LETTERS = {"y": "Y", "x": "X", "c": "C", "channel": "C", "channels": "C", "z": "Z", "t": "T", "time": "T"}
# Letters for dimensions of length 1 with other names.
SPARE = "ABDEFGHIJKLMNOPQRUVW"
# OME-Zarr 0.1 and 0.2 name no axes; these are theirs.
OLD_OME, OLD_AXES = ("0.1", "0.2"), "tczyx"
REMEDY = "set data.axes to a letter for each, such as 'ZCYX', or name them y, x, c, z or t"


class StoredArray(NamedTuple):
    """A Zarr array as its files describe it.

    Attributes:
      folder: of the array.
      metadata: the content of the file that describes it.
      names: the names of its dimensions, by the OME-Zarr image that it belongs to, or by itself; () where it has none.
      described: the files that say so.
    """

    folder: str
    metadata: dict[str, Any]
    names: tuple[str, ...]
    described: tuple[str, ...]


def find_array(folder: str) -> StoredArray:
    """Returns the array in a folder, or the first, largest one of an OME-Zarr image.

    Raises:
      UserError: the folder is neither, or holds several images.
      Exception: what describes it is damaged.
    """
    metadata, attributes, files = _read_metadata(folder)
    if "shape" in metadata:
        names = metadata.get("dimension_names") or attributes.get("_ARRAY_DIMENSIONS") or ()
        return StoredArray(folder, metadata, tuple(map(str, names)) if any(names) else (), files)
    about = attributes.get("ome", attributes)
    images = about.get("multiscales", ())
    if len(images) != 1:
        raise _no_image(folder, about, len(images))
    place = str(images[0]["datasets"][0]["path"])
    if os.path.isabs(place) or ".." in place.split("/"):
        raise UserError(
            f"{folder}: its largest array is at {place!r}, outside of the folder; copy the image again, whole"
        )
    inner, inner_attributes, inner_files = _read_metadata(os.path.join(folder, *place.split("/")))
    if "shape" not in inner:
        raise _no_image(os.path.join(folder, place), inner_attributes, 0)
    names = [axis["name"] if isinstance(axis, dict) else axis for axis in images[0].get("axes", ())]
    if not names and images[0].get("version") in OLD_OME:
        names = list(OLD_AXES)
    return StoredArray(os.path.join(folder, place), inner, tuple(map(str, names)), (*files, *inner_files))


def find_letters(path: object, stored: StoredArray, reading: Reading) -> str:
    """Returns what each dimension of an array is, a letter each; see `formats.axes`.

    Args:
      path: name of the file, for errors.
      stored: the array.
      reading: see `Reading.axes`. Without it the names decide, and a dimension of length 1 may have any name; without names an
        array is `[H, W]`, or `[H, W, C]` with 1 or 3 channels.

    Raises:
      UserError: a dimension is unknown.
    """
    shape = tuple(stored.metadata["shape"])
    letters = reading.axes or (_by_name(path, shape, stored.names) if stored.names else _without_names(path, shape))
    axes.lay_out(path, shape, letters)
    return letters


def _by_name(path: object, shape: Sequence[int], names: Sequence[str]) -> str:
    listed = f"{path}: has the dimensions {', '.join(names)} of the lengths {tuple(shape)}"
    if len(names) != len(shape):
        raise UserError(f"{listed}, which are not the same number; write the array again")
    spare, letters = iter(SPARE), ""
    for name, length in zip(names, shape, strict=True):
        letter = LETTERS.get(name.lower(), "")
        if not letter and length > 1:
            raise UserError(f"{listed}, and it is not clear what {name!r} is; {REMEDY}")
        letters += letter or next(spare)
    if len(set(letters)) < len(letters) or not {ROWS, COLUMNS} <= set(letters):
        raise UserError(f"{listed}: y and x must be among them, and each name once; {REMEDY}")
    return letters


def _without_names(path: object, shape: Sequence[int]) -> str:
    if len(shape) == 2 or (len(shape) == 3 and shape[-1] in (1, 3)):
        return f"{ROWS}{COLUMNS}{CHANNELS[0]}"[: len(shape)]
    raise UserError(f"{path}: has the shape {tuple(shape)} and no dimension names; {REMEDY}")


def _read_metadata(folder: str) -> tuple[dict[str, Any], dict[str, Any], tuple[str, ...]]:
    """Returns what describes an array or a group, its attributes, and the files in which they stand.

    Raises:
      UserError: the folder is neither.
    """
    for name in (VERSION_3, VERSION_2, GROUP_2):
        file = os.path.join(folder, name)
        if not os.path.exists(file):
            continue
        metadata = _read_json(file)
        if name == VERSION_3:
            return metadata, metadata.get("attributes", {}), (file,)
        attributes = os.path.join(folder, ATTRIBUTES_2)
        if not os.path.exists(attributes):
            return metadata, {}, (file,)
        return metadata, _read_json(attributes), (file, attributes)
    raise UserError(
        f"{folder}: is a folder, and no Zarr array: it holds neither {VERSION_3} nor {VERSION_2}; give a file"
    )


def _read_json(file: str) -> dict[str, Any]:
    with open(file, "rb") as opened:
        return json.load(opened)


def _no_image(folder: str, about: dict[str, Any], images: int) -> UserError:
    """Returns the error for a group that is not one image."""
    kind = "a group of Zarr arrays"
    if images:
        kind = f"a group of {images} OME-Zarr images"
    elif "plate" in about or "well" in about:
        kind = f"a {'plate' if 'plate' in about else 'well'} of OME-Zarr images"
    inner = [entry.name for entry in os.scandir(folder) if entry.is_dir()]
    example = os.path.join(folder, min(inner, default="NAME"))
    return UserError(f"{folder}: is {kind}; give the path of one of them, e.g. {example}")
