"""Draws masks over images: class colours with a legend, small images enlarged, 16-bit and float images stretched."""

import io
import os
from collections.abc import Sequence

import cv2
import numpy as np
from etils.epath import Path
from PIL import Image, ImageDraw, ImageFont

from unet_jax.storage.paths import write_whole

# Bright on grey X-rays, and distinct for colour-blind eyes (after Okabe and Ito). More classes use the colours again.
FOREGROUND = ((255, 145, 0), (40, 175, 255), (0, 200, 130), (235, 90, 190), (245, 225, 60), (150, 110, 255))
BACKGROUND = (150, 150, 150)
VOID_COLOUR = (90, 90, 90)
PAPER, INK = (24, 24, 27), (235, 235, 235)
# Pixels between tiles of a sheet and between panels.
GAP = 6
PANEL_GAP = 8

Colour = tuple[int, int, int]


def class_colours(class_names: Sequence[str], palette: Sequence = ()) -> tuple[Colour, ...]:
    """Returns an RGB triple per class.

    >>> class_colours(("background", "anode"))
    ((150, 150, 150), (255, 145, 0))

    Args:
      class_names: by class id.
      palette: the data set's RGB triples. Where it does not have one for each class, the colours of this file are used; they
        also replace black.
    """
    offset = 1 if len(class_names) > 1 else 0
    colours = [BACKGROUND] * offset
    colours += [FOREGROUND[i % len(FOREGROUND)] for i in range(len(class_names) - offset)]
    if len(palette) == len(class_names):
        pairs = zip(palette, colours, strict=True)
        colours = [(int(c[0]), int(c[1]), int(c[2])) if any(c) else default for c, default in pairs]
    return tuple(colours)


def to_display(image: np.ndarray, limits: np.ndarray | None = None) -> np.ndarray:
    """Returns an image of any channels and type as RGB uint8 `[H, W, 3]`.

    One channel is grey, and three are red, green and blue. Of any other number the first three are shown as red, green and blue
    (of two, blue stays black), each stretched on its own: such channels have no common scale. Of one or three channels, values
    of uint8 stay as they are, and those of other types are stretched together. Stretched is from the 0.5th percentile, which
    becomes black, to the 99.5th. A pixel that is NaN or infinite has the colour of void.

    Args:
      image: uint8, uint16 or float32 `[H, W]` or `[H, W, C]`.
      limits: the `display_limits` of another image, to show two alike; by default those of this one.
    """
    image = image[..., None] if image.ndim == 2 else image
    unknown = ~np.isfinite(image).all(-1)
    shown = image[..., :3]
    if limits is not None or image.dtype != np.uint8 or image.shape[-1] not in (1, 3):
        low, high = display_limits(image) if limits is None else limits
        stretched = (shown.astype(np.float64) - low) / np.where(high > low, high - low, 1)
        shown = np.rint(255 * np.clip(np.nan_to_num(stretched), 0, 1)).astype(np.uint8)
    if shown.shape[-1] == 2:
        shown = np.pad(shown, ((0, 0), (0, 0), (0, 1)))
    shown = np.repeat(shown, 3, axis=-1) if shown.shape[-1] == 1 else np.ascontiguousarray(shown)
    if unknown.any():
        shown[unknown] = VOID_COLOUR
    return shown


def display_limits(image: np.ndarray) -> np.ndarray:
    """Returns the values that become black and white, float64 `[2]`, or of each channel that is shown `[2, 2 or 3]`; see `to_display`.

    Args:
      image: `[H, W, C]`.
    """
    finite = np.isfinite(image).all(-1)
    known = image[..., :3].reshape(-1, min(image.shape[-1], 3)) if finite.all() else image[finite][:, :3]
    if not known.size:
        return np.array([0.0, 1.0])
    return np.percentile(known, (0.5, 99.5), axis=None if image.shape[-1] in (1, 3) else 0)


def draw_masks(
    rgb: np.ndarray, masks: np.ndarray, colours: Sequence[Colour], fill: float = 0.35, line: int = 1
) -> np.ndarray:
    """Draws masks over an image: a translucent fill, mixed where masks overlap, and an outline inside each.

    Args:
      rgb: uint8 `[H, W, 3]`.
      masks: bool `[H, W, K]`.
      colours: K colours.
      fill: the opacity of the fill, from 0 to 1.
      line: the width of the outline in pixels; 0 for none.

    Returns:
      RGB uint8 `[H, W, 3]`.
    """
    masks = masks.astype(bool)
    table = np.asarray(colours, np.float32).reshape(-1, 3)
    num = masks.sum(-1, keepdims=True)
    mixed = masks.astype(np.float32) @ table / np.maximum(num, 1).astype(np.float32)
    painted = np.where(num > 0, (1 - fill) * rgb.astype(np.float32) + fill * mixed, rgb)
    kernel = np.ones((2 * line + 1, 2 * line + 1), np.uint8)
    for k, colour in enumerate(table):
        mask = masks[..., k].astype(np.uint8)
        inside = cv2.erode(mask, kernel, borderType=cv2.BORDER_REPLICATE)
        painted[(mask > 0) & (inside == 0)] = colour
    return np.rint(painted).astype(np.uint8)


