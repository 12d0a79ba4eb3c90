"""Writes the objects of images into a folder: their tables, label images and outlines.

    OUT/objects.csv              a row for each object of all images
    OUT/images.csv               a row for each image
    OUT/objects/NAME.csv         the objects of an image
    OUT/labels/CLASS/NAME.tif    the number of the object of each pixel, 0 for none
    OUT/outlines/NAME.geojson    polygons, which QuPath opens

In an image, the objects of all classes are numbered on: those of the second class follow those of the first.
"""

import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tifffile
from etils.epath import Path

from unet_jax.data.datasets.image_rows import ArrayRows, ImageRows
from unet_jax.errors import UserError
from unet_jax.evaluation.border_objects import ground, interiors
from unet_jax.inference.inputs import Input
from unet_jax.inference.outputs import safe_name
from unet_jax.inference.result_folder import Needs, ResultFolder, named
from unet_jax.inference.writers.band_writers import TiffBands
from unet_jax.measurement.components import Labels
from unet_jax.measurement.geojson import GeoJsonFile, feature
from unet_jax.measurement.objects import ObjectFinder, Options
from unet_jax.measurement.outlines import trace
from unet_jax.measurement.pixel_size import PixelSize, read_pixel_size
from unet_jax.measurement.regions import Columns, measure
from unet_jax.measurement.tables import Row, image_row, in_units, object_rows, read_csv, tables_of_images, to_csv
from unet_jax.measurement.watershed import check_memory
from unet_jax.storage.paths import in_bucket, write_whole
from unet_jax.storage.write_errors import report_write_errors

# The folders of the results.
OBJECTS, LABELS, OUTLINES = "objects", "labels", "outlines"
OBJECT_TABLE, IMAGE_TABLE = "objects.csv", "images.csv"
# The tables of a comparison with true objects.
AGREEMENT, MATCHES = "agreement.csv", "matches.csv"
# The largest number of an object in a label image of 16 bits.
MOST_IN_16_BITS = 65535


@dataclasses.dataclass(frozen=True)
class Classes:
    """The classes whose objects are measured.

    Attributes:
      names: of the classes.
      channels: the channel of the masks of each.
      colours: RGB of each, 0 to 255.
      border_width: of masks with borders, which have one class of objects; 0 for other masks.
    """

    names: Sequence[str]
    channels: Sequence[int]
    colours: Sequence[Sequence[int]]
    border_width: float = 0.0


