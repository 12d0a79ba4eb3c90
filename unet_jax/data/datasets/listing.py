"""Lists the image files of a folder by their names. No file is opened.

An id is the name of a file without its suffix, or without both parts of one such as `.ome.tif`, in the Unicode form NFC. A Mac
writes accents in another form (NFD), which looks the same; in one form the names of images, masks and `index.csv` meet. A name
that cannot be printed is refused.
"""

import os
import pathlib
import unicodedata
from collections.abc import Callable, Iterator, Sequence

from etils.epath import Path

from unet_jax.data.store.cache import read_error
from unet_jax.errors import UserError, printable, raise_error
from unet_jax.storage.paths import in_bucket, to_path

SUFFIXES = (
    *(".png", ".tif", ".tiff", ".bmp", ".jpg", ".jpeg", ".gif", ".webp", ".jp2", ".j2k", ".jpx"),
    *(".npy", ".npz", ".dcm", ".dicom", ".nii"),
)
# Suffixes of two parts, which are no part of the name: `a.ome.tif` goes with `a.png`.
DOUBLE_SUFFIXES = (".ome.tif", ".ome.tiff", ".ome.zarr", ".nii.gz")
# Suffix of the folder of a Zarr array or an OME-Zarr image, which is read as a file is.
ARRAY = ".zarr"
# Images that are not read.
_UNREAD = (
    "jpf jpe jfif jxl jxr avif heic heif dib pbm pgm ppm pnm pcx tga psd svg exr hdr ico dng raw apng "
    "mat h5 zarr nrrd mha mhd mrc czi lif lsm nd2 oib oif svs ndpi vsi ims stk dm3 dm4"
)
UNREAD_SUFFIXES = tuple(f".{name}" for name in _UNREAD.split())
# Files that a desktop puts into a folder, in small letters. Hidden ones need no name here.
DESKTOP_FILES = ("thumbs.db", "desktop.ini")
# Largest number of names in a line.
FEW = 3

# Kinds of what lies in a folder; the other kinds are the text of an error.
FILE, FOLDER = "file", "folder"
LOST_LINK = "is a link whose target cannot be reached; restore the target or remove the link"
NOT_UTF8 = "the name is not UTF-8, probably from a zip or a share of Windows; rename it"
NO_FILE = "is neither a file nor a folder (a pipe, a socket or a device); remove it"


def list_images(
    folder: str | Path,
    on_error: Callable[[UserError], None] = raise_error,
    on_other: Callable[[Path], None] = lambda path: None,
) -> dict[str, Path]:
    """Returns the image files of a folder by id, sorted.

    Hidden files are skipped, and so are files and folders without one of the `SUFFIXES`, except local folders of Zarr arrays.

    Args:
      folder: the folder, local or in a bucket.
      on_error: gets an error for a name that is not UTF-8 or holds control characters, for a link without a target, for a
        folder, pipe or device that is named like an image, and for the second of two files with one id. If it returns, that
        file is skipped.
      on_other: gets each file and folder that is skipped for its suffix, sorted by name. It does not get hidden ones and
        `DESKTOP_FILES`.

    Raises:
      UserError: there is no such folder, or it cannot be read.
    """
    folder = to_path(folder)
    try:
        if not folder.is_dir():
            raise UserError(f"{folder}: is not a folder; give a folder that holds {', '.join(SUFFIXES)} files")
        kinds = dict(_entries(folder))
    except OSError as error:
        raise read_error(folder, error) from error
    images: dict[str, Path] = {}
    for name in sorted(kinds, key=lambda name: (split_suffix(name)[0], name)):
        path, kind = folder / name, kinds[name]
        is_array = kind == FOLDER and name.lower().endswith(ARRAY)
        if not is_read(name) and not is_array:
            if name.lower() not in DESKTOP_FILES:
                on_other(path)
            continue
        id_ = id_of(name)
        fault = _name_fault(name) or (not is_array and _kind_fault(kind)) or ""
        if not fault and id_ in images:
            fault = f"has the same name as {images[id_].name}, up to the suffix or the Unicode form; rename or remove one of them"
        if fault:
            on_error(UserError(f"{path}: {fault}"))
        else:
            images[id_] = path
    return images


