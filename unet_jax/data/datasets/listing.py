"""Lists the image files of a folder by their names. No file is opened."""

from collections.abc import Callable

from etils.epath import Path

from unet_jax.data.store.cache import read_error
from unet_jax.errors import UserError, raise_error
from unet_jax.storage.paths import in_bucket

JPEG = (".jpg", ".jpeg")
SUFFIXES = (".png", ".tif", ".tiff", ".bmp", *JPEG)
# Files that a desktop puts into a folder, in small letters. Hidden ones need no name here.
DESKTOP_FILES = ("thumbs.db", "desktop.ini")


def list_images(
    folder: str | Path,
    on_error: Callable[[UserError], None] = raise_error,
    on_other: Callable[[Path], None] = lambda path: None,
) -> dict[str, Path]:
    """Returns the image files of a folder by name without suffix, sorted.

    Hidden files and files with other suffixes than `SUFFIXES` are skipped.

    Args:
      folder: the folder, local or in a bucket.
      on_error: gets an error for the second of two files whose names differ only in the suffix. If it returns, that file
        is skipped.
      on_other: gets each file that is skipped for its suffix, sorted by name. It does not get hidden files, folders and
        `DESKTOP_FILES`.

    Raises:
      UserError: there is no such folder, or it cannot be read.
    """
    folder = Path(folder).expanduser()
    try:
        if not folder.is_dir():
            raise UserError(f"{folder}: is not a folder; give a folder that holds {', '.join(SUFFIXES)} files")
        listed = [path for path in folder.iterdir() if not path.name.startswith(".")]
        files = [path for path in listed if path.suffix.lower() in SUFFIXES]
        # In a bucket, `is_file` would need a request for each file.
        files = [path for path in files if in_bucket(path) or path.is_file()]
    except OSError as error:
        raise read_error(folder, error) from error
    for path in sorted(set(listed) - set(files)):
        # In a bucket, an object without a suffix is taken for a folder.
        is_file = bool(path.suffix) if in_bucket(path) else path.is_file()
        if is_file and path.suffix.lower() not in SUFFIXES and path.name.lower() not in DESKTOP_FILES:
            on_other(path)
    images: dict[str, Path] = {}
    for path in sorted(files, key=lambda path: (path.stem, path.name)):
        if path.stem in images:
            twin = images[path.stem].name
            on_error(
                UserError(f"{path}: its name differs from {twin} only in the suffix; rename or remove one of them")
            )
            continue
        images[path.stem] = path
    return images