class ObjectFolder(ResultFolder):
    """The folder of the measurements of images; see the text of this file.

    Args:
      out: the folder.
      images: that are measured, for their pixels and the tags of their files.
      classes: whose objects are measured.
      options: how masks become objects.
      pixel: the size of a pixel; None for that in the tags of each file, if there is one.
      budget: the bytes that a watershed may take.
      with_intensities: False measures no intensities: `images` are masks.

    Attributes:
      classes: whose objects are measured.
      options: how masks become objects.
      budget: the bytes that a watershed may take.
      names: of the images.

    Raises:
      UserError: the folders of two classes would have one name, the folder is in a bucket, or the tags of a file give pixels
        that are not square.
    """

    kinds = (OBJECTS, LABELS, OUTLINES)
    summaries = (OBJECT_TABLE, IMAGE_TABLE)
    comparisons = (AGREEMENT, MATCHES)

    def __init__(
        self,
        out: Path,
        images: Sequence[Input],
        classes: Classes,
        options: Options,
        *,
        pixel: PixelSize | None = None,
        budget: float = np.inf,
        with_intensities: bool = True,
    ):
        self.out, self.classes, self.options = out, classes, options
        if in_bucket(out):
            raise UserError(f"--out={out} is in a bucket, where label images cannot be written; give a local folder")
        self._label_folders = [out / LABELS / safe_name(name) for name in classes.names]
        if len(set(self._label_folders)) < len(self._label_folders):
            raise UserError(
                f"two of the classes {', '.join(classes.names)} would share a folder of label images; rename one"
            )
        self.folders = [out / OBJECTS, *self._label_folders, out / OUTLINES]
        self.names = [image.name for image in images]
        self._images = {image.name: image for image in images} if with_intensities else {}
        of_files = {path: pixel or read_pixel_size(path) for path in {image.path for image in images}}
        self._pixels = {image.name: of_files[image.path] for image in images}
        self.budget = budget

    @property
    def needs(self) -> Needs:
        """What is given of each image: the pixels are read here, once the objects are known."""
        return Needs(pixels=False, probabilities=self.options.split == "probability", uncertainty=False)

    def files(self, name: str) -> list[tuple[str, list[str]]]:
        """Returns, for each result of an image, its folder and its name."""
        labels = [named(str(folder), name, [".tif"]) for folder in self._label_folders]
        return [
            *labels,
            named(str(self.out / OUTLINES), name, [".geojson"]),
            named(str(self.out / OBJECTS), name, [".csv"]),
        ]

    possible_files = files

    def check(self, overwrite: bool) -> None:
        """Checks that label images that lie there are of the same classes, and that no other table would be replaced.

        Raises:
          UserError: one of both is not so.
        """
        self.check_tables(overwrite)
        parent = self.out / LABELS
        there = {path.name for path in parent.iterdir() if path.is_dir()} if parent.is_dir() else set()
        if there and there != {folder.name for folder in self._label_folders}:
            raise UserError(
                f"{parent} holds objects of the classes {', '.join(sorted(there))}, and those now are "
                f"{', '.join(folder.name for folder in self._label_folders)}; write to another folder"
            )

    def check_size(self, name: str, size: Sequence[int]) -> None:
        """Checks that an image of this height and width can be split within the memory.

        Raises:
          UserError: it cannot.
        """
        if self.options.split:
            maps = len(self.classes.names) if self.options.split == "probability" else 0
            check_memory(size[0], size[1], maps, self.budget)

    def writer(self, name: str, size: Sequence[int], measures: Mapping[str, float]) -> "ImageObjects":
        """Returns what finds and measures the objects of an image."""
        image = self._images.get(name)
        return ImageObjects(self, name, (size[0], size[1]), image, self._pixels.get(name))

    def write_objects(
        self, name: str, objects: Sequence[Labels], rows: ImageRows | None, pixel: PixelSize | None
    ) -> None:
        """Measures the objects of an image, and writes its files.

        Args:
          name: of the image.
          objects: of each class.
          rows: the pixels; None for no intensities.
          pixel: the size of a pixel, if it is known.

        Raises:
          OSError: a file cannot be written.
        """
        table: list[Row] = []
        names: list[str] = []
        offset = 0
        total = sum(labels.count for labels in objects)
        with GeoJsonFile(self.out / OUTLINES / f"{name}.geojson") as outlines:
            for class_name, colour, folder, labels in zip(
                self.classes.names, self.classes.colours, self._label_folders, objects, strict=True
            ):
                columns = measure(labels, rows)
                columns["label"] = columns["label"] + offset
                columns = in_units(columns, pixel)
                of_class = object_rows(columns, class_name)
                names = ["label", "class", *(column for column in columns if column != "label")]
                table += of_class
                _write_outlines(outlines, labels, columns, of_class, class_name, colour)
                _write_labels(folder / f"{name}.tif", labels, offset, total, pixel)
                offset += labels.count
        path = self.out / OBJECTS / f"{name}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        # The last one: an image is finished when it is there.
        write_whole(path, to_csv(table, names).encode())

    def finish(self) -> None:
        """Writes the tables of all images that are measured, until nothing is new: other processes may write there, too."""
        with report_write_errors():
            for of_images in tables_of_images(self, self.out / OBJECTS):
                objects = [{"image": name, **row} for name, rows in of_images.items() for row in rows]
                write_whole(self.out / OBJECT_TABLE, to_csv(objects, ["image"]).encode())
                images = [{"image": name, **self._image_row(name, rows)} for name, rows in of_images.items()]
                write_whole(self.out / IMAGE_TABLE, to_csv(images, ["image"]).encode())

    def read_objects(self, name: str) -> list[dict[str, str]]:
        """Returns the rows of the objects of an image that was measured."""
        return read_csv(self.out / OBJECTS / f"{name}.csv")

    def labels_of(self, name: str) -> list[Path]:
        """Returns the label images of an image, by class."""
        return [folder / f"{name}.tif" for folder in self._label_folders]

    def _image_row(self, name: str, rows: Sequence[Mapping[str, str]]) -> Row:
        path = self.labels_of(name)[0]
        with tifffile.TiffFile(os.fspath(path)) as file:
            page = file.pages.first
            size, about = page.shape, json.loads(page.description or "{}")
        pixel = PixelSize(about["pixel_size"], about["unit"]) if about.get("unit") else None
        areas = {one: [int(row["area"]) for row in rows if row["class"] == one] for one in self.classes.names}
        return image_row(size, areas, pixel)


