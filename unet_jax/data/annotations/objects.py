"""Describes annotated images: which object covers which pixels, and what a source says about its classes."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

# An object with this label is not trained on: its pixels become void (255), and it is no instance.
VOID = "void"


class Crop(NamedTuple):
    """Holds the part of an image-sized mask around its pixels.

    Attributes:
      mask: True for the pixels of the object, bool `[h, w]`; no part lies outside the image.
      top: row of the first row of `mask` in the image.
      left: column of the first column of `mask` in the image.
    """

    mask: np.ndarray
    top: int
    left: int


class Object(NamedTuple):
    """Holds one annotated object.

    Attributes:
      label: name of its class; `VOID` for pixels that do not count.
      crop: its pixels.
      order: where objects overlap, the one of the higher order wins; of the same order, the later one.
      is_crowd: True if the source calls it a crowd (COCO's `iscrowd`).
    """

    label: str
    crop: Crop
    order: float = 0
    is_crowd: bool = False


class Annotated(NamedTuple):
    """Holds an image and its objects.

    Attributes:
      image: its file.
      page: its page in the file, from 0.
      size: height and width in pixels, as in the file.
      objects: its objects, in the order of the source. () means that the source says there are none; None means that the
        source says nothing about this image.
      split: "train", "val" or "test" where the source gives it, else "".
    """

    image: Path
    page: int
    size: tuple[int, int]
    objects: tuple[Object, ...] | None
    split: str = ""


class Annotations(NamedTuple):
    """Holds what a source says.

    Attributes:
      labels: names of the classes, in the order of the source or else sorted. () if they are known only after all images are
        read; then all objects are held in memory.
      images: the images, read one by one; the pages of a file follow one another.
      instances: False if an object is all pixels of a class, as in masks of classes.
    """

    labels: tuple[str, ...]
    images: Iterator[Annotated]
    instances: bool = True
