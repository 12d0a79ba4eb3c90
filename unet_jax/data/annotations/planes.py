"""Tells which page of an image file a slice and a frame are."""

from pathlib import Path

import numpy as np

from unet_jax.data.annotations.source import sizes_of
from unet_jax.errors import UserError

TIFFS = (".tif", ".tiff")


class Planes:
    """Tells the pages of an image file by slice and frame.

    A TIFF of ImageJ or OME says which of its dimensions are slices (Z) and which are frames (T). Of any other file, the pages are
    slices.

    Attributes:
      channels: number of channels that ImageJ counts as planes.
      sizes: height and width of each page.
    """

    def __init__(self, image: Path):
        self.image = image
        self.sizes = sizes_of(image)
        count = len(self.sizes)
        # The numbers of slices and frames, those of the outer loop first.
        self.channels, self._loops = (1, {"Z": 1}) if count == 1 else _loops(image, count)
        self.slices, self.frames = (self._loops.get(axis, 1) for axis in "ZT")

    def pages(self, z: int, t: int, name: str) -> list[int]:
        """Returns the pages of a slice and a frame, from 0.

        Args:
          z: number of the slice, from 1; 0 stands for all.
          t: number of the frame, from 1; 0 stands for all.
          name: names the object in errors, with its file.

        Raises:
          UserError: the image has no such page.
        """
        if not (0 <= z <= self.slices and 0 <= t <= self.frames):
            raise UserError(
                f"{name}: lies on slice {z}, frame {t}, but {self.image.name} has slices: {self.slices}, frames: {self.frames}; "
                "give the image on which it was drawn"
            )
        chosen = {"Z": z, "T": t}
        numbers = np.arange(len(self.sizes)).reshape(list(self._loops.values()))
        return (
            numbers[tuple(chosen[axis] - 1 if chosen[axis] else slice(None) for axis in self._loops)].ravel().tolist()
        )


def _loops(image: Path, count: int) -> tuple[int, dict[str, int]]:
    import tifffile

    if image.suffix.lower() in TIFFS:
        with tifffile.TiffFile(image) as file:
            series = file.series[0]
            sizes = dict(zip(series.axes, series.shape, strict=True))
        loops = {axis: size for axis, size in sizes.items() if axis in "ZT"}
        if loops and np.prod(list(loops.values())) == count:
            return sizes.get("C", 1), loops
    return 1, {"Z": count}
