"""Finds what is to be predicted: image files by their paths, in folders, in folders with subfolders, and by patterns."""

import dataclasses
import glob
import itertools
import os
import re
import unicodedata
from collections.abc import Iterator, Sequence

import numpy as np
from etils.epath import Path

from unet_jax.data.datasets import image_files, image_sources, listing
from unet_jax.data.datasets.image_rows import ImageRows
from unet_jax.data.datasets.reading import Reading
from unet_jax.errors import UserError
from unet_jax.inference import record
from unet_jax.storage import paths

# The suffix of the folder of a Zarr array.
ARRAY = ".zarr"
# Suffixes of what may hold several pictures; other files are not opened to find that out.
STACKS = (ARRAY, ".tif", ".tiff", ".npy", ".npz", ".gif", ".webp", ".nii", ".gz", ".dcm", ".dicom")
# What makes the text of a path a pattern, where no file or folder has that text as its name.
WILDCARD = re.compile(r"[*?\[]")


@dataclasses.dataclass(frozen=True)
class Input:
    """An image to predict.

    Attributes:
      path: its file.
      name: the name of its results: that of the file without the suffix, with the number of the page for one of several
        pages, such as "stack_p003"; below a folder with subfolders, the path from that folder, such as "day_1/cell_3".
      page: the image itself, if it is a page of several; else None.
      how: how its file is read.
      number: the number of its page in the file.
    """

    path: Path
    name: str
    page: ImageRows | None = None
    how: Reading = image_files.AS_STORED
    number: int = 0

    def open(self) -> ImageRows:
        """Returns the image, to be read in bands.

        Raises:
          UserError: the file cannot be read; see `image_sources.open_rows`.
        """
        return image_sources.open_rows(self.path, self.how)[0].rows if self.page is None else self.page

    def read(self) -> np.ndarray:
        """Returns the pixels, uint8, uint16 or float32 `[H, W, C]`.

        Raises:
          UserError: the file cannot be read.
        """
        if self.page is None and not is_array(self.path):
            return image_files.open_pictures(self.path, self.how).only(self.path)
        rows = self.open()
        return rows.read(0, rows.shape[0])


@dataclasses.dataclass(frozen=True)
class Inputs:
    """What `find_inputs` has found.

    Attributes:
      images: each image once.
      folders: the folders that were given.
      others: what is passed over in the folders, except what is hidden and `listing.DESKTOP_FILES`.
    """

    images: tuple[Input, ...]
    folders: tuple[Path, ...]
    others: tuple[Path, ...]

    def describe_others(self) -> list[str]:
        """Returns a line for each folder in which something is passed over."""
        by_folder = itertools.groupby(self.others, lambda path: path.parent)
        return [listing.describe_others(folder, list(files)) for folder, files in by_folder]


def find_inputs(
    given: Sequence[str | os.PathLike], recursive: bool = False, how: Reading = image_files.AS_STORED
) -> Inputs:
    """Finds the image files that are given, alone, by their folders or by patterns.

    The suffix decides what an image file is (`listing.SUFFIXES`), for a file that is given alone, too. A text that no file
    or folder has as its name may be a pattern with `*`, `?`, `[...]`, or `**` for any folders in between.

    Args:
      given: image files, folders of image files, and patterns of both; each local or in a bucket.
      recursive: takes the images of all subfolders, too. Hidden ones are passed over, and so are the results of another
        prediction.
      how: how the files are read.

    Raises:
      UserError: none is given, a file or folder is absent, a file has another suffix, a folder has no image, a name is not
        UTF-8, a folder leads back into itself, a subfolder is a data folder, or two files have one name without the suffix,
        in some file system: their results would share a file.
    """
    images: dict[str, Input] = {}
    seen: set[str] = set()
    folders: list[Path] = []
    others: list[Path] = []
    for path, by_pattern in _expanded(given):
        if path.is_dir() and not is_array(path):
            folders.append(path)
            found, passed = _images_below(path, recursive, how)
            others += passed
            if not found and not by_pattern:
                raise UserError(
                    f"{path}: has no image; looked for {', '.join(listing.SUFFIXES)}{_try(recursive, path)}"
                )
        elif by_pattern and not listing.is_read(path.name) and path.suffix.lower() != ARRAY:
            others.append(path)
            continue
        else:
            _check_given(path)
            found = _pictures(path, stem_of(path), how)
        for image in found:
            if os.path.abspath(image.path) not in seen:
                _check_twin(image, images.setdefault(_key(image.name), image))
        # After all its pages.
        seen |= {os.path.abspath(image.path) for image in found}
    if not images:
        raise UserError("no image is given; give image files or a folder of images")
    _check_places(images)
    return Inputs(tuple(images.values()), tuple(folders), tuple(others))


def _expanded(given: Sequence[str | os.PathLike]) -> Iterator[tuple[Path, bool]]:
    """Yields each path that is given, and those that match a pattern; True says that a pattern led to the path."""
    for text in given:
        path = paths.expand(text, "image")
        if not WILDCARD.search(os.fspath(path)) or path.exists() or os.path.islink(path):
            yield path, False
            continue
        matches = _matches(path)
        if not matches:
            raise UserError(
                f"{path}: no file or folder has this name, and none matches it as a pattern; check the path"
            )
        yield from ((match, True) for match in matches)


