"""Recognises masks that number the objects of each image, where ids of classes are expected.

A mask of instances has many ids without gaps from 1 on, each of them one connected piece, and their number differs from image to
image. Masks of classes rarely have all of this: a class has several pieces, or a class that an image lacks leaves a gap, or all
images have the same classes. Where two masks or none differ in their number of ids, more ids are asked for; where none does,
most of them must also lie apart, as nuclei do and the layers of a tissue do not.
"""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from etils.epath import Path

from unet_jax.errors import UserError

# A mask with fewer ids says nothing about their shape.
FEWEST_IDS = 3
# Smallest mean number of pixels of an id. In the noise of 16 bits, each value has one pixel.
FEWEST_PIXELS = 4
# Smallest number of ids in the mask that has most of them: where three or more different numbers of ids are found, and
# where there are fewer.
MANY, MANY_IF_ALIKE = 5, 8
# Fraction of the masks, and of the ids of a mask, that may be unlike instances: cells are cut by a crop, or marked badly.
UNLIKE_MASKS, UNLIKE_IDS = 0.1, 0.05
# Pixels of a box around an id from which it is not looked at, and taken for a class.
LARGEST_BOX = 2**25
# Larger ids are replaced by smaller ones, because SciPy makes a list as long as the largest one.
LARGEST_NUMBER = 65535
# What to do with masks that number objects.
REMEDY = "set masks='instances' (of image_folder) if they number the objects of one class"


class Numbering(NamedTuple):
    """Describes the ids of one mask, without 0.

    Attributes:
      number: number of ids.
      consecutive: True if the ids run from 1 without gaps; one gap in ten is allowed.
      whole: True if the pixels of each id are one connected piece; False with fewer than `FEWEST_IDS` ids.
      apart: True if at most half of the ids touch another one.
    """

    number: int
    consecutive: bool
    whole: bool
    apart: bool


def describe(ids: np.ndarray, values: np.ndarray) -> Numbering:
    """Describes the ids of a mask.

    Args:
      ids: the mask, whole numbers `[H, W]`.
      values: its different values, sorted.
    """
    values = values[values != 0]
    number = len(values)
    consecutive = bool(number) and values[0] > 0 and values[-1] - number <= values[-1] // 10
    large = number >= FEWEST_IDS and values[0] > 0 and np.count_nonzero(ids) >= FEWEST_PIXELS * number
    whole = large and _are_whole(ids, values)
    return Numbering(number, bool(consecutive), bool(whole), bool(whole) and _are_apart(ids, number))


def are_instances(numberings: Sequence[Numbering]) -> bool:
    """Returns True if the masks of a data set seem to number objects.

    Args:
      numberings: the description of each mask.
    """
    marked = [mask for mask in numberings if mask.number]
    telling = [mask for mask in marked if mask.number >= FEWEST_IDS]
    if not telling or _share(not mask.consecutive for mask in marked) > UNLIKE_MASKS:
        return False
    if _share(not mask.whole for mask in telling) > UNLIKE_MASKS:
        return False
    numbers = {mask.number for mask in marked}
    if len(numbers) > 2:
        return max(numbers) >= MANY
    return max(numbers) >= MANY_IF_ALIKE and (len(numbers) == 2 or all(mask.apart for mask in telling))


def check_values(values: np.ndarray, present: np.ndarray, mask: str | Path) -> None:
    """Checks that a mask whose values cannot be ids of classes does not number objects.

    Args:
      values: the values of the mask, `[H, W]`.
      present: its different values, sorted.
      mask: name of the mask, for the error.

    Raises:
      UserError: each value is one connected piece.
    """
    if describe(values, present).whole:
        raise UserError(
            f"{mask}: its {np.count_nonzero(present)} values up to {present[-1]} are one connected piece each, like numbers of "
            f"instances; {REMEDY}"
        )


def _are_whole(ids: np.ndarray, values: np.ndarray) -> bool:
    """Returns True if the pixels of nearly every id are one connected piece, corners included."""
    # Imported here, because to predict an image needs no SciPy.
    from scipy import ndimage

    numbers = ids
    if values[-1] > LARGEST_NUMBER:
        numbers = np.searchsorted(values, ids).astype(np.int32) + 1
        numbers[ids == 0] = 0
    broken = seen = 0
    for number, box in enumerate(ndimage.find_objects(numbers), 1):
        # None where no pixel has this number.
        if box is None:
            continue
        seen += 1
        piece = (numbers[box] == number).astype(np.uint8)
        broken += piece.size > LARGEST_BOX or cv2.connectedComponents(piece, connectivity=8)[0] > 2
        # Grey values are found out after a few of them.
        if broken > 1 + seen / 10:
            return False
    return broken <= UNLIKE_IDS * len(values)


def _are_apart(ids: np.ndarray, number: int) -> bool:
    """Returns True if at most half of the ids have a pixel beside one of another id."""
    touching: set[int] = set()
    for a, b in ((ids[1:], ids[:-1]), (ids[:, 1:], ids[:, :-1])):
        border = (a != b) & (a != 0) & (b != 0)
        touching.update(np.unique(a[border]).tolist(), np.unique(b[border]).tolist())
    return len(touching) <= number / 2


def _share(flags) -> float:
    return float(np.mean([*flags]))
