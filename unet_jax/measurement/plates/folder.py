"""Writes the plates of images into a folder: their tables, and images of their numbers.

OUT/plates.csv         a row for each plate of all images
OUT/cells.csv          a row for each image, with its verdict
OUT/plates/NAME.csv    the plates of an image
OUT/labels/NAME.tif    the number of the plate of each pixel, 0 for none
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from etils.epath import Path

from unet_jax.errors import UserError
from unet_jax.inference.inputs import Input
from unet_jax.inference.result_folder import Needs, ResultFolder, named
from unet_jax.inference.writers.band_writers import TiffBands
from unet_jax.measurement.pixel_size import PixelSize, read_pixel_size
from unet_jax.measurement.plates.find import find_plates
from unet_jax.measurement.plates.roles import Roles
from unet_jax.measurement.plates.scores import Tip
from unet_jax.measurement.plates.table import cell_row, plate_rows
from unet_jax.measurement.tables import read_csv, tables_of_images, to_csv
from unet_jax.runtime.memory import to_text
from unet_jax.storage.paths import in_bucket, write_whole
from unet_jax.storage.write_errors import report_write_errors

PLATES, LABELS = "plates", "labels"
PLATE_TABLE, CELL_TABLE = "plates.csv", "cells.csv"
# The scores of the network's plates against the true ones.
SCORES = "plate_scores.csv"
# What the search takes at its largest for each pixel of the image, beside 5 for each class.
PIXEL_BYTES = 60


class PlateFolder(ResultFolder):
    """The folder of the plates of images; see the text of this file.

    Args:
      out: the folder.
      images: for the tags of their files.
      class_names: of the masks.
      roles: the classes of the stack.
      pixel: the size of a pixel; None for that in the tags of each file, if there is one.
      limit: the smallest overhang that is OK, in the unit of `pixel` or in pixels; NaN for no verdict.
      factor: of the intervals of overhangs, see `intervals`; NaN for none.
      budget: the bytes that an image may take.

    Attributes:
      roles: the classes of the stack.
      names: of the images.

    Raises:
      UserError: the folder is in a bucket, or the tags of a file give pixels that are not square.
    """

    kinds = (PLATES, LABELS)
    summaries = (PLATE_TABLE, CELL_TABLE)
    comparisons = (SCORES,)

    def __init__(
        self,
        out: Path,
        images: Sequence[Input],
        class_names: Sequence[str],
        roles: Roles,
        *,
        pixel: PixelSize | None = None,
        limit: float = math.nan,
        factor: float = math.nan,
        budget: float = math.inf,
    ):
        if in_bucket(out):
            raise UserError(f"--out={out} is in a bucket, where label images cannot be written; give a local folder")
        self.out, self.roles = out, roles
        self.folders = [out / PLATES, out / LABELS]
        self.names = [image.name for image in images]
        of_files = {path: pixel or read_pixel_size(path) for path in {image.path for image in images}}
        self._pixels = {image.name: of_files[image.path] for image in images}
        self._unit = pixel.unit if pixel else ""
        self._num_classes, self._budget = len(class_names), budget
        self._channels, self._stack = roles.channels(class_names)
        self._limit, self._factor = limit, factor

    @property
    def needs(self) -> Needs:
        """What is given of each image."""
        return Needs(pixels=False, probabilities=True, uncertainty=False)

    def files(self, name: str) -> list[tuple[str, list[str]]]:
        """Returns, for each result of an image, its folder and its name."""
        return [named(str(self.out / LABELS), name, [".tif"]), named(str(self.out / PLATES), name, [".csv"])]

    possible_files = files

    def check(self, overwrite: bool) -> None:
        """Checks that no other table would be replaced. The record of the results has the classes.

        Raises:
          UserError: one would.
        """
        self.check_tables(overwrite)

    def check_size(self, name: str, size: Sequence[int]) -> None:
        """Checks that the plates of an image of this height and width can be found within the memory.

        Raises:
          UserError: they cannot.
        """
        needed = size[0] * size[1] * (PIXEL_BYTES + 5 * self._num_classes)
        if needed > self._budget:
            raise UserError(
                f"--plates: an image of {size[1]} x {size[0]} pixels is measured as a whole, which takes about "
                f"{to_text(needed, up=True)}, more than --memory={to_text(self._budget)}; give more --memory, or smaller images"
            )

    def writer(self, name: str, size: Sequence[int], measures: Mapping[str, float]) -> "ImagePlates":
        """Returns what finds and measures the plates of an image."""
        return ImagePlates(self, name)

    def write_plates(self, name: str, masks: np.ndarray, probabilities: np.ndarray) -> None:
        """Finds the plates of an image, and writes its files.

        Args:
          name: of the image.
          masks: of all classes, bool `[H, W, K]`.
          probabilities: of all classes, `[H, W, K]`; `masks` themselves where there are none.

        Raises:
          OSError: a file cannot be written.
        """
        stack = find_plates(masks, probabilities, self._channels, self._stack)
        with TiffBands(self.out / LABELS / f"{name}.tif", stack.labels.shape, np.uint16) as writer:
            writer.write(0, stack.labels)
        rows = plate_rows(stack.plates, self.roles, pixel=self._pixels.get(name), factor=self._factor)
        path = self.out / PLATES / f"{name}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        # The last one: an image is finished when it is there.
        write_whole(path, to_csv(rows, ["plate", "class"]).encode())

    def finish(self) -> None:
        """Writes the tables of all images that are measured, until nothing is new: other processes may write there, too."""
        with report_write_errors():
            for of_images in tables_of_images(self, self.out / PLATES):
                plates = [{"image": name, **row} for name, rows in of_images.items() for row in rows]
                cells = [
                    {"image": name, **cell_row(rows, self.roles, self._limit, self._unit)}
                    for name, rows in of_images.items()
                ]
                write_whole(self.out / PLATE_TABLE, to_csv(plates, ["image", "plate", "class"]).encode())
                write_whole(self.out / CELL_TABLE, to_csv(cells, ["image"]).encode())

    def read_tips(self, name: str) -> list[Tip]:
        """Returns the plates of an image that was measured, as the scores see them."""
        return [
            Tip(
                self.roles.plates.index(row["class"]),
                float(row["reach"]) if row["reach"] else None,
                (float(row["tip_x"]), float(row["tip_y"])) if row["tip_x"] else None,
            )
            for row in read_csv(self.out / PLATES / f"{name}.csv")
        ]


class ImagePlates:
    """Collects the masks of one image, and writes its files; see `ResultFolder.open`.

    Args:
      folder: says what is measured, and where it is written.
      name: of the image.
    """

    def __init__(self, folder: PlateFolder, name: str):
        self._folder, self._name = folder, name
        self._masks: list[np.ndarray] = []
        self._probabilities: list[np.ndarray] = []

    def write(
        self,
        start: int,
        masks: np.ndarray,
        ids: np.ndarray,
        image: np.ndarray | None = None,
        probabilities: np.ndarray | None = None,
    ) -> None:
        """Adds a band; the arrays are those of `ResultFolder.write`. True masks come without probabilities."""
        self._masks.append(masks)
        self._probabilities.append(masks if probabilities is None else probabilities)

    def close(self) -> None:
        """Measures, and writes the files.

        Raises:
          OSError: a file cannot be written.
        """
        self._folder.write_plates(self._name, np.concatenate(self._masks), np.concatenate(self._probabilities))

    def discard(self) -> None:
        """Leaves nothing to be removed: files appear when they are whole."""
