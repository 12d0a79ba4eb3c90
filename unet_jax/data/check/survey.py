"""Reads every file of an `image_folder` once. Collects all errors, and statistics of each image and mask."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np

from unet_jax.data.check import duplicates
from unet_jax.data.dataset import empty_split_error
from unet_jax.data.datasets import file_examples, image_files, image_folder, splits
from unet_jax.data.datasets.classes import name_classes
from unet_jax.data.datasets.folder import names, pages
from unet_jax.data.nan_pixels import known_values
from unet_jax.errors import UserError
from unet_jax.segmentation import VOID_ID

# Splits that a training run needs.
NEEDED = ("train", "val")


@dataclasses.dataclass(frozen=True)
class ImageStats:
    """Holds the statistics of one example.

    Attributes:
      row: its id, group and paths.
      split: its split, or "".
      size: (height, width) in pixels.
      channels: number of channels of the image.
      dtype: pixel type, "uint8", "uint16" or "float32".
      counts: number of pixels by class id, int64 `[256]`; 255 is void.
      levels: number of different grey values.
      low: grey value below which one pixel in a thousand lies.
      high: grey value above which one pixel in a thousand lies.
      thumbnail: see `duplicates.thumbnail`.
      pieces: connected pieces of all instances together, divided by the number of instances; 0 if there is none.
    """

    row: file_examples.Row
    split: str
    size: tuple[int, int]
    channels: int
    dtype: str
    counts: np.ndarray
    levels: int
    low: float
    high: float
    thumbnail: np.ndarray
    pieces: float

    @property
    def num_pixels(self) -> int:
        """Returns the number of pixels, height times width."""
        return self.size[0] * self.size[1]


@dataclasses.dataclass(frozen=True)
class Survey:
    """Holds the result of `survey_folder`.

    Attributes:
      root: the folder.
      class_names: names by class id.
      named: True if the names were given.
      palette: RGB by class id, or ().
      mask_values: values in the masks by class id, or ().
      errors: all errors of the folder; training would end with the first.
      notes: a line for each folder in which files are passed over.
      images: the examples without an error, in the order of the splits.
      alike: pairs of similar images from `duplicates.find_duplicates`: two positions in `images`, and the correlation.
      num_alike: number of all such pairs; `alike` may hold only some.
      reading: how the files are read, see `image_folder.read_example`.
    """

    root: str
    class_names: tuple[str, ...]
    named: bool
    palette: tuple[tuple[int, int, int], ...]
    mask_values: tuple[int, ...]
    errors: list[UserError]
    notes: list[str]
    images: list[ImageStats]
    alike: list[tuple[int, int, float]]
    num_alike: int
    reading: Mapping[str, Any] = dataclasses.field(default_factory=lambda: {"masks": image_folder.CLASSES})

    def counts(self, split: str = "") -> np.ndarray:
        """Returns the number of pixels by class id, int64 `[256]`, of one split, or of all with ""."""
        return sum((image.counts for image in self.images_of(split)), np.zeros(256, np.int64))

    def images_of(self, split: str = "") -> list[ImageStats]:
        """Returns the images of one split, or all images with ""."""
        return [image for image in self.images if split in ("", image.split)]


def survey_folder(
    root: str,
    *,
    masks_dir: str = "masks",
    class_names: Sequence[str] = (),
    num_classes: int = 0,
    mask_values: Sequence[int] = (),
    palette: image_files.Palette = (),
    masks: str = image_folder.CLASSES,
    image_name: str = names.STEM,
    mask_name: str = names.STEM,
    instance_name: str = names.STEM,
    axes: str = "",
    channels: Sequence[int] = (),
    missing_chunks: str = "error",
    one_mask: bool = False,
    split_file: str = "",
    split_fractions: Sequence[float] = (0.7, 0.15, 0.15),
    nan: str = "error",
) -> Survey:
    """Reads the folder `root` as `load_image_folder` does, but continues after an error.

    Args:
      root: as in `load_image_folder`.
      masks_dir: as in `load_image_folder`.
      class_names: as in `load_image_folder`.
      num_classes: as in `load_image_folder`.
      mask_values: as in `load_image_folder`.
      palette: as in `load_image_folder`.
      masks: as in `load_image_folder`.
      image_name: as in `load_image_folder`.
      mask_name: as in `load_image_folder`.
      instance_name: as in `load_image_folder`.
      axes: as in `load_image_folder`.
      channels: as in `load_image_folder`.
      missing_chunks: as in `load_image_folder`.
      one_mask: as in `load_image_folder`.
      split_file: as in `load_image_folder`.
      split_fractions: as in `load_image_folder`.
      nan: as in `load_image_folder`.

    Returns:
      The survey; errors of the folder are in its `errors`.

    Raises:
      UserError: an option has a bad value.
    """
    known_classes, mask_values, palette = image_folder.check_settings(
        masks, class_names, num_classes, mask_values, palette
    )
    how = pages.check_reading(axes, channels, missing_chunks, nan)
    patterns = names.Patterns(image_name, mask_name, instance_name)
    fractions = splits.check_fractions(split_fractions)
    errors: list[UserError] = []
    notes: list[str] = []
    rows = image_folder.find_rows(
        root, masks_dir, fractions, split_file, patterns, masks, how, one_mask, errors.append, notes.append
    )
    split_of = {row.id: split for split, listed in rows.items() for row in listed}
    all_rows = [row for listed in rows.values() for row in listed]
    stats = {}

    def keep_stats(row, example, mask):
        stats[row.id] = _image_stats(row, split_of[row.id], example["image"], mask.counts, example.get("instances"))

    reading = image_folder.reading_of(masks, mask_values, palette, how)
    facts = file_examples.survey_rows(
        image_folder.read_example, all_rows, reading, known_classes, errors.append, keep_stats
    )
    counts = {split: len(listed) for split, listed in rows.items() if listed}
    # If images are in the split "", `errors` has one about the split file already.
    if all_rows and "" not in counts:
        lacking = [split for split in NEEDED if split not in counts]
        errors += [empty_split_error("image_folder", split, counts, image_folder.REMEDY) for split in lacking]
    images = [stats[row.id] for row in all_rows if row.id in stats]
    thumbnails = np.stack([image.thumbnail for image in images]) if images else np.zeros((0, 1, 1), np.float32)
    alike, num_alike = duplicates.find_duplicates(thumbnails, [image.split for image in images])
    return Survey(
        root=root,
        class_names=name_classes(class_names, min(facts["num_classes"], VOID_ID)),
        named=bool(class_names),
        palette=palette,
        mask_values=mask_values,
        errors=errors,
        notes=notes,
        images=images,
        alike=alike,
        num_alike=num_alike,
        reading=reading,
    )


def _image_stats(
    row: file_examples.Row, split: str, image: np.ndarray, counts: np.ndarray, instances: np.ndarray | None
) -> ImageStats:
    low, high, levels = _grey_values(image)
    return ImageStats(
        row=row,
        split=split,
        size=image.shape[:2],
        channels=image.shape[-1],
        dtype=str(image.dtype),
        counts=counts,
        levels=levels,
        low=low,
        high=high,
        thumbnail=duplicates.thumbnail(image),
        pieces=_pieces(instances) if instances is not None else 0,
    )


def _grey_values(image: np.ndarray) -> tuple[float, float, int]:
    """Returns the values below which 0.1 % and 99.9 % of an image lie, and the number of different values."""
    if image.dtype == np.float32:
        values = known_values(image)
        if not values.size:
            return 0.0, 0.0, 0
        low, high = np.percentile(values, (0.1, 99.9))
        return float(f"{low:.4g}"), float(f"{high:.4g}"), len(np.unique(values))
    histogram = image_files.count_values(image)
    cumulative = np.cumsum(histogram)
    low, high = np.searchsorted(cumulative, (cumulative[-1] / 1000, cumulative[-1] * 999 / 1000))
    return int(low), int(high), int(np.count_nonzero(histogram))


def _pieces(instances: np.ndarray) -> float:
    """Returns the number of connected pieces, corners included, by instance; 0 if there is none."""
    number = int(np.count_nonzero(image_files.values_in(instances)))
    pieces = cv2.connectedComponents((instances > 0).astype(np.uint8), connectivity=8)[0] - 1
    return pieces / max(number, 1)
