"""The classes: their names and number and the values that stand for them, as the config says and the masks show."""

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from unet_jax.data.datasets.image_files import Palette
from unet_jax.errors import UserError, collect_errors, raise_error
from unet_jax.segmentation import VOID_ID

MOST_DERIVED = 32  # classes: more than this found in masks of unknown K are grey values, not ids


def check_class_settings(
    class_names: Sequence[str], num_classes: int, mask_values: Sequence[int], palette: Palette
) -> tuple[int, tuple[int, ...], tuple[tuple[int, int, int], ...]]:
    """(K, mask_values, palette) as plain tuples; K is 0 where none of the settings tells it.

    Raises `UserError` on a value of the wrong type, on one given twice, and where the numbers of classes disagree.
    """
    palette = tuple(tuple(colour) if np.iterable(colour) else colour for colour in _listed("palette", palette))
    for colour in palette:
        if not isinstance(colour, tuple) or len(colour) != 3 or not all(_is_whole(c) and 0 <= c <= 255 for c in colour):
            raise UserError(
                f"palette holds {colour!r}; give an RGB triple of 0..255 per class, e.g. ((0, 0, 0), (255, 0, 0))"
            )
    mask_values = _listed("mask_values", mask_values)
    for value in mask_values:
        if not _is_whole(value):
            raise UserError(
                f"mask_values holds {value!r}; give the whole number that stands for each class, e.g. (0, 255)"
            )
    class_names = _listed("class_names", class_names)
    for name in class_names:
        if not isinstance(name, str) or not name.strip() or name == "mean":
            raise UserError(f"class_names holds {name!r}; give each class a name, and not 'mean', which the scores use")
    for setting, values in {"class_names": class_names, "mask_values": mask_values, "palette": palette}.items():
        twice = [value for value, count in Counter(values).items() if count > 1]
        if twice:
            raise UserError(f"{setting} holds {twice[0]!r} twice; give each class its own")
    known = _told(class_names, num_classes, mask_values, palette)
    return known, tuple(map(int, mask_values)), tuple(tuple(map(int, colour)) for colour in palette)


def check_ids(mask: str, found: np.ndarray, known: int) -> None:
    """Raises `UserError` where a mask holds ids beyond the `known` number of classes (0: any will do)."""
    ids = found[found != VOID_ID]
    if known and (ids >= known).any():
        raise UserError(
            f"{mask}: holds the ids {', '.join(map(str, ids))}, but there are {known} classes "
            f"(ids 0..{known - 1}, 255 void); correct the mask, the number of classes, or set mask_values"
        )


def count_classes(
    where: Sequence[str],
    values: Sequence[np.ndarray],
    known: int,
    mask_values: Sequence[int],
    on_error: Callable[[UserError], None] = raise_error,
) -> int:
    """K, from the ids that each mask holds and what the config tells of it (`known`, 0: nothing).

    `where` names the masks in messages. Gives `on_error` ids beyond the known number, and masks that seem to hold
    something else than ids.
    """
    for mask, found in zip(where, values, strict=True):
        with collect_errors(on_error):
            check_ids(mask, found, known)
    largest = [int(found[found != VOID_ID].max(initial=0)) for found in values]
    void = [VOID_ID in found for found in values]
    if any(void) and not any(largest) and not mask_values:
        count = known or 2
        ids = tuple(range(count)) if count < 5 else f"(0, 1, ..., {count - 1})"
        on_error(
            UserError(
                f"{where[void.index(True)]}: no mask holds another value than 0 and 255; set mask_values=(0, 255) if "
                f"255 is class 1 of two classes, or mask_values={ids} if it is void"
            )
        )
    derived = max(largest) + 1
    if not known and derived > MOST_DERIVED:
        on_error(
            UserError(
                f"{where[largest.index(derived - 1)]}: holds the value {derived - 1}; if the masks hold grey values set "
                f"mask_values, if there are {derived} classes set num_classes={derived}"
            )
        )
    return known or max(derived, 2)


def name_classes(class_names: Sequence[str], num_classes: int) -> tuple[str, ...]:
    """The names of the classes, where none are given background, class_1, ..."""
    return tuple(class_names) or ("background", *(f"class_{k}" for k in range(1, num_classes)))


def _told(class_names, num_classes, mask_values, palette) -> int:
    """K as far as the config tells it (0: it does not); all that tell it must agree."""
    if not _is_whole(num_classes) or num_classes < 0:
        raise UserError(f"num_classes={num_classes!r}: give a whole number, or 0 to find it from the masks")
    told = {"num_classes": int(num_classes), "class_names": len(class_names)}
    told |= {"palette": len(palette), "mask_values": len(mask_values)}
    told = {name: count for name, count in told.items() if count}
    if len(set(told.values())) > 1:
        counts = ", ".join(f"{name} has {count}" for name, count in told.items())
        raise UserError(f"the numbers of classes differ ({counts}); make them equal or leave them out")
    known = next(iter(told.values()), 0)
    if known == 1 or known > VOID_ID:
        raise UserError(f"there are {known} classes; give 2 to {VOID_ID}, the background included")
    return known


def _listed(setting: str, values) -> tuple:
    if not np.iterable(values):
        raise UserError(f"{setting}={values!r}: give a list, one entry per class")
    return tuple(values)


def _is_whole(value) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)
