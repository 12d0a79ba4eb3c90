"""Finds the pages of image files, and reads them: a file of several pages is several images of one group.

The id of a page is that of its file, `#` and its number from 0 in at least four digits: `stack#0003`.
"""

import dataclasses
import functools
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from unet_jax.data.datasets import image_files, listing, options
from unet_jax.data.datasets.formats import tiff
from unet_jax.data.datasets.formats.axes import check_letters, without_channels
from unet_jax.data.datasets.formats.pictures import Pictures
from unet_jax.data.datasets.reading import Reading
from unet_jax.data.store.cache import stamp
from unet_jax.errors import UserError, collect_errors
from unet_jax.storage.paths import home_expanded, in_bucket

# Suffixes of files that hold one picture, whatever is in them.
SINGLE = (".png", ".bmp", ".jpg", ".jpeg")
LEFT_OUT = -1
# Files of which the pages are read at the same time: an image, its mask and its instances, by two threads.
KEPT_FILES = 6


class FoundPages(NamedTuple):
    """The pages of a folder.

    Attributes:
      of_file: for the id of each file of several pages, the number of the page in each file of the example, by the page's id;
        `LEFT_OUT` for a file with an error.
      together: by the id of a page, or of a file of an OME set, the id of the first file that belongs to the same whole.
    """

    of_file: dict[str, dict[str, tuple[int, ...]]]
    together: dict[str, str]


def find_pages(
    images: Mapping[str, str],
    others: Sequence[Mapping[str, str]],
    how: Reading,
    one_mask: bool,
    on_error: Callable[[UserError], None],
) -> FoundPages:
    """Returns the pages of files that hold several.

    Args:
      images: the path of each image by its id.
      others: the same of the masks and, if there are any, of the instances.
      how: how they are read.
      one_mask: True takes a mask of one page for all pages of an image.
      on_error: gets an error for each file whose number of pages is not that of its image, and for each image that has the
        name of a page. If it returns, the file is left out of all pages.
    """
    of_file: dict[str, dict[str, tuple[int, ...]]] = {}
    together: dict[str, str] = {}
    first_of_set: dict[str, str] = {}
    for id_, path in images.items():
        number, set_id = _count(path, how)
        first = first_of_set.setdefault(set_id, id_) if set_id else id_
        if first != id_:
            together[id_] = first
        if number == 1:
            continue
        numbers = [[*range(number)]]
        for files in others:
            numbers.append([LEFT_OUT] * number)
            with collect_errors(on_error):
                numbers[-1] = _numbers(path, number, files.get(id_, ""), of_masks(how), one_mask)
        of_file[id_] = {f"{id_}#{page:04}": of_page for page, of_page in enumerate(zip(*numbers, strict=True))}
        for clash in sorted(set(of_file[id_]) & set(images)):
            on_error(UserError(f"{images[clash]}: has the name of a page of {path}, {clash}; rename it"))
        together |= dict.fromkeys(of_file[id_], first)
    return FoundPages(of_file, together)


def _numbers(image: str, number: int, path: str, how: Reading, one_mask: bool) -> list[int]:
    """Returns the page of a mask for each page of its image.

    Raises:
      UserError: it has another number of pages.
    """
    found = _count(path, how)[0] if path else number
    if found == number:
        return [*range(number)]
    if found == 1 and one_mask:
        return [0] * number
    one = ", or set data.one_mask=True to take it for all pages" if found == 1 else ""
    raise UserError(f"{path}: holds {found} pages, its image {image} {number}; give each page its mask{one}")


def _count(path: str, how: Reading) -> tuple[int, str]:
    """Returns the number of pages of a file, and its `Pictures.set_id`; 1 and "" where it cannot be read: that is reported then."""
    suffix = listing.split_suffix(path)[1].lower()
    if suffix in SINGLE:
        return 1, ""
    try:
        if not suffix.endswith((".tif", ".tiff")) or in_bucket(path):
            opened = image_files.open_pictures(path, dataclasses.replace(how, channels=()))
            return opened.count, opened.set_id
        with image_files.name_errors(path), open(home_expanded(path), "rb") as file:
            found = tiff.open_pictures(path, file, how)[1]
            return len(found.planes), found.set_id
    except UserError:
        return 1, ""


def read_image(path: str, page: int | None, how: Reading) -> np.ndarray:
    """Returns the pixels of an image, `[H, W, C]`; see `image_files.open_pictures`.

    Args:
      path: its file.
      page: its page; None where the file holds one picture.
      how: how the file is read.

    Raises:
      UserError: the file cannot be read, or holds several pictures and no page is given.
    """
    return _read(image_files.open_pictures, path, page, how)[0]


def read_labels(path: str, page: int | None, how: Reading) -> tuple[np.ndarray, np.ndarray | None]:
    """Returns the values of a mask, and its palette; see `image_files.open_labels`. The rest is as for `read_image`."""
    return _read(image_files.open_labels, path, page, how)


def _read(open_file, path: str, page: int | None, how: Reading) -> tuple[np.ndarray, np.ndarray | None]:
    if page is None:
        opened = open_file(path, how)
        return opened.only(path), opened.colours
    opened, lock = _opened(open_file, path, how, stamp(path))
    # Two threads read pages of one file.
    with lock:
        return opened.read(page), opened.colours


@functools.lru_cache(maxsize=KEPT_FILES)
def _opened(open_file, path: str, how: Reading, stamp_: str) -> tuple[Pictures, Any]:
    """Returns an open file, which is not opened anew for each of its pages, and the lock under which it is read."""
    del stamp_
    return open_file(path, how), threading.Lock()


def of_masks(how: Reading) -> Reading:
    """Returns how the masks of images are read that are read in this way: their files have the same axes without channels."""
    return dataclasses.replace(how, axes=without_channels(how.axes), channels=())


def check_reading(axes: str, channels: Sequence[int], missing_chunks: str, nan: str = "error") -> Reading:
    """Returns how files are read.

    Raises:
      UserError: the axes hold no rows or columns, or a letter twice; or another value is not allowed.
    """
    given = {"axes": axes, "channels": channels, "missing_chunks": missing_chunks, "nan": nan}
    options.check_values("image_folder", given)
    if axes:
        check_letters("data.axes", axes)
    return Reading(axes=axes, channels=tuple(channels), nan=nan, missing_chunks=missing_chunks)


def image_reading(settings: Mapping[str, Any]) -> Reading:
    """Returns the `Reading` among the options of a data set or the keys of `config.data`; the rest of them is not looked at."""
    given = {field.name: settings[field.name] for field in dataclasses.fields(Reading) if field.name in settings}
    return Reading(**(given | {"channels": tuple(given.get("channels", ()))}))
