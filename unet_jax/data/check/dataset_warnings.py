"""Finds what training accepts in a folder but is probably wrong. Each warning is one line and names the remedy."""

import collections
from collections.abc import Iterator, Sequence

from unet_jax.data.check.survey import ImageStats, Survey
from unet_jax.data.dataset import SPLITS
from unet_jax.data.datasets.classes import find_inverted
from unet_jax.data.datasets.image_folder import CLASSES
from unet_jax.segmentation import VOID_ID

# Number of different grey values that 8 bits can hold.
FEW_LEVELS = 256
# Fraction of 0..65535 that a 12-bit camera fills.
SMALL_RANGE = 1 / 16
# Number of pieces by instance from which an instance map is probably a mask of classes.
SCATTERED = 2
# Fraction of void pixels from which a warning is given.
MUCH_VOID = 0.5
# Largest number of images or pairs that a warning names.
FEW = 4


def find_warnings(survey: Survey, window: Sequence[int]) -> list[str]:
    """Returns all warnings.

    Args:
      survey: the survey of the folder.
      window: (height, width) of a training window in pixels.
    """
    if not survey.images:
        return survey.notes
    parts = (
        survey.notes,
        _alike(survey),
        _classes(survey),
        _masks(survey),
        _instances(survey),
        _grey_values(survey),
        _sizes(survey, window),
    )
    return [line for part in parts for line in part]


def _alike(survey: Survey) -> Iterator[str]:
    if survey.alike:
        named = [
            f"{_named(survey.images[i])} and {_named(survey.images[j])} ({r:.2f})" for i, j, r in survey.alike[:FEW]
        ]
        yield (
            f"images in different splits look alike: {_few(named, 'pairs', survey.num_alike)}; if they show the same thing, "
            "the score will be too good: give them the same group in index.csv or the split file"
        )


def _classes(survey: Survey) -> Iterator[str]:
    counts = {split: survey.counts(split) for split in SPLITS if survey.images_of(split)}
    everywhere = survey.counts()
    lacking: dict[tuple[str, ...], list[str]] = collections.defaultdict(list)
    for k, name in enumerate(survey.class_names):
        # () means that no mask has the class.
        splits = tuple(split for split in counts if everywhere[k] and not counts[split][k])
        if splits or not everywhere[k]:
            lacking[splits].append(f"{name!r} ({k})")
    for splits, names in lacking.items():
        one = len(names) == 1
        subject = f"class {names[0]} is" if one else f"classes {_few(names, 'classes')} are"
        if not splits:
            yield f"{subject} in no mask; correct the masks, class_names or num_classes"
            continue
        effect = "will not be learnt" if "train" in splits else "will not be scored there"
        pronoun = "it" if one else "they"
        yield f"{subject} not in {' and '.join(splits)}, so {pronoun} {effect}; divide the images in another way"


def _masks(survey: Survey) -> Iterator[str]:
    nothing = [_named(image) for image in survey.images if image.counts[VOID_ID] == image.num_pixels]
    if nothing:
        yield f"masks hold only void: {_few(nothing)}; nothing can be learnt from them: correct or remove them"
    empty = [image for image in survey.images if only_background(image)]
    with_void = [_named(image) for image in empty if image.counts[VOID_ID]]
    if with_void:
        yield f"masks hold only background and void (255): {_few(with_void)}; if 255 is an object there, save it as 1"
    without = [_named(image) for image in empty if not image.counts[VOID_ID]]
    if without:
        yield f"masks hold only background: {_few(without)}; check that these images show nothing to be marked"
    counts = survey.counts()
    names = survey.class_names if survey.named else ()
    if survey.reading["masks"] == CLASSES:
        yield from find_inverted(counts.tolist(), len(survey.class_names), names, survey.mask_values, survey.palette)
    if counts[VOID_ID] > MUCH_VOID * counts.sum():
        yield (
            f"{counts[VOID_ID] / counts.sum():.0%} of all pixels are void (255) and do not count; if 255 is a class, "
            "set mask_values"
        )


def _instances(survey: Survey) -> Iterator[str]:
    with_instances = [image for image in survey.images if image.pieces]
    scattered = [_named(image) for image in with_instances if image.pieces >= SCATTERED]
    if len(scattered) > len(with_instances) / 2:
        yield (
            f"instance maps give one number to several separate pieces: {_few(scattered)}; give each object its own number, or "
            "remove the folder instances/"
        )


def _grey_values(survey: Survey) -> Iterator[str]:
    constant = [_named(image) for image in survey.images if image.levels == 1]
    if constant:
        yield f"images hold only one grey value: {_few(constant)}; look at them"
    sixteen = [image for image in survey.images if image.dtype == "uint16" and image.levels > 1]
    coarse = [image for image in sixteen if image.levels <= FEW_LEVELS and image.num_pixels > 4 * FEW_LEVELS]
    if coarse:
        most = max(image.levels for image in coarse)
        yield (
            f"16-bit images hold at most {most} grey values each: {_few([_named(image) for image in coarse])}; "
            "they were probably 8-bit before: look for the originals, or save them as 8-bit"
        )
    if sixteen:
        low, high = min(image.low for image in sixteen), max(image.high for image in sixteen)
        if high - low <= SMALL_RANGE * 65535:
            yield (
                f"16-bit images use only {low}..{high} of 0..65535; keep data.normalize='image' (the default): "
                "with 'range' they would be almost constant"
            )


def _sizes(survey: Survey, window: Sequence[int]) -> Iterator[str]:
    small = [_named(image) for image in survey.images if image.size[0] < window[0] or image.size[1] < window[1]]
    if small:
        yield (
            f"images are smaller than a training window of {window[0]} x {window[1]} (height x width): {_few(small)}; "
            "the rest of the window is mirrored and does not count: give a smaller --patch here, and in training a smaller data.patch"
        )


def only_background(image: ImageStats) -> bool:
    """Returns True if the mask has background but no other class; void does not count."""
    return bool(image.counts[0]) and not image.counts[1:VOID_ID].any()


def _named(image: ImageStats) -> str:
    return f"{image.split}/{image.row.id}" if image.split else image.row.id


def _few(names: Sequence[str], noun: str = "images", number: int = 0) -> str:
    """Joins the first names. `number` is the number of all, if `names` are only some."""
    number = number or len(names)
    more = f", ... ({number} {noun})" if number > FEW else ""
    return ", ".join(names[:FEW]) + more