def grey_out(rgb: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Returns an image RGB uint8 `[H, W, 3]` with its void pixels, where `valid` `[H, W]` is false, in a flat grey."""
    return np.where(valid[..., None], rgb, (0.3 * rgb + 0.7 * np.array(VOID_COLOUR)).astype(np.uint8))


def draw_prediction(
    image: np.ndarray, masks: np.ndarray, names: Sequence[str], colours: Sequence[Colour]
) -> np.ndarray:
    """Draws masks over an image, with a legend below.

    Args:
      image: see `to_display`.
      masks: bool `[H, W, K]`.
      names: of the K masks.
      colours: of the K masks.

    Returns:
      RGB uint8, enlarged where the image is small.
    """
    factor = max(1, round(800 / max(image.shape[:2])))
    panel = draw_masks(resize(to_display(image), factor), resize(masks, factor), colours, line=line_width(factor))
    return np.concatenate([panel, legend_strip(panel.shape[1], list(zip(names, colours, strict=True)))])


def save_png(picture: np.ndarray, path: str | os.PathLike) -> None:
    """Writes an RGB image as PNG in one move, with light compression: the default level takes longer than the prediction.

    Raises:
      OSError: the file cannot be written.
    """
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="PNG", compress_level=1)
    write_whole(Path(path), buffer.getvalue())


def line_width(factor: float) -> int:
    """Returns the width in pixels of an outline in an image that is enlarged by `factor`."""
    return 1 if factor < 4 else 2


def blank(height: int, width: int) -> np.ndarray:
    """Returns an empty dark picture, RGB uint8 `[height, width, 3]`."""
    return np.full((height, width, 3), PAPER, np.uint8)


def resize(array: np.ndarray, factor: float) -> np.ndarray:
    """Enlarges or reduces an image `[H, W, ...]` by `factor`: images smoothly, masks (bool) by nearest neighbours.

    >>> resize(np.zeros((4, 6, 2), bool), 0.5).shape
    (2, 3, 2)
    """
    if factor == 1:
        return array
    height, width = (max(1, round(n * factor)) for n in array.shape[:2])
    if array.dtype == bool:
        rows = np.minimum((np.arange(height) + 0.5) / factor, array.shape[0] - 1).astype(int)
        columns = np.minimum((np.arange(width) + 0.5) / factor, array.shape[1] - 1).astype(int)
        return array[rows][:, columns]
    return cv2.resize(array, (width, height), interpolation=cv2.INTER_CUBIC if factor > 1 else cv2.INTER_AREA)


def legend_strip(width: int, entries: Sequence[tuple[str, Colour | None]], least: int = 26) -> np.ndarray:
    """Draws a dark strip with a coloured square and a name per entry, in as many lines as needed.

    Args:
      width: of the strip in pixels.
      entries: names and colours; an entry without a colour (None) has no square.
      least: the least height of the strip in pixels.

    Returns:
      RGB uint8 `[height, width, 3]`.
    """
    font = ImageFont.load_default(size=14)
    places, x, y = [], 8, 5
    for name, colour in entries:
        square = 0 if colour is None else 18
        needed = square + int(font.getlength(name)) + 16
        if x > 8 and x + needed > width:
            x, y = 8, y + 22
        places.append((x, y, square, name, colour))
        x += needed
    image = Image.new("RGB", (width, max(least, y + 21)), PAPER)
    draw = ImageDraw.Draw(image)
    for x, y, square, name, colour in places:
        if colour is not None:
            draw.rectangle((x, y + 2, x + 11, y + 13), fill=colour)
        draw.text((x + square, y), name, fill=INK, font=font)
    return np.asarray(image)


def tile_sheet(tiles: Sequence[np.ndarray], columns: int, legend: Sequence[tuple[str, Colour | None]]) -> np.ndarray:
    """Puts tiles into rows, above a legend.

    Args:
      tiles: RGB uint8, of one size.
      columns: the number of tiles in a row.
      legend: entries, see `legend_strip`; () for no legend.

    Returns:
      RGB uint8.
    """
    columns = min(columns, len(tiles))
    gap = blank(tiles[0].shape[0], GAP)
    empty = blank(*tiles[0].shape[:2])
    tiles = [*tiles, *[empty] * (-len(tiles) % columns)]
    rows = [
        np.concatenate([part for tile in tiles[i : i + columns] for part in (tile, gap)], axis=1)
        for i in range(0, len(tiles), columns)
    ]
    if legend:
        rows.append(legend_strip(rows[0].shape[1], legend))
    return np.concatenate(rows)
