"""Reads image, mask and instance files; whatever is wrong with a file is an error of one line that names it."""

import io
from collections.abc import Callable, Sequence

import cv2
import numpy as np
from etils.epath import Path
from PIL import Image, ImageSequence

from unet_jax.data.store.cache import read_error
from unet_jax.errors import UserError, raise_error
from unet_jax.segmentation import VOID_ID
from unet_jax.storage.paths import in_bucket

JPEG = (".jpg", ".jpeg")
SUFFIXES = (".png", ".tif", ".tiff", ".bmp", *JPEG)
# The first four bytes of a TIFF: either byte order, classic or BigTIFF.
TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
# TIFF tags.
ORIENTATION, BITS_PER_SAMPLE = 274, 258

Palette = Sequence[Sequence[int]]

# OpenCV's log lines would repeat our errors; libpng and libtiff still write some lines.
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
# Large scans are no attack.
Image.MAX_IMAGE_PIXELS = None


def list_images(folder: str | Path, on_error: Callable[[UserError], None] = raise_error) -> dict[str, Path]:
    """Returns the image files of a folder by name without suffix, sorted; hidden files and other suffixes are skipped.

    Args:
      folder: the folder, local or in a bucket.
      on_error: gets an error for a file whose name differs from another one in the suffix only; where it returns, the
        second file is skipped.

    Raises:
      UserError: there is no such folder, or it cannot be read.
    """
    folder = Path(folder).expanduser()
    try:
        if not folder.is_dir():
            raise UserError(f"{folder}: is not a folder; give one that holds {', '.join(SUFFIXES)} files")
        listed = [path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES]
        # In a bucket, `is_file` would be a request for each file.
        listed = [path for path in listed if in_bucket(path) or path.is_file()]
    except OSError as error:
        raise read_error(folder, error) from error
    images: dict[str, Path] = {}
    for path in sorted(listed, key=lambda path: (path.stem, path.name)):
        if path.name.startswith("."):
            continue
        if path.stem in images:
            twin = images[path.stem].name
            on_error(UserError(f"{path}: {twin} has the same name but for the suffix; rename or remove one"))
            continue
        images[path.stem] = path
    return images


def read_image(path: str | Path) -> np.ndarray:
    """Returns the pixels of an image file: uint8 or uint16 `[H, W, C]`, C = 1 (grey) or 3 (RGB); alpha is dropped.

    OpenCV decodes, because Pillow would reduce 16-bit colour to 8 bits. A palette is expanded to RGB. The EXIF orientation
    of a JPEG or PNG is not applied, so that the pixels stay over those of the mask.

    Raises:
      UserError: the file is empty, cannot be read, is a turned TIFF, holds several pages, or its pixels are neither 8- nor
        16-bit unsigned.
    """
    data = _read(path)
    if data[:4] in TIFF:
        _check_tiff(path, data)
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except Exception:
        pixels = None
    if pixels is None:
        raise UserError(f"{path}: cannot be read as an image; save it again as PNG or TIFF, or remove it")
    if pixels.dtype not in (np.uint8, np.uint16):
        raise UserError(f"{path}: pixels are {pixels.dtype}; save it as 8- or 16-bit unsigned")
    if pixels.ndim == 2:
        return pixels[..., None]
    # Grey and alpha, which OpenCV gives as BGRA.
    if pixels.shape[-1] == 2 or _png_header(data)[1] in (0, 4):
        return pixels[..., :1]
    # BGR(A) -> RGB
    return np.ascontiguousarray(pixels[..., 2::-1])


def read_labels(path: str | Path) -> np.ndarray:
    """Returns the values of a mask file as stored: `[H, W]` (ids or grey values) or uint8 RGB `[H, W, 3]`, without alpha.

    Pillow decodes, because OpenCV would expand a palette to RGB: here the indices are the ids.

    Raises:
      UserError: the file is a JPEG (its compression changes the ids), has 16 bits with colour or alpha (Pillow would keep
        8 bits), is empty, cannot be read, is turned, or holds several pages.
    """
    data = _read(path)
    if data[:4] in TIFF:
        _check_tiff(path, data)
    try:
        with Image.open(io.BytesIO(data)) as image:
            if image.format in ("JPEG", "MPO"):
                raise UserError(f"{path}: is a JPEG, which changes ids; export the mask as PNG")
            bits = _bits(image, data)
            if bits == 16 and image.mode in ("LA", "PA", "RGB", "RGBA"):
                raise UserError(
                    f"{path}: is a mask of 16 bits with colour or alpha; save it as 8-bit, or as 16-bit grey without alpha"
                )
            image.load()
            if image.mode in ("LA", "PA", "RGBA"):
                return np.asarray(image)[..., :-1].squeeze(-1) if image.mode != "RGBA" else np.asarray(image)[..., :3]
            if image.mode in ("RGB", "L", "P", "1", "I", "I;16", "I;16B"):
                values = np.asarray(image)
                if image.mode == "L" and bits in (2, 4):
                    # Pillow stretches them to 0..255.
                    return values // (255 // (2**bits - 1))
                return values.astype(np.uint8) if values.dtype == bool else values
            mode = image.mode
    except UserError:
        raise
    except Exception as error:
        # A damaged file makes Pillow raise TypeError, struct.error, KeyError and others.
        raise UserError(f"{path}: cannot be read as a mask ({one_line(error)}); export it again as PNG") from error
    raise UserError(f"{path}: mask pixels are of mode {mode}; save it as 8-bit grey, palette or RGB PNG")


