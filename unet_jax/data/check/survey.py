"""Looks at every file of an `image_folder` once: what would be refused, and what each image and mask holds."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from unet_jax.data.check import duplicates
from unet_jax.data.dataset import no_examples
from unet_jax.data.datasets import from_files, image_files, image_folder, splits
from unet_jax.data.datasets.classes import check_class_settings, name_classes
from unet_jax.errors import UserError
from unet_jax.segmentation import VOID_ID

NEEDED = ("train", "val")  # the splits without which a run does not begin


@dataclasses.dataclass(frozen=True)
class ImageStats:
    """What is kept of one example.

    `counts` int64 `[256]`: pixels by class id, 255 being void. `levels`: number of different grey values. `low`, `high`:
    the grey values that one pixel in a thousand lies below and above; `thumbnail` as in `duplicates`.
    """

    row: from_files.Row
    split: str
    size: tuple[int, int]
    channels: int
    dtype: str
    counts: np.ndarray
    levels: int
    low: int
    high: int
    thumbnail: np.ndarray

    @property
    def num_pixels(self) -> int:
        return self.size[0] * self.size[1]


@dataclasses.dataclass(frozen=True)
class Survey:
    """`refusals`: what training would refuse. `looks`: at each example without a problem, in the order of the splits.
    `alike`, `num_alike`: the pairs that `duplicates.find` keeps, as positions in `looks`, and the number of all."""

    root: str
    class_names: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]
    mask_values: tuple[int, ...]
    refusals: list[UserError]
    looks: list[ImageStats]
    alike: list[tuple[int, int, float]]
    num_alike: int

    def counts(self, split: str = "") -> np.ndarray:
        """Pixels by class id, int64 `[256]`, of one split or of all."""
        return sum((look.counts for look in self.of(split)), np.zeros(256, np.int64))

    def of(self, split: str = "") -> list[ImageStats]:
        """The looks of one split, or all."""
        return [look for look in self.looks if split in ("", look.split)]


def survey(
    root: str,
    *,
    masks_dir: str = "masks",
    class_names: Sequence[str] = (),
    num_classes: int = 0,
    mask_values: Sequence[int] = (),
    palette: image_files.Palette = (),
    split_file: str = "",
    split_fractions: Sequence[float] = (0.7, 0.15, 0.15),
) -> Survey:
    """Reads the folder `root` as `image_folder.create` does with the same options, and goes on where that would stop.

    Raises `UserError` for a option; whatever is wrong with the folder is in `refusals`.
    """
    known_classes, mask_values, palette = check_class_settings(class_names, num_classes, mask_values, palette)
    fractions = splits.check_fractions(split_fractions)
    refusals: list[UserError] = []
    rows = image_folder.find_rows(root, masks_dir, fractions, split_file, refusals.append)
    split_of = {row.id: split for split, listed in rows.items() for row in listed}
    every = [row for listed in rows.values() for row in listed]
    looks = {}

    def look(row, example):
        looks[row.id] = _image_stats(row, split_of[row.id], example["image"], example["mask"])

    reading = {"mask_values": mask_values, "palette": palette}
    facts = from_files.survey_rows(image_folder.ImageFolder, every, reading, known_classes, refusals.append, look)
    counts = {split: len(listed) for split, listed in rows.items() if listed}
    if every and "" not in counts:  # else the file of the splits has been refused already
        lacking = [split for split in NEEDED if split not in counts]
        refusals += [no_examples("image_folder", split, counts, image_folder.REMEDY) for split in lacking]
    seen = [looks[row.id] for row in every if row.id in looks]
    thumbnails = np.stack([look.thumbnail for look in seen]) if seen else np.zeros((0, 1, 1), np.float32)
    alike, num_alike = duplicates.find_duplicates(thumbnails, [look.split for look in seen])
    return Survey(
        root=root,
        class_names=name_classes(class_names, min(facts["num_classes"], VOID_ID)),
        palette=palette,
        mask_values=mask_values,
        refusals=refusals,
        looks=seen,
        alike=alike,
        num_alike=num_alike,
    )


def _image_stats(row: from_files.Row, split: str, pixels: np.ndarray, ids: np.ndarray) -> ImageStats:
    histogram = np.bincount(pixels.ravel())
    up_to = np.cumsum(histogram)
    low, high = np.searchsorted(up_to, (up_to[-1] / 1000, up_to[-1] * 999 / 1000))
    return ImageStats(
        row=row,
        split=split,
        size=pixels.shape[:2],
        channels=pixels.shape[-1],
        dtype=str(pixels.dtype),
        counts=np.bincount(ids.ravel(), minlength=256),
        levels=np.count_nonzero(histogram),
        low=int(low),
        high=int(high),
        thumbnail=duplicates.thumbnail(pixels),
    )
