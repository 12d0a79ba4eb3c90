"""Paints the objects of an image into a mask of class ids and a map of instances."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from unet_jax.data.annotations.objects import VOID, Annotated, Object
from unet_jax.errors import UserError
from unet_jax.segmentation import VOID_ID

OVERLAPS = ("later", "error")
CROWDS = ("keep", "leave_out")
# Of a 16-bit PNG.
LARGEST_INSTANCE = 65535


class Painted(NamedTuple):
    """Holds the masks of an image.

    Attributes:
      mask: class ids, uint8 `[H, W]`; 255 is void.
      instances: numbers of objects from 1, uint16 `[H, W]`; 0 for background and void.
      hidden: number of objects that later ones cover whole.
      empty: number of objects without a pixel: they lie outside the image, or between centres of pixels.
    """

    mask: np.ndarray
    instances: np.ndarray
    hidden: int
    empty: int


def paint(annotated: Annotated, ids: Mapping[str, int], overlaps: str = "later", crowds: str = "keep") -> Painted:
    """Returns mask and instances of an image.

    Objects are painted by `order`, and within one order as they come, so that the last one has the pixels that several cover.

    Args:
      annotated: the image.
      ids: class id by label.
      overlaps: "later" as above; "error" refuses objects that share a pixel.
      crowds: "keep" numbers a crowd like any object, "leave_out" paints it into the mask only.

    Raises:
      UserError: a label has no id, objects overlap and must not, or there are too many.
    """
    mask, instances = np.zeros(annotated.size, np.uint8), np.zeros(annotated.size, np.uint16)
    objects = sorted(annotated.objects or (), key=lambda item: item.order)
    if len(objects) > LARGEST_INSTANCE:
        raise UserError(
            f"{annotated.image}: has {len(objects)} objects, instances hold {LARGEST_INSTANCE}; split the image into smaller ones"
        )
    taken = np.zeros(annotated.size, bool) if overlaps == "error" else None
    _check_labels(annotated, objects, ids)
    numbered = empty = 0
    for item in objects:
        inside = item.crop.mask
        if not inside.any():
            empty += 1
            continue
        box = np.s_[item.crop.top : item.crop.top + inside.shape[0], item.crop.left : item.crop.left + inside.shape[1]]
        if taken is not None:
            _check_free(annotated, item, taken[box])
            taken[box] |= inside
        mask[box][inside] = ids[item.label]
        number = 0
        if ids[item.label] not in (0, VOID_ID) and not (item.is_crowd and crowds == "leave_out"):
            numbered += 1
            number = numbered
        instances[box][inside] = number
    hidden = numbered - np.count_nonzero(np.bincount(instances.ravel())[1:])
    return Painted(mask, instances, int(hidden), empty)


def class_ids(labels: Sequence[str]) -> dict[str, int]:
    """Returns the id of each class: 0 for `background`, 255 for `void`, and 1, 2, ... for the others in their order.

    >>> class_ids(["nucleus", "background", "cell"])
    {'nucleus': 1, 'background': 0, 'cell': 2, 'void': 255}

    Raises:
      UserError: there are too many.
    """
    others = [label for label in dict.fromkeys(labels) if label.lower() != "background" and label != VOID]
    if len(others) >= VOID_ID:
        raise UserError(
            f"there are {len(others)} classes; a mask holds {VOID_ID - 1} and the background: choose some with --labels"
        )
    numbers = {label: number for number, label in enumerate(others, 1)}
    ids = {label: numbers.get(label, 0) for label in dict.fromkeys(labels) if label != VOID}
    return ids | {VOID: VOID_ID}


def _check_labels(annotated: Annotated, objects: Sequence[Object], ids: Mapping[str, int]) -> None:
    unknown = Counter(item.label for item in objects if item.label not in ids)
    if unknown:
        label, count = next(iter(unknown.items()))
        listed = ", ".join(label for label in ids if label != VOID)
        raise UserError(
            f"{annotated.image}: has {count} objects of the class {label!r}, which is not in --labels={listed}; add it there, or "
            "correct the name in the source"
        )


def _check_free(annotated: Annotated, item: Object, taken: np.ndarray) -> None:
    shared = taken & item.crop.mask
    if not shared.any():
        return
    row, column = np.argwhere(shared)[0].tolist()
    where = f"column {item.crop.left + column}, row {item.crop.top + row}"
    raise UserError(
        f"{annotated.image}: an object of the class {item.label!r} shares {shared.sum()} pixels with others, first in {where}; "
        "separate them, or set --overlaps=later"
    )