def to_ids(values: np.ndarray, path: str | Path, mask_values: Sequence[int] = (), palette: Palette = ()) -> np.ndarray:
    """Returns class ids uint8 `[H, W]` (255 void) for the values of a mask file.

    Args:
      values: the result of `read_labels`.
      path: names the file in errors.
      mask_values: values by class id; 255 is void unless it is one of them. () means that the values are the ids.
      palette: RGB triples by class id, for RGB masks.

    Raises:
      UserError: a value or a colour is no class.
    """
    if values.ndim == 3:
        return _through_palette(values, path, palette)
    present = values_in(values)
    if mask_values:
        table = {VOID_ID: VOID_ID} | {int(value): index for index, value in enumerate(mask_values)}
        unknown = [int(v) for v in present if int(v) not in table]
        if unknown:
            raise UserError(
                f"{path}: holds values {_few(unknown)} that are not in mask_values={tuple(mask_values)}; "
                "add them there or correct the mask (255 is void)"
            )
        return np.array([table[int(v)] for v in present], np.uint8)[np.searchsorted(present, values)]
    if present[0] < 0 or present[-1] > VOID_ID:
        raise UserError(f"{path}: holds values {_few(present)}; class ids are 0..254 and 255 is void")
    return values.astype(np.uint8)


def read_instances(path: str | Path) -> np.ndarray:
    """Returns instance numbers uint16 `[H, W]`, 0 = background; raises `UserError` on any other file."""
    values = read_labels(path)
    if values.ndim == 3 or values.min() < 0 or values.max() > 65535:
        raise UserError(f"{path}: instances must be one channel of 0..65535; save them as 16-bit grey PNG")
    return values.astype(np.uint16)


def read_pages(path: str | Path) -> np.ndarray:
    """Returns the pages of an 8-bit grey TIFF, all of one size: uint8 `[N, H, W]`; raises `UserError` on any other file."""
    data = _read(path)
    try:
        with Image.open(io.BytesIO(data), formats=("TIFF",)) as image:
            modes, pages = zip(*((page.mode, np.array(page)) for page in ImageSequence.Iterator(image)), strict=True)
    except Exception as error:
        raise UserError(f"{path}: cannot be read as a TIFF ({one_line(error)}); copy the original again") from error
    if set(modes) != {"L"} or len({page.shape for page in pages}) > 1:
        raise UserError(f"{path}: is not a stack of 8-bit grey pages of one size; copy the original again")
    return np.stack(pages)


def check_size(array: np.ndarray, path: str | Path, image: np.ndarray) -> None:
    """Raises `UserError` unless `array`, read from `path`, is as high and wide as the image it belongs to."""
    if array.shape[:2] != image.shape[:2]:
        sizes = [f"{width} x {height}" for height, width in (array.shape[:2], image.shape[:2])]
        raise UserError(f"{path}: is {sizes[0]} pixels, its image {sizes[1]}; make them the same size")


def values_in(array: np.ndarray) -> np.ndarray:
    """Returns the different values, sorted: `np.unique`, by counting where the values are 8- or 16-bit."""
    return np.flatnonzero(np.bincount(array.ravel())) if array.dtype.kind == "u" else np.unique(array)


def _through_palette(values, path, palette):
    packed, inverse = np.unique(_pack(values), return_inverse=True)
    colours = [tuple(int(c >> shift & 255) for shift in (16, 8, 0)) for c in packed]
    if not palette:
        raise UserError(
            f"{path}: is an RGB mask (colours {_few(colours)}) and no palette is given; "
            "set palette to the RGB triple of each class, or save class ids as 8-bit grey"
        )
    table = {tuple(map(int, colour)): index for index, colour in enumerate(palette)}
    unknown = [colour for colour in colours if colour not in table]
    if unknown:
        raise UserError(
            f"{path}: holds colours {_few(unknown)} that are not in the palette; add them or correct the mask"
        )
    return np.array([table[c] for c in colours], np.uint8)[inverse.reshape(values.shape[:2])]


def _pack(rgb):
    r, g, b = np.moveaxis(rgb.astype(np.uint32), -1, 0)
    return r << 16 | g << 8 | b


def _read(path) -> bytes:
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise read_error(path, error) from error
    if not data:
        raise UserError(f"{path}: is empty (0 bytes); copy it again or remove it")
    return data


def _check_tiff(path, data) -> None:
    try:
        with Image.open(io.BytesIO(data)) as image:
            pages, orientation = getattr(image, "n_frames", 1), image.tag_v2.get(ORIENTATION, 1)
    except Exception:
        # The decoder that follows says what is wrong, or can read what Pillow cannot.
        return
    if pages > 1:
        raise UserError(f"{path}: holds {pages} pages; save each page as a file of its own")
    if orientation != 1:
        raise UserError(
            f"{path}: its orientation tag is {orientation}; save it upright, with orientation 1 or no such tag"
        )


def _png_header(data: bytes) -> tuple[int, int]:
    """Returns (bits per channel, colour type) of a PNG: 0 grey, 2 RGB, 3 palette, 4 grey and alpha, 6 RGBA; else (0, -1)."""
    return (data[24], data[25]) if data.startswith(b"\x89PNG") and len(data) > 25 else (0, -1)


def _bits(image: Image.Image, data: bytes) -> int:
    """Returns the bits per channel as stored, from the file's header: Pillow's mode does not tell them."""
    if image.format == "TIFF":
        return max(image.tag_v2.get(BITS_PER_SAMPLE, (1,)))
    return _png_header(data)[0] or 8


def _few(values, most: int = 8) -> str:
    values = [v if isinstance(v, tuple) else int(v) for v in values]
    listed = ", ".join(map(str, values[:most]))
    return f"{listed}, ... ({len(values)} in all)" if len(values) > most else listed


def one_line(error: Exception) -> str:
    """Returns the first line of an error's message."""
    return str(error).splitlines()[0] if str(error) else type(error).__name__
