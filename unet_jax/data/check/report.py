"""Formats a survey as one page of text: the fractions of the classes by split, the sizes, the grey values."""

import collections
from collections.abc import Iterable, Sequence

import numpy as np

from unet_jax.data.check.dataset_warnings import only_background
from unet_jax.data.check.survey import Survey
from unet_jax.data.dataset import SPLITS
from unet_jax.errors import UserError
from unet_jax.plotting.text_table import format_table
from unet_jax.segmentation import VOID_ID

# Largest number of rows of the table of sizes.
MOST_SIZES = 6
# Names of images by their channels.
KINDS = {1: "grey", 3: "RGB"}
# Largest number of errors with the same remedy that are listed.
MOST_ALIKE = 3


def format_survey(survey: Survey) -> str:
    """Returns the tables of a survey.

    Args:
      survey: a survey with at least one image.
    """
    return "\n\n".join([_class_table(survey), _size_table(survey), _describe_pixels(survey)])


def shorten(errors: Sequence[UserError], most: int = MOST_ALIKE) -> list[str]:
    """Returns the errors as lines; of errors with the same remedy only the first few.

    Args:
      errors: the errors. Their remedy is the text after the last semicolon.
      most: largest number of errors with the same remedy.
    """
    by_remedy = collections.defaultdict(list)
    for error in map(str, errors):
        by_remedy[error.rpartition("; ")[2]].append(error)
    lines = []
    for remedy, similar in by_remedy.items():
        lines += similar[:most]
        if len(similar) > most:
            lines.append(f"... and {len(similar) - most} more of this kind; {remedy}")
    return lines


def _class_table(survey: Survey) -> str:
    """Returns a table by split: numbers of images and groups, and the classes' fractions of the valid pixels."""
    columns = [split for split in (*SPLITS, "") if survey.images_of(split)]
    counts = {split: survey.counts(split) for split in columns}
    images = {split: survey.images_of(split) for split in columns}
    rows = [["", *(split or "all" for split in columns)]]
    rows.append(["images", *(str(len(images[split])) for split in columns)])
    rows.append(["groups", *(str(len({image.row.group for image in images[split]})) for split in columns)])
    for k, name in enumerate(survey.class_names):
        rows.append([f"{k} {name}", *(_percentage(counts[s][k], counts[s][:VOID_ID].sum()) for s in columns)])
    rows.append(["void, of all pixels", *(_percentage(counts[s][VOID_ID], counts[s].sum()) for s in columns)])
    rows.append(["only background", *(str(sum(map(only_background, images[s]))) for s in columns)])
    return format_table(rows)


def _size_table(survey: Survey) -> str:
    """Returns a table of the most frequent sizes, and the range of all sizes."""
    sizes = collections.Counter(image.size for image in survey.images)
    listed = [(size, n) for size, n in sizes.most_common(MOST_SIZES) if n > 1 or len(sizes) <= MOST_SIZES]
    rows = [["height x width", "images"], *([f"{size[0]} x {size[1]}", str(number)] for size, number in listed)]
    if len(listed) < len(sizes):
        rows.append(
            [f"{len(sizes) - len(listed)} others", str(len(survey.images) - sum(number for _, number in listed))]
        )
    heights, widths = zip(*(image.size for image in survey.images), strict=True)
    return f"{format_table(rows)}\nheight {_spread(heights)}, width {_spread(widths)}"


def _describe_pixels(survey: Survey) -> str:
    """Returns the pixel types and the range of grey values."""
    kinds = collections.Counter((image.dtype, image.channels) for image in survey.images)
    named = [
        f"{dtype}, {KINDS.get(channels, f'{channels} channels')} ({number})"
        for (dtype, channels), number in kinds.items()
    ]
    low, high = min(image.low for image in survey.images), max(image.high for image in survey.images)
    levels = _spread([image.levels for image in survey.images])
    return (
        f"pixels {'; '.join(named)}\n"
        f"grey values {low}..{high}, without the 0.1 % darkest and brightest pixels; levels in an image {levels}"
    )


def _spread(values: Iterable[int]) -> str:
    values = list(values)
    return f"{min(values)}..{max(values)} (median {int(np.median(values))})"


def _percentage(part: int, whole: int) -> str:
    return f"{part / whole:.2%}" if part else "-"
