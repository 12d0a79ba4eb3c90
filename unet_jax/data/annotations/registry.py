"""Knows the formats of annotations, and recognises them by content."""

from collections.abc import Callable
from typing import NamedTuple

from unet_jax.data.annotations.formats import coco, cvat, imagej, label_studio, labelme, qupath, voc, yolo
from unet_jax.data.annotations.objects import Annotations
from unet_jax.data.annotations.options import Options
from unet_jax.data.annotations.source import Source
from unet_jax.errors import UserError


class Format(NamedTuple):
    """Names the functions of a format.

    Attributes:
      recognise: returns True if a source holds this format.
      read: returns the annotations of such a source. Its errors name the file.
    """

    recognise: Callable[[Source], bool]
    read: Callable[[Source, Options], Annotations]


FORMATS = {
    "coco": Format(coco.recognise, coco.read),
    "labelme": Format(labelme.recognise, labelme.read),
    "yolo": Format(yolo.recognise, yolo.read),
    "cvat": Format(cvat.recognise, cvat.read),
    "imagej": Format(imagej.recognise, imagej.read),
    "label_studio": Format(label_studio.recognise, label_studio.read),
    "qupath": Format(qupath.recognise, qupath.read),
    "voc": Format(voc.recognise, voc.read),
}


def read(source: Source, format_: str, options: Options) -> Annotations:
    """Returns the annotations of a source.

    Args:
      source: the files.
      format_: a row of `FORMATS`, or "auto" to recognise it.
      options: how annotations are read.

    Raises:
      UserError: no format or several are recognised, or the source cannot be read.
    """
    known = ", ".join(FORMATS)
    if format_ == "auto":
        recognised = [name for name, row in FORMATS.items() if row.recognise(source)]
        if not recognised:
            raise UserError(f"{source.path}: holds no annotations of a known format; name it with --format ({known})")
        if len(recognised) > 1:
            listed = " and ".join(recognised)
            raise UserError(f"{source.path}: holds {listed} annotations; choose one with --format={recognised[0]}")
        format_ = recognised[0]
    if format_ not in FORMATS:
        raise UserError(f"--format={format_}: is unknown; choose one of auto, {known}")
    return FORMATS[format_].read(source, options)