def id_of(name: str) -> str:
    """Returns the id of a file: its name without the suffix, in the Unicode form NFC.

    >>> id_of("plate 1.png"), id_of("a.ome.tif")
    ('plate 1', 'a')
    """
    return normal_form(split_suffix(name)[0])


def is_read(name: str) -> bool:
    """Returns True if files of this name are read."""
    suffix = split_suffix(name)[1].lower()
    return suffix in SUFFIXES or (suffix in DOUBLE_SUFFIXES and not suffix.endswith(ARRAY))


def split_suffix(name: str) -> tuple[str, str]:
    """Returns the name of a file without its suffix, and the suffix, which may be one of `DOUBLE_SUFFIXES`."""
    for suffix in DOUBLE_SUFFIXES:
        if name.lower().endswith(suffix) and len(name) > len(suffix):
            return name[: -len(suffix)], name[-len(suffix) :]
    return os.path.splitext(name)


def normal_form(text: str) -> str:
    """Returns a name in the Unicode form NFC, in which an accented letter is one character."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def is_utf8(path: str | os.PathLike) -> bool:
    """Returns True if a path is UTF-8; the bytes of another one cannot be printed or stored as text."""
    try:
        os.fspath(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def check_file(path: str | Path) -> None:
    """Checks that what lies at a path, if anything, is a regular file or a link to one. In a bucket nothing is checked.

    Reading a pipe would wait forever.

    Raises:
      UserError: there is a link without a target, a folder, a pipe, a socket or a device; or the path is not UTF-8.
    """
    if not is_utf8(path):
        raise UserError(f"{path}: {NOT_UTF8}")
    if in_bucket(path) or not os.path.lexists(path):
        return
    if fault := _kind_fault(_kind(pathlib.Path(path))):
        raise UserError(f"{path}: {fault}")


def describe_others(folder: str | Path, others: Sequence[Path]) -> str:
    """Returns a line about what is passed over in a folder because its suffix is none of `SUFFIXES`.

    >>> describe_others("new", [Path("new/a.gif"), Path("new/b.txt")])
    'new: passes over 2 files or folders of other kinds: a.gif, b.txt'
    """
    names = ", ".join(path.name for path in others[:FEW])
    noun = "1 file or folder of another kind" if len(others) == 1 else f"{len(others)} files or folders of other kinds"
    return printable(f"{folder}: passes over {noun}: {names}{', ...' if len(others) > FEW else ''}")


def _entries(folder: Path) -> Iterator[tuple[str, str]]:
    """Yields name and kind of everything in a folder that is not hidden."""
    if in_bucket(folder):
        # To ask for the kind would need a request for each object. One without a suffix is taken for a folder.
        yield from ((path.name, FILE) for path in folder.iterdir() if path.suffix and not path.name.startswith("."))
        return
    with os.scandir(folder) as entries:
        yield from ((entry.name, _kind(entry)) for entry in entries if not entry.name.startswith("."))


def _kind(entry: os.DirEntry | pathlib.Path) -> str:
    try:
        return FILE if entry.is_file() else FOLDER if entry.is_dir() else LOST_LINK if entry.is_symlink() else NO_FILE
    except OSError:
        # The target lies in a folder that may not be read, or the link leads to itself.
        return LOST_LINK


def _kind_fault(kind: str) -> str:
    return {FILE: "", FOLDER: "is a folder, but should be a file; move it away"}.get(kind, kind)


def _name_fault(name: str) -> str:
    if not is_utf8(name):
        return NOT_UTF8
    if not name.isprintable() and any(map(_is_control, name)):
        return "the name holds control characters; rename it"
    return ""


def _is_control(character: str) -> bool:
    return unicodedata.category(character) in ("Cc", "Zl", "Zp")
