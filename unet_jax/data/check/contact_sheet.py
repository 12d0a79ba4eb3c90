"""Small pictures of a folder's images with their masks on one sheet, to see at a glance whether they fit."""

from collections.abc import Sequence

import numpy as np

from unet_jax.data.check.survey import ImageStats, Survey
from unet_jax.data.dataset import SPLITS
from unet_jax.data.datasets import image_files
from unet_jax.plotting import drawing
from unet_jax.plotting.drawing import arrange
from unet_jax.segmentation import VOID_ID

TILE, COLUMNS = 240, 6  # pixels, tiles in a row
MOST_IMAGES, MOST_PAIRS = 24, 12


def draw_sheet(found: Survey) -> np.ndarray:
    """Up to `MOST_IMAGES` images of all splits with outlined masks and a legend, RGB uint8; void is greyed out."""
    chosen = choose_images(found, MOST_IMAGES)
    colours = drawing.class_colours(found.class_names, found.palette)[1:]
    legend = list(zip(found.class_names[1:], colours, strict=True))
    if any(look.counts[VOID_ID] for look in chosen):
        legend.append(("void", drawing.VOID_COLOUR))
    return arrange([_tile(look, found, colours) for look in chosen], COLUMNS, legend)


def draw_alike_sheet(found: Survey) -> np.ndarray:
    """The first `MOST_PAIRS` pairs of images that look alike, each pair side by side, RGB uint8."""
    shown = found.alike[:MOST_PAIRS]
    tiles = [_tile(found.looks[place], found, ()) for i, j, _ in shown for place in (i, j)]
    return arrange(tiles, 2 if len(shown) < 3 else 4, [])


def choose_images(found: Survey, most: int) -> list[ImageStats]:
    """Examples of every split, evenly spread over it: of val and test their share and 2 at least, train has the rest."""
    looks = {split: found.of(split) for split in SPLITS}
    looks["train"] = [look for look in found.looks if look.split not in SPLITS[1:]]  # with those of a refused index
    parts = {split: min(len(listed), max(2, most * len(listed) // len(found.looks))) for split, listed in looks.items()}
    parts["train"] = min(len(looks["train"]), most - parts["val"] - parts["test"])
    spread = {split: np.linspace(0, len(looks[split]) - 1, part).round().astype(int) for split, part in parts.items()}
    return [looks[split][i] for split, places in spread.items() for i in places]


def _tile(look: ImageStats, found: Survey, colours: Sequence[drawing.Colour]) -> np.ndarray:
    """One image in a square of `TILE` pixels below its name; the masks of classes 1.. in `colours`, none without."""
    path, mask, *_ = look.row.paths
    image = drawing.to_display(image_files.read_image(path))
    factor = TILE / max(image.shape[:2])
    factor = max(1, int(factor)) if factor >= 1 else factor  # masks are enlarged by whole factors
    image = drawing.resize(image, factor)
    if len(colours):
        ids = image_files.to_ids(image_files.read_labels(mask), mask, found.mask_values, found.palette)
        masks = drawing.resize(ids[..., None] == np.arange(1, len(colours) + 1), factor)
        valid = drawing.resize(ids != VOID_ID, factor)
        image = drawing.paint(drawing.grey_out(image, valid), masks, colours, fill=0.15)
    square = drawing.blank(TILE, TILE).copy()
    top, left = ((TILE - n) // 2 for n in image.shape[:2])
    square[top : top + image.shape[0], left : left + image.shape[1]] = image
    return np.concatenate([drawing.strip(TILE, [(_short(f"{look.split}  {look.row.id}"), None)]), square])


def _short(text: str, most: int = 30) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
