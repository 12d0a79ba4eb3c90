"""Warns of what training accepts in a folder but is worth a look: one line each, with the remedy."""

from collections.abc import Iterator, Sequence

from unet_jax.data.check.survey import ImageStats, Survey
from unet_jax.data.dataset import SPLITS
from unet_jax.segmentation import VOID_ID

# Grey values of a 16-bit image that 8 bits could hold.
FEW_LEVELS = 256
# Fraction of 0..65535 that a 12-bit camera fills.
SMALL_RANGE = 1 / 16
# Fraction of all pixels.
MUCH_VOID = 0.5
# Images or pairs named in a line.
FEW = 4


def find_warnings(survey: Survey, window: Sequence[int]) -> list[str]:
    """Returns all warnings; `window` is the (height, width) of a training window."""
    if not survey.images:
        return []
    parts = (_alike(survey), _classes(survey), _masks(survey), _grey_values(survey), _sizes(survey, window))
    return [line for part in parts for line in part]


def _alike(survey: Survey) -> Iterator[str]:
    if survey.alike:
        named = [
            f"{_named(survey.images[i])} and {_named(survey.images[j])} ({r:.2f})" for i, j, r in survey.alike[:FEW]
        ]
        yield (
            f"images in different splits look alike: {_few(named, 'pair', survey.num_alike)}; if they show the same thing "
            "the score will be too good: give them one group in index.csv or the split file"
        )


def _classes(survey: Survey) -> Iterator[str]:
    everywhere = survey.counts()
    for k, name in enumerate(survey.class_names):
        lacking = [split for split in SPLITS if survey.images_of(split) and not survey.counts(split)[k]]
        if not everywhere[k]:
            yield f"class {name!r} ({k}) is in no mask; correct the masks, class_names or num_classes"
        elif lacking:
            effect = "is not learnt" if "train" in lacking else "is not scored there"
            yield f"class {name!r} ({k}) is not in {' and '.join(lacking)}, so it {effect}; divide the images otherwise"


def _masks(survey: Survey) -> Iterator[str]:
    nothing = [_named(image) for image in survey.images if image.counts[VOID_ID] == image.num_pixels]
    if nothing:
        yield f"masks hold nothing but void: {_few(nothing)}; nothing is learnt from them: correct or remove them"
    empty = [_named(image) for image in survey.images if only_background(image)]
    if empty:
        yield f"masks hold nothing but background: {_few(empty)}; look whether there is nothing to be marked"
    counts = survey.counts()
    if counts[VOID_ID] > MUCH_VOID * counts.sum():
        yield (
            f"{counts[VOID_ID] / counts.sum():.0%} of all pixels are void (255) and do not count; if 255 is a class "
            "set mask_values"
        )


def _grey_values(survey: Survey) -> Iterator[str]:
    constant = [_named(image) for image in survey.images if image.levels == 1]
    if constant:
        yield f"images hold one grey value alone: {_few(constant)}; look at them"
    sixteen = [image for image in survey.images if image.dtype == "uint16" and image.levels > 1]
    coarse = [image for image in sixteen if image.levels <= FEW_LEVELS and image.num_pixels > 4 * FEW_LEVELS]
    if coarse:
        most = max(image.levels for image in coarse)
        yield (
            f"16-bit images hold no more than {most} grey values each: {_few([_named(image) for image in coarse])}; "
            "they were 8-bit once: look for the originals, or save them as 8-bit"
        )
    if sixteen:
        low, high = min(image.low for image in sixteen), max(image.high for image in sixteen)
        if high - low <= SMALL_RANGE * 65535:
            yield (
                f"16-bit images fill no more than {low}..{high} of 0..65535; keep data.normalize='image' (the default): "
                "with 'range' they would be almost constant"
            )


def _sizes(survey: Survey, window: Sequence[int]) -> Iterator[str]:
    small = [_named(image) for image in survey.images if image.size[0] < window[0] or image.size[1] < window[1]]
    if small:
        yield (
            f"images are smaller than a training window of {window[0]} x {window[1]} (height x width): {_few(small)}; "
            "what lies outside is mirrored and does not count: set a smaller data.patch"
        )


def only_background(image: ImageStats) -> bool:
    """Returns True where the mask has background and no other class."""
    return bool(image.counts[0]) and not image.counts[1:VOID_ID].any()


def _named(image: ImageStats) -> str:
    return f"{image.split}/{image.row.id}" if image.split else image.row.id


def _few(names: Sequence[str], noun: str = "image", number: int = 0) -> str:
    """Joins the first names; `number` counts all, where `names` are not all."""
    number = number or len(names)
    more = f", ... ({number} {noun}s)" if number > FEW else ""
    return ", ".join(names[:FEW]) + more
