"""The pictures of a file, each of which is decoded when it is asked for."""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
from etils.epath import Path

from unet_jax.data.datasets.formats import axes
from unet_jax.data.datasets.reading import Reading
from unet_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Pictures:
    """The pictures of a file.

    Attributes:
      count: their number.
      read: returns the picture of a number below `count`, `[H, W, C]`.
      colours: the palette of indexed masks, uint8 `[N, 3]`; None where they have none.
      set_id: the same text for all files of an OME set, of which each holds a part; "" for any other file.
    """

    count: int
    read: Callable[[int], np.ndarray]
    colours: np.ndarray | None = None
    set_id: str = ""

    def only(self, path: str | Path) -> np.ndarray:
        """Returns the picture of a file that holds one.

        Raises:
          UserError: it holds several.
        """
        if self.count > 1:
            raise too_many(path, self.count)
        return self.read(0)


def too_many(path: str | Path, count: int) -> UserError:
    """Returns the error for a file of several pages where one picture is needed."""
    return UserError(f"{path}: holds {count} pages; save each page as a separate file")


def of_array(path: str | Path, values: np.ndarray, letters: str) -> Pictures:
    """Returns the pictures of an array; see `axes.to_pictures`."""
    pictures = axes.to_pictures(path, values, letters)
    return Pictures(len(pictures), lambda page: pictures[page])


def chosen_channels(path: str | Path, picture: np.ndarray, reading: Reading) -> np.ndarray:
    """Returns the channels of a picture that `reading` keeps, in its order.

    Args:
      path: name of the file, for the error.
      picture: `[H, W, C]`.
      reading: see `Reading.channels`.

    Raises:
      UserError: the picture lacks one of them.
    """
    check_channels(path, picture.shape[-1], reading.channels)
    return np.ascontiguousarray(picture[..., list(reading.channels)]) if reading.channels else picture


def check_channels(path: str | Path, number: int, channels: Sequence[int]) -> None:
    """Checks that an image has channels that are to be kept.

    Raises:
      UserError: it lacks one of them.
    """
    lacking = [channel for channel in channels if channel >= number]
    if lacking:
        raise UserError(
            f"{path}: has {number} channels, 0 to {number - 1}, and no channel {lacking[0]} of data.channels={tuple(channels)}; "
            "name channels that all images have"
        )


def to_image_type(pixels: np.ndarray) -> np.ndarray:
    """Returns pixels as uint8 or uint16 where they are so, and as float32 where they are other numbers.

    Whole numbers above 2^24 and float64 lose digits; what is beyond float32 becomes infinite.
    """
    if pixels.dtype in (np.uint8, np.uint16):
        return pixels
    with np.errstate(over="ignore"):
        return pixels.astype(np.float32)