def _matches(pattern: Path) -> list[Path]:
    """Returns the files and folders that match a pattern, without hidden ones, sorted."""
    if not paths.in_bucket(pattern):
        return [paths.to_path(match) for match in sorted(glob.glob(os.fspath(pattern), recursive=True))]
    if "**" in os.fspath(pattern):
        raise UserError(f"{pattern}: ** is not read in a bucket; give the folder, with --recursive")
    fixed = list(itertools.takewhile(lambda part: not WILDCARD.search(part), pattern.parts))
    folder = Path(*fixed)
    return paths.glob(folder, os.fspath(pattern.relative_to(folder)))


def _images_below(folder: Path, recursive: bool, how: Reading) -> tuple[list[Input], list[Path]]:
    """Returns the images of a folder, and what is passed over; with `recursive`, those of all its subfolders, too."""
    images: list[Input] = []
    others: list[Path] = []
    waiting: list[tuple[Path, str, tuple[Path, ...]]] = [(folder, "", (folder,))]
    while waiting:
        place, prefix, above = waiting.pop(0)
        if recursive:
            _check_tree(place)
        passed: list[Path] = []
        found = listing.list_images(place, on_other=passed.append)
        if recursive and paths.in_bucket(place):
            # The listing of a bucket leaves names without a suffix out: most of them are folders.
            passed += [path for path in paths.glob(place, "*") if not path.suffix]
        for path in found.values():
            images += _pictures(path, f"{prefix}{stem_of(path)}", how)
        for path in passed:
            if is_array(path):
                images += _pictures(path, f"{prefix}{stem_of(path)}", how)
                continue
            if not (recursive and path.is_dir()) or (path / record.NAME).exists():
                others.append(path)
                continue
            if any(paths.is_same(path, one) for one in above):
                raise UserError(f"{path}: leads back to {os.path.realpath(path)}, which it lies in; remove this link")
            waiting.append((path, f"{prefix}{path.name}/", (*above, path)))
    return images, others


def _check_tree(folder: Path) -> None:
    """Raises UserError if a folder in a tree of images holds what could be taken for images."""
    if (folder / "images").is_dir() and (folder / "masks").is_dir():
        raise UserError(
            f"{folder}: is a data folder, and its masks/ would be taken for images; give {folder / 'images'} instead"
        )
    if (folder / record.NAME).exists():
        raise UserError(
            f"{folder}: holds the results of a prediction, which would be taken for images; leave --recursive out"
        )


def stem_of(path: Path) -> str:
    """Returns the name of a file or a Zarr folder without its suffix, such as "cells" for cells.ome.tif."""
    return listing.split_suffix(path.name)[0]


def is_array(path: Path) -> bool:
    """Returns True for the folder of a Zarr array."""
    return path.suffix.lower() == ARRAY and path.is_dir()


def _pictures(path: Path, name: str, how: Reading) -> list[Input]:
    """Returns the image of a file or of a Zarr array, or the pages of a stack."""
    if path.suffix.lower() not in STACKS or paths.in_bucket(path):
        return [Input(path, name, how=how)]
    try:
        pictures = image_sources.open_rows(path, how)
    except UserError:
        # It is reported where every file is read.
        return [Input(path, name, how=how)]
    if len(pictures) == 1:
        return [Input(path, name, how=how)]
    return [
        Input(path, f"{name}{picture.suffix}", picture.rows, how, number) for number, picture in enumerate(pictures)
    ]


def _try(recursive: bool, folder: Path) -> str:
    deeper = not recursive and any(path.is_dir() for path in folder.iterdir())
    return "; --recursive takes those of subfolders, too" if deeper else ""


def _check_given(path: Path) -> None:
    """Raises UserError if a path that was given alone is no image file."""
    if not path.exists():
        raise UserError(f"{path}: is neither an image file nor a folder of images; check the path")
    if is_array(path):
        return
    if not listing.is_read(path.name):
        raise UserError(
            f"{path}: is no image file by its suffix; known suffixes: {', '.join(listing.SUFFIXES)}. Save it as PNG or TIFF"
        )
    listing.check_file(path)


def _check_twin(image: Input, twin: Input) -> None:
    """Raises UserError if another image has the name of this one."""
    if twin is image:
        return
    same = "one name" if twin.name == image.name else "names that differ only in case or in their Unicode form"
    raise UserError(
        f"{image.path} and {twin.path} have {same}, {image.name}, and their results would share a file; rename one, or "
        "predict them into two folders"
    )


def _check_places(images: dict[str, Input]) -> None:
    """Raises UserError if the result of one image would be a folder that holds results of another."""
    for image in images.values():
        *folders, _ = _key(image.name).split("/")
        for folder in itertools.accumulate(folders, lambda above, name: f"{above}/{name}"):
            root, suffix = os.path.splitext(folder)
            if suffix and root in images:
                raise UserError(
                    f"{images[root].path} and {image.path}: the result of one could be the folder of the other, {folder}; "
                    "rename one, or predict them into two folders"
                )


def _key(name: str) -> str:
    """Returns the name of an image's results, equal for names that some file system takes for one."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())
