"""Checks the classes of a data set: their names, their number, and their values in the masks."""

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from unet_jax.checks import is_whole
from unet_jax.data.datasets.image_files import Palette
from unet_jax.errors import UserError, collect_errors, raise_error
from unet_jax.segmentation import VOID_ID

# If the number of classes is unknown, masks with values from this number on are taken for grey values, not ids.
MOST_DERIVED = 32


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
    values: Sequence[np.ndarray],
    known_classes: int,
    mask_values: Sequence[int],
    on_error: Callable[[UserError], None] = raise_error,
) -> int:
    """Returns the number of classes K, from the config or else from the ids in the masks.

    Args:
      masks: name of each mask, for errors.
      values: the different values of each mask.
      known_classes: K from the config, or 0.
      mask_values: as in `image_folder`.
      on_error: gets an error for ids that are not classes, and for masks that seem to hold grey values instead of ids.
    """
    for mask, present in zip(masks, values, strict=True):
        with collect_errors(on_error):
            check_ids(mask, present, known_classes)
    largest = [int(present[present != VOID_ID].max(initial=0)) for present in values]
    void = [VOID_ID in present for present in values]
    if any(void) and not any(largest) and not mask_values:
        count = known_classes or 2
        ids = tuple(range(count)) if count < 5 else f"(0, 1, ..., {count - 1})"
        on_error(
            UserError(
                f"{masks[void.index(True)]}: all masks hold only the values 0 and 255; set mask_values=(0, 255) if 255 "
                f"is class 1 of two classes, or mask_values={ids} if 255 is void"
            )
        )
    derived = max(largest) + 1
    if not known_classes and derived > MOST_DERIVED:
        on_error(
            UserError(
                f"{masks[largest.index(derived - 1)]}: holds the value {derived - 1}; set mask_values if the masks hold "
                f"grey values, or num_classes={derived} if there are {derived} classes"
            )
        )
    return known_classes or max(derived, 2)


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
    if len(set(counts.values())) > 1:
        listed = ", ".join(f"{setting} has {count}" for setting, count in counts.items())
        raise UserError(f"the numbers of classes differ ({listed}); make them equal or leave some out")
    known_classes = next(iter(counts.values()), 0)
    if known_classes == 1 or known_classes > VOID_ID:
        raise UserError(f"the number of classes is {known_classes}; give 2 to {VOID_ID}, with the background")
    return known_classes


def _listed(setting: str, values) -> tuple:
    if not np.iterable(values):
        raise UserError(f"{setting}={values!r}: give a list with one entry per class")
    return tuple(values)