class ImageObjects:
    """Finds the objects of one image from its masks, and writes its files; see `ResultFolder.open`.

    Args:
      folder: says what is measured, and where it is written.
      name: of the image.
      size: its height and width.
      image: its file, whose intensities are measured; None for none.
      pixel: the size of a pixel, if it is known.
    """

    def __init__(
        self,
        folder: ObjectFolder,
        name: str,
        size: tuple[int, int],
        image: Input | None,
        pixel: PixelSize | None,
    ):
        self._folder, self._name, self._image, self._pixel = folder, name, image, pixel
        classes = folder.classes
        self._finder = ObjectFinder(
            size, len(classes.names), folder.options, folder.budget, border_width=classes.border_width
        )
        self._size = size
        self._array: np.ndarray | None = None

    def write(
        self,
        start: int,
        masks: np.ndarray,
        ids: np.ndarray,
        image: np.ndarray | None = None,
        probabilities: np.ndarray | None = None,
    ) -> None:
        """Adds a band; the arrays are those of `ResultFolder.write`, and `ids` are not read."""
        channels = list(self._folder.classes.channels)
        of_classes = None if probabilities is None else probabilities[..., channels]
        if self._folder.classes.border_width:
            self._finder.add(start, interiors(masks)[..., None], of_classes, ground(masks))
        else:
            self._finder.add(start, masks[..., channels], of_classes)
        # An image that came as a whole need not be read again.
        if image is not None and self._image is not None and image.shape[:2] == self._size:
            self._array = image

    def close(self) -> None:
        """Measures, and writes the files.

        Raises:
          OSError: a file cannot be written.
        """
        rows: ImageRows | None = None
        if self._image is not None:
            rows = self._image.open() if self._array is None else ArrayRows(self._array)
        self._folder.write_objects(self._name, self._finder.finish(), rows, self._pixel)

    def discard(self) -> None:
        """Leaves nothing to be removed: files appear when they are whole."""


def _write_labels(path: Path, labels: Labels, offset: int, total: int, pixel: PixelSize | None) -> None:
    """Writes a label image, uint16 where the numbers of all classes fit, else uint32.

    Args:
      path: the file.
      labels: the objects of one class.
      offset: what is added to their numbers.
      total: the number of objects of all classes.
      pixel: its size; the file's description holds it.
    """
    dtype = np.uint16 if total <= MOST_IN_16_BITS else np.uint32
    with TiffBands(path, labels.shape, dtype) as writer:
        if pixel is not None:
            writer.description = json.dumps({"pixel_size": pixel.size, "unit": pixel.unit})
        for start, stop in labels.bands():
            band = labels.read(start, stop)
            writer.write(start, np.where(band > 0, band + np.uint32(offset), 0).astype(dtype))


def _write_outlines(
    file: GeoJsonFile,
    labels: Labels,
    columns: Columns,
    rows: Sequence[Row],
    class_name: str,
    colour: Sequence[int],
) -> None:
    boxes = np.stack([columns[f"bbox-{side}"] for side in range(4)], -1).tolist()
    for number, (box, row) in enumerate(zip(boxes, rows, strict=True), start=1):
        measurements: dict[str, Any] = {name: value for name, value in row.items() if name not in ("label", "class")}
        file.write(feature(trace(labels, number, box), str(row["label"]), class_name, colour, measurements))
