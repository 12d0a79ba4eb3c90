"""Checks the classes: their names, their number and their values, from the config and from the masks."""

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from unet_jax.checks import is_whole
from unet_jax.data.datasets.image_files import Palette
from unet_jax.errors import UserError, collect_errors, raise_error
from unet_jax.segmentation import VOID_ID

# Where the number of classes is unknown, masks with larger values than this hold grey values, not ids.
MOST_DERIVED = 32


def check_class_settings(
    class_names: Sequence[str], num_classes: int, mask_values: Sequence[int], palette: Palette
) -> tuple[int, tuple[int, ...], tuple[tuple[int, int, int], ...]]:
    """Returns (K, mask_values, palette) as plain tuples; K is 0 where no setting gives it.

    Raises:
      UserError: a value has the wrong type or is given twice, or the numbers of classes differ.
    """
    palette = tuple(tuple(colour) if np.iterable(colour) else colour for colour in _listed("palette", palette))
    for colour in palette:
        if not isinstance(colour, tuple) or len(colour) != 3 or not all(is_whole(c) and 0 <= c <= 255 for c in colour):
            raise UserError(
                f"palette holds {colour!r}; give an RGB triple of 0..255 per class, e.g. ((0, 0, 0), (255, 0, 0))"
            )
    mask_values = _listed("mask_values", mask_values)
    for value in mask_values:
        if not is_whole(value):
            raise UserError(
                f"mask_values holds {value!r}; give the whole number that stands for each class, e.g. (0, 255)"
            )
    class_names = _listed("class_names", class_names)
    for name in class_names:
        if not isinstance(name, str) or not name.strip() or name == "mean":
            raise UserError(f"class_names holds {name!r}; give each class a name, and not 'mean', which the scores use")
    for setting, values in {"class_names": class_names, "mask_values": mask_values, "palette": palette}.items():
        repeated = [value for value, count in Counter(values).items() if count > 1]
        if repeated:
            raise UserError(f"{setting} holds {repeated[0]!r} twice; give each class a different one")
    known_classes = _known_classes(class_names, num_classes, mask_values, palette)
    return known_classes, tuple(map(int, mask_values)), tuple(tuple(map(int, colour)) for colour in palette)


def check_ids(mask: str, values: np.ndarray, known_classes: int) -> None:
    """Raises `UserError` where a mask holds ids that are no class.

    Args:
      mask: names the mask in the error.
      values: the different values of the mask.
      known_classes: number of classes; 0 where it is unknown, then nothing is checked.
    """
    ids = values[values != VOID_ID]
    if known_classes and (ids >= known_classes).any():
        raise UserError(
            f"{mask}: holds the ids {', '.join(map(str, ids))}, but there are {known_classes} classes "
            f"(ids 0..{known_classes - 1}, 255 void); correct the mask, the number of classes, or set mask_values"
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
      masks: name the masks in errors.
      values: the different values of each mask.
      known_classes: K as the config gives it, or 0.
      mask_values: as in `image_folder`.
      on_error: gets an error for ids that are no class, and for masks that seem to hold other things than ids.
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
                f"{masks[void.index(True)]}: no mask holds another value than 0 and 255; set mask_values=(0, 255) if "
                f"255 is class 1 of two classes, or mask_values={ids} if it is void"
            )
        )
    derived = max(largest) + 1
    if not known_classes and derived > MOST_DERIVED:
        on_error(
            UserError(
                f"{masks[largest.index(derived - 1)]}: holds the value {derived - 1}; if the masks hold grey values set "
                f"mask_values, if there are {derived} classes set num_classes={derived}"
            )
        )
    return known_classes or max(derived, 2)


def name_classes(class_names: Sequence[str], num_classes: int) -> tuple[str, ...]:
    """Returns the names of the classes: `class_names`, or background, class_1, ... where that is empty."""
    return tuple(class_names) or ("background", *(f"class_{k}" for k in range(1, num_classes)))


def _known_classes(class_names, num_classes, mask_values, palette) -> int:
    """Returns the number of classes that the settings give, or 0; raises `UserError` where they differ."""
    if not is_whole(num_classes) or num_classes < 0:
        raise UserError(f"num_classes={num_classes!r}: give a whole number, or 0 to find it from the masks")
    counts = {"num_classes": int(num_classes), "class_names": len(class_names)}
    counts |= {"palette": len(palette), "mask_values": len(mask_values)}
    counts = {setting: count for setting, count in counts.items() if count}
    if len(set(counts.values())) > 1:
        listed = ", ".join(f"{setting} has {count}" for setting, count in counts.items())
        raise UserError(f"the numbers of classes differ ({listed}); make them equal or leave them out")
    known_classes = next(iter(counts.values()), 0)
    if known_classes == 1 or known_classes > VOID_ID:
        raise UserError(f"there are {known_classes} classes; give 2 to {VOID_ID}, the background included")
    return known_classes


def _listed(setting: str, values) -> tuple:
    if not np.iterable(values):
        raise UserError(f"{setting}={values!r}: give a list, one entry per class")
    return tuple(values)
