"""Views of an image for test-time augmentation: the flips and quarter turns of the dihedral group.

A network is applied to several views of an image. Each result is turned back, and the mean is taken. A view is taken of the
source image, before it is padded, so the result is equivariant: with the views of a group, the prediction of a flipped image
is the flipped prediction.

>>> image = np.array([[1, 2], [3, 4], [5, 6]])
>>> [view.apply(image).tolist() for view in VIEWS["turns"][:2]]
[[[1, 2], [3, 4], [5, 6]], [[2, 4, 6], [1, 3, 5]]]
>>> all((view.invert(view.apply(image)) == image).all() for view in VIEWS["all"])
True
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from unet_jax.data.augment.options import AugmentOptions
from unet_jax.data.datasets.image_rows import ImageRows
from unet_jax.errors import UserError
from unet_jax.inference.options import VIEW_SETS


@dataclasses.dataclass(frozen=True)
class View:
    """One of the eight ways to lay a rectangle onto itself: transposed or not, then flipped along either axis.

    `apply` and `invert` copy nothing; they return NumPy views. What is written into such a view is written into the array.

    Attributes:
      transposed: rows become columns.
      up_down: the rows are reversed, after the transposition.
      left_right: the columns are reversed, after the transposition.
    """

    transposed: bool = False
    up_down: bool = False
    left_right: bool = False

    def apply(self, array: np.ndarray) -> np.ndarray:
        """Returns this view of an array: `[H, W, ...]` -> `[H, W, ...]`, or `[W, H, ...]` if it is transposed."""
        return self._flip(np.swapaxes(array, 0, 1) if self.transposed else array)

    def invert(self, array: np.ndarray) -> np.ndarray:
        """Returns the array of which `array` is this view."""
        flipped = self._flip(array)
        return np.swapaxes(flipped, 0, 1) if self.transposed else flipped

    def _flip(self, array: np.ndarray) -> np.ndarray:
        return array[:: -1 if self.up_down else 1, :: -1 if self.left_right else 1]


IDENTITY = View()
_FLIPS = tuple(
    View(up_down=up_down, left_right=left_right) for up_down in (False, True) for left_right in (False, True)
)
# By a quarter, a half and three quarters, counter-clockwise.
_TURNS = (IDENTITY, View(True, up_down=True), View(up_down=True, left_right=True), View(True, left_right=True))
_ALL = tuple(dataclasses.replace(view, transposed=transposed) for transposed in (False, True) for view in _FLIPS)
# The views of each name of `--views`, which is "" where there are none. Each row is a group.
VIEWS: dict[str, tuple[View, ...]] = {
    "": (IDENTITY,),
    **dict(zip(VIEW_SETS, (_FLIPS, _TURNS, _ALL), strict=True)),
}


def named_views(name: str) -> tuple[View, ...]:
    """Returns the views of a name; see `VIEWS`.

    Raises:
      UserError: the name is unknown.
    """
    if name not in VIEWS:
        raise UserError(f"views {name!r} is unknown; known: {', '.join(VIEW_SETS)}")
    return VIEWS[name]


def check_trained(name: str, augment: AugmentOptions, patch: Sequence[int], model: str) -> None:
    """Checks that a network was trained on such views.

    Flips need `augment.flip`. Turns need `augment.quarter_turns` and windows that are square, because others are turned by
    half a turn only, or `augment.rotate=180`, which turns by every angle.

    Args:
      name: of the views; see `VIEWS`.
      augment: the augmentation of its training.
      patch: height and width of its windows.
      model: what the network is called in the message.

    Raises:
      UserError: the name is unknown, or it was not trained on them.
    """
    named_views(name)
    quarter_turns = augment.on("quarter_turns")
    turned = (quarter_turns and patch[0] == patch[1]) or (augment.on("rotate") and augment.rotate == 180)
    missing = []
    if name in ("flips", "all") and not augment.on("flip"):
        missing.append("flipped images (augment.flip is off)")
    if name in ("turns", "all") and not turned:
        why = (
            f"its windows of {patch[0]} x {patch[1]} were turned by 180 degrees only"
            if quarter_turns
            else "augment.quarter_turns is off"
        )
        missing.append(f"images turned by 90 degrees ({why})")
    if missing:
        raise UserError(
            f"views {name!r}: {model} was not trained on {' and '.join(missing)}; leave the views out, or pass "
            "--force_views (force_views=True) to use them all the same"
        )


class ViewRows:
    """A flip of an image, as `ImageRows`; reads the rows that it is asked for, and no others.

    Args:
      rows: the image.
      view: not transposed, because the rows of a transposed view are columns of the image.
    """

    def __init__(self, rows: ImageRows, view: View):
        self._rows, self._view = rows, view

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and number of channels."""
        return self._rows.shape

    @property
    def dtype(self) -> np.dtype:
        """The type of the pixels."""
        return self._rows.dtype

    def read(self, start: int, stop: int) -> np.ndarray:
        """Returns the rows `start` to `stop - 1` of the view; see `ImageRows`."""
        if self._view.up_down:
            height = self._rows.shape[0]
            start, stop = height - stop, height - start
        return self._view.apply(self._rows.read(start, stop))
