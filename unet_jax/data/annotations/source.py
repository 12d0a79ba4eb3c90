"""Finds and opens the files of a source of annotations: one file, or a folder with all that lies in it."""

import functools
import json
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from unet_jax.data.annotations.options import Options
from unet_jax.data.datasets import image_files
from unet_jax.errors import UserError


class Source(NamedTuple):
    """Holds the files of a source.

    Attributes:
      path: the file or the folder.
      files: that file, or all files in the folder and below, sorted; hidden ones are left out.
    """

    path: Path
    files: tuple[Path, ...]

    def ending(self, *suffixes: str) -> list[Path]:
        """Returns the files with one of these suffixes, such as ".json", in capitals or not."""
        return [path for path in self.files if path.suffix.lower() in suffixes]


def open_source(path: Path) -> Source:
    """Returns the source at a path.

    Raises:
      UserError: there is nothing.
    """
    if path.is_file():
        return Source(path, (path,))
    if not path.is_dir():
        raise UserError(f"{path}: there is no such file or folder; give a file of annotations, or a folder of them")
    files = (file for file in path.rglob("*") if file.is_file())
    visible = [file for file in files if not any(part.startswith(".") for part in file.relative_to(path).parts)]
    return Source(path, tuple(sorted(visible)))


def read_text(path: Path) -> str:
    """Returns the text of a file in UTF-8.

    Raises:
      UserError: it cannot be read.
    """
    try:
        return path.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read ({error}); save it as UTF-8") from error


def read_json(path: Path) -> Any:
    """Returns what a JSON file holds.

    Raises:
      UserError: it cannot be read.
    """
    state = path.stat()
    return _read_json(path, state.st_mtime_ns, state.st_size)


# To recognise the format, and to read it, a file is opened twice. The values of one file may be large.
@functools.lru_cache(maxsize=1)
def _read_json(path: Path, changed: int, size: int) -> Any:
    try:
        return json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: is not JSON ({error}); export it again") from error


def find_image(name: str, beside: Path, options: Options) -> Path:
    r"""Returns the file of an image that an annotation names.

    Args:
      name: its path; `\` counts as `/`, as Windows writes it.
      beside: the file of the annotation. Relative names count from its folder, or from `options.images`.
      options: how annotations are read.

    Raises:
      UserError: there is no such file.
    """
    names = dict.fromkeys([name, name.replace("\\", "/")])
    folder = Path(options.images) if options.images else beside.parent
    # A folder of images may lack the folders of the names.
    paths = [folder / name for name in names] + [folder / PurePosixPath(name).name for name in names if options.images]
    for path in paths:
        if name and path.is_file():
            return path
    remedy = "correct --images" if options.images else "put it there, or give the folder of the images with --images"
    raise UserError(f"{beside}: its image {name!r} is not in {folder}; {remedy}")


def size_of(image: Path, page: int = 0) -> tuple[int, int]:
    """Returns height and width of an image, as all commands read it.

    Args:
      image: its file.
      page: its page in the file, from 0.

    Raises:
      UserError: the image cannot be read.
    """
    sizes = sizes_of(image)
    if page >= len(sizes):
        raise UserError(
            f"{image}: has {len(sizes)} pictures, but number {page + 1} is annotated; give the image that was annotated"
        )
    return sizes[page]


def sizes_of(image: Path) -> tuple[tuple[int, int], ...]:
    """Returns height and width of each picture of an image file, all of which are decoded once."""
    return _sizes_of(image, image.stat().st_mtime_ns)


@functools.lru_cache(maxsize=64)
def _sizes_of(image: Path, changed: int) -> tuple[tuple[int, int], ...]:
    opened = image_files.open_pictures(str(image))
    shapes = [opened.read(page).shape for page in range(opened.count)]
    return tuple((height, width) for height, width, _ in shapes)
