"""Draws small pictures of the images of a folder with their masks on one sheet, to see if they fit."""

from collections.abc import Sequence

import numpy as np

from unet_jax.data.check.survey import ImageStats, Survey
from unet_jax.data.dataset import SPLITS
from unet_jax.data.datasets import image_folder
from unet_jax.plotting import drawing
from unet_jax.plotting.drawing import tile_sheet
from unet_jax.segmentation import VOID_ID

# Pixels of a tile, and tiles in a row.
TILE, COLUMNS = 240, 6
MOST_IMAGES, MOST_PAIRS = 24, 12


def draw_sheet(survey: Survey) -> np.ndarray:
    """Draws up to `MOST_IMAGES` images of all splits with outlined masks and a legend.

    Void is greyed out.

    Args:
      survey: the survey of the folder.

    Returns:
      The sheet, RGB uint8 `[H, W, 3]`.
    """
    chosen = choose_images(survey, MOST_IMAGES)
    colours = drawing.class_colours(survey.class_names, survey.palette)[1:]
    legend = list(zip(survey.class_names[1:], colours, strict=True))
    if any(image.counts[VOID_ID] for image in chosen):
        legend.append(("void", drawing.VOID_COLOUR))
    return tile_sheet([_tile(image, survey, colours) for image in chosen], COLUMNS, legend)


def draw_alike_sheet(survey: Survey) -> np.ndarray:
    """Draws the first `MOST_PAIRS` pairs of similar images, each pair side by side.

    Args:
      survey: the survey of the folder.

    Returns:
      The sheet, RGB uint8 `[H, W, 3]`.
    """
    pairs = survey.alike[:MOST_PAIRS]
    tiles = [_tile(survey.images[place], survey, ()) for i, j, _ in pairs for place in (i, j)]
    return tile_sheet(tiles, 2 if len(pairs) < 3 else 4, [])


def choose_images(survey: Survey, most: int) -> list[ImageStats]:
    """Chooses images of every split, evenly spread over the split.

    val and test get a number in proportion to their size, at least 2; train gets the rest. Images without a split count as
    train: they exist if the split file could not be used.

    Args:
      survey: the survey of the folder.
      most: largest number of images.
    """
    by_split = {split: survey.images_of(split) for split in SPLITS}
    by_split["train"] = [image for image in survey.images if image.split not in SPLITS[1:]]
    total = len(survey.images)
    counts = {split: min(len(images), max(2, most * len(images) // total)) for split, images in by_split.items()}
    counts["train"] = min(len(by_split["train"]), most - counts["val"] - counts["test"])
    chosen = []
    for split, count in counts.items():
        positions = np.linspace(0, len(by_split[split]) - 1, count).round().astype(int)
        chosen += [by_split[split][position] for position in positions]
    return chosen


def _tile(stats: ImageStats, survey: Survey, colours: Sequence[drawing.Colour]) -> np.ndarray:
    """Draws one image below its name, in a square of `TILE` pixels, with the masks of class 1, 2, ... in `colours`."""
    example = image_folder.read_example(stats.row, survey.reading)
    image = drawing.to_display(example["image"])
    factor = TILE / max(image.shape[:2])
    # Masks can only be enlarged by whole factors.
    factor = max(1, int(factor)) if factor >= 1 else factor
    image = drawing.resize(image, factor)
    if len(colours):
        ids = example["mask"]
        masks = drawing.resize(ids[..., None] == np.arange(1, len(colours) + 1), factor)
        valid = drawing.resize(ids != VOID_ID, factor)
        image = drawing.draw_masks(drawing.grey_out(image, valid), masks, colours, fill=0.15)
    square = drawing.blank(TILE, TILE).copy()
    top, left = ((TILE - n) // 2 for n in image.shape[:2])
    square[top : top + image.shape[0], left : left + image.shape[1]] = image
    return np.concatenate([drawing.legend_strip(TILE, [(_short(f"{stats.split}  {stats.row.id}"), None)]), square])


def _short(text: str, most: int = 30) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
