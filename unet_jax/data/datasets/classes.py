"""Checks the classes of a data set: their names, their number, and their values in the masks."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from unet_jax.checks import is_whole
from unet_jax.data.datasets import instance_labels
from unet_jax.data.datasets.image_files import Palette, count_values
from unet_jax.data.datasets.palettes import few
from unet_jax.errors import UserError, collect_errors, raise_error
from unet_jax.segmentation import VOID_ID

# If the number of classes is unknown, masks with values from this number on are taken for grey values, not ids.
MOST_DERIVED = 32
# Largest fraction of the pixels of a mask that lie on smoothed edges.
SMOOTHED = 0.25


class MaskStats(NamedTuple):
    """Describes a mask of class ids.

    Attributes:
      counts: number of pixels by id, int64 `[256]`; 255 is void.
      numbering: how the ids lie, or None where the number of classes is known.
    """

    counts: np.ndarray
    numbering: instance_labels.Numbering | None

    @property
    def values(self) -> np.ndarray:
        """Returns the different values of the mask, sorted."""
        return np.flatnonzero(self.counts)


def mask_stats(mask: np.ndarray, known_classes: int) -> MaskStats:
    """Returns the statistics of a mask.

    Args:
      mask: class ids, uint8 `[H, W]`.
      known_classes: number of classes K from the config, or 0.
    """
    counts = count_values(mask)
    return MaskStats(counts, None if known_classes else instance_labels.describe(mask, np.flatnonzero(counts)))


def check_class_settings(
    class_names: Sequence[str], num_classes: int, mask_values: Sequence[int], palette: Palette
) -> tuple[int, tuple[int, ...], tuple[tuple[int, int, int], ...]]:
    """Checks the settings of the classes and returns the number of classes K, mask_values and palette.

    Args:
      class_names: name of each class, or empty.
      num_classes: K, or 0 if unknown.
      mask_values: value of each class in the masks, or empty.
      palette: RGB triple of each class, or empty.

    Returns:
      K, which is 0 if no setting gives it; mask_values and palette as plain tuples.

    Raises:
      UserError: a value has the wrong type or is given twice, or the numbers of classes differ.
    """
    colours = tuple(tuple(colour) if np.iterable(colour) else colour for colour in _listed("palette", palette))
    for colour in colours:
        if not isinstance(colour, tuple) or len(colour) != 3 or not all(is_whole(c) and 0 <= c <= 255 for c in colour):
            raise UserError(
                f"palette holds {colour!r}; give an RGB triple of 0..255 for each class, e.g. ((0, 0, 0), (255, 0, 0))"
            )
    mask_values = _listed("mask_values", mask_values)
    for value in mask_values:
        if not is_whole(value):
            raise UserError(
                f"mask_values holds {value!r}; give the whole number of each class in the masks, e.g. (0, 255)"
            )
    class_names = _listed("class_names", class_names)
    for name in class_names:
        if not isinstance(name, str) or not name.strip() or name == "mean":
            raise UserError(f"class_names holds {name!r}; give each class a name; 'mean' is taken by the scores")
    for setting, values in {"class_names": class_names, "mask_values": mask_values, "palette": colours}.items():
        repeated = [value for value, count in Counter(values).items() if count > 1]
        if repeated:
            raise UserError(f"{setting} holds {repeated[0]!r} twice; give each class a different one")
    known_classes = _known_classes(class_names, num_classes, mask_values, colours)
    rgb = tuple((int(red), int(green), int(blue)) for red, green, blue in colours)
    return known_classes, tuple(map(int, mask_values)), rgb


def check_ids(mask: str, values: np.ndarray, known_classes: int) -> None:
    """Checks that the ids in a mask are classes.

    Args:
      mask: name of the mask, for the error.
      values: the different values of the mask.
      known_classes: number of classes; with 0, for unknown, nothing is checked.

    Raises:
      UserError: an id is not a class.
    """
    ids = values[values != VOID_ID]
    if known_classes and (ids >= known_classes).any():
        raise UserError(
            f"{mask}: holds the ids {', '.join(map(str, ids))}, but there are {known_classes} classes "
            f"(ids 0..{known_classes - 1}; 255 is void); correct the mask or the number of classes, or set mask_values"
        )


def count_classes(
    masks: Sequence[str],
    stats: Sequence[MaskStats],
    known_classes: int,
    mask_values: Sequence[int],
    on_error: Callable[[UserError], None] = raise_error,
) -> int:
    """Returns the number of classes K, from the config or else from the ids in the masks.

    Args:
      masks: name of each mask, for errors.
      stats: statistics of each mask.
      known_classes: K from the config, or 0.
      mask_values: as in `image_folder`.
      on_error: gets an error for ids that are not classes, for 255 that may be a class or void, and for masks that seem to
        hold instance numbers or grey values instead of ids.
    """
    values = [mask.values for mask in stats]
    for mask, present in zip(masks, values, strict=True):
        with collect_errors(on_error):
            check_ids(mask, present, known_classes)
    largest = [int(present[present != VOID_ID].max(initial=0)) for present in values]
    derived = max(largest) + 1
    if not mask_values:
        with collect_errors(on_error):
            _check_void(masks, values, largest, known_classes or max(derived, 2))
    if not known_classes:
        with collect_errors(on_error):
            _check_smoothed(masks, stats)
            _check_derived(masks, [mask.numbering for mask in stats], largest)
    return known_classes or max(derived, 2)


def _check_void(masks, values, largest, num_classes) -> None:
    """Raises UserError if 255 may be the value of an object: no mask has it beside the ids of objects."""
    void = [VOID_ID in present for present in values]
    if not any(void) or any(has_void and id_ for has_void, id_ in zip(void, largest, strict=True)):
        return
    mask = masks[void.index(True)]
    ids = tuple(range(num_classes)) if num_classes < 5 else f"(0, 1, ..., {num_classes - 1})"
    if not any(largest):
        raise UserError(
            f"{mask}: all masks hold only the values 0 and 255; set mask_values=(0, 255) if 255 is class 1 of two classes, "
            f"or mask_values={ids} if 255 is void"
        )
    held, held_there = (", ".join(map(str, values[i])) for i in (void.index(True), largest.index(max(largest))))
    raise UserError(
        f"{mask}: holds {held}, but {masks[largest.index(max(largest))]} holds {held_there}; save all masks in one way (255 is "
        f"in {sum(void)} of {len(masks)}), or set mask_values={ids} if 255 is void"
    )


def _check_smoothed(masks, stats) -> None:
    """Raises UserError if masks of 0 and 255 have edges that were smoothed: a few pixels of many values in between."""
    between = [mask.counts[1:VOID_ID] for mask in stats]
    smoothed = [
        place
        for place, (mask, odd) in enumerate(zip(stats, between, strict=True))
        if mask.counts[0] and mask.counts[VOID_ID] and np.flatnonzero(odd).max(initial=0) >= MOST_DERIVED
        if odd.sum() <= SMOOTHED * mask.counts.sum()
    ]
    if len(smoothed) > len(masks) / 2:
        place = smoothed[0]
        raise UserError(
            f"{masks[place]}: {between[place].sum()} of its {stats[place].counts.sum()} pixels hold {np.count_nonzero(between[place])} "
            f"values between 0 and 255, like edges that were smoothed ({len(smoothed)} of {len(masks)} masks); export the masks "
            "without smoothing (anti-aliasing) or save (mask > 127) * 255, and set mask_values=(0, 255)"
        )


def _check_derived(masks, numberings, largest) -> None:
    """Raises UserError if the ids seem to be instance numbers or grey values, so that K cannot be derived from them."""
    classes = max(largest) + 1
    mask = masks[largest.index(classes - 1)]
    widest = numberings[largest.index(classes - 1)]
    if instance_labels.are_instances(numberings) or (classes > MOST_DERIVED and widest.whole):
        raise UserError(
            f"{mask}: its ids 1..{classes - 1} are one connected piece each, like numbers of instances; {instance_labels.REMEDY}, or "
            f"set num_classes={classes} if they are classes"
        )
    if classes > MOST_DERIVED:
        raise UserError(
            f"{mask}: holds the value {classes - 1}; set mask_values if the masks hold grey values, or num_classes={classes} if "
            f"there are {classes} classes"
        )


def find_inverted(
    pixels: Sequence[int], num_classes: int, class_names: Sequence[str], mask_values: Sequence[int], palette: Palette
) -> list[str]:
    """Returns a warning if there are two classes and the background is the smaller one, else nothing.

    Args:
      pixels: number of pixels by class id, in all masks.
      num_classes: number of classes K.
      class_names: names by class id, or empty. If they give class 0 another name than background, there is no warning.
      mask_values: as in `image_folder`.
      palette: as in `image_folder`.
    """
    background, objects = (int(count) for count in pixels[:2])
    if num_classes != 2 or background >= objects or (class_names and class_names[0].lower() != "background"):
        return []
    swapped = tuple(reversed(mask_values or (0, 1)))
    remedy = "exchange the two colours of palette" if palette else f"set mask_values={swapped}"
    return [
        f"the background (class 0) has only {background / (background + objects):.0%} of the pixels, fewer than class 1; if "
        f"they are exchanged, {remedy}, else give class_names that say what class 0 is"
    ]


def find_gaps(pixels: Sequence[int], num_classes: int) -> list[str]:
    """Returns a warning if ids below the largest one are in no mask, else nothing.

    Args:
      pixels: number of pixels by class id, in all masks.
      num_classes: number of classes K, counted in the masks.
    """
    absent = [k for k in range(num_classes) if not pixels[k]]
    # Where all masks are background, K is 2 all the same.
    if not absent or not any(pixels[1:VOID_ID]):
        return []
    return [
        f"the largest id in the masks is {num_classes - 1}, so there are {num_classes} classes, but no mask holds the ids "
        f"{few(absent)}; if the values of the masks are not the ids of classes, set mask_values, else class_names or num_classes"
    ]


def name_classes(class_names: Sequence[str], num_classes: int) -> tuple[str, ...]:
    """Returns `class_names`, or background, class_1, ... if there are none.

    >>> name_classes((), 3)
    ('background', 'class_1', 'class_2')
    """
    return tuple(class_names) or ("background", *(f"class_{k}" for k in range(1, num_classes)))


def _known_classes(class_names, num_classes, mask_values, palette) -> int:
    """Returns the number of classes that the settings give, or 0; raises UserError if they give different numbers."""
    if not is_whole(num_classes) or num_classes < 0:
        raise UserError(f"num_classes={num_classes!r}: give a whole number, or 0 to count the classes in the masks")
    counts = {"num_classes": int(num_classes), "class_names": len(class_names)}
    counts |= {"palette": len(palette), "mask_values": len(mask_values)}
    counts = {setting: count for setting, count in counts.items() if count}
    listed = ", ".join(f"{setting} has {count}" for setting, count in counts.items())
    if len(set(counts.values())) > 1:
        raise UserError(f"the numbers of classes differ ({listed}); make them equal or leave some out")
    known_classes = next(iter(counts.values()), 0)
    if known_classes == 1 or known_classes > VOID_ID:
        raise UserError(f"the number of classes is wrong ({listed}); give 2 to {VOID_ID}, with the background")
    return known_classes


def _listed(setting: str, values) -> tuple:
    if not np.iterable(values):
        raise UserError(f"{setting}={values!r}: give a list with one entry per class")
    return tuple(values)
