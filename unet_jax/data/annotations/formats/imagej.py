"""Reads ROIs of ImageJ: `.roi` files, `.zip` files of the ROI Manager, and the overlay inside a TIFF that ImageJ wrote.

A file of ROIs belongs to the image of the same name, `a.roi` or `a.zip` to `a.tif`; `RoiSet.zip`, the name that ImageJ proposes,
to the one image in its folder. Such a file goes before an overlay. The label is the name of the ROI, or `Options.label` for all.
"""

import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from unet_jax.data.annotations.formats import imagej_shapes
from unet_jax.data.annotations.objects import Annotated, Annotations, Object
from unet_jax.data.annotations.options import Options
from unet_jax.data.annotations.pairing import pair
from unet_jax.data.annotations.planes import TIFFS, Planes
from unet_jax.data.annotations.source import Source, size_of
from unet_jax.data.datasets import listing
from unet_jax.errors import UserError
from unet_jax.storage.write_errors import first_line

ROI_FILES = (".roi", ".zip")
# Files that hold annotations of other formats, so that the TIFFs beside them are only images.
OTHERS = (".json", ".geojson", ".xml", ".txt")
# The name that the ROI Manager proposes for a file of all its ROIs.
ANY_IMAGE = "RoiSet"
# Names that ImageJ gives: position, row and column of the centre, and the number below.
GIVEN_NAME = re.compile(r"\d+(-\d+)*")
# The ROI Manager holds each name once: it makes `cell`, `cell-1`, `cell-2` of three ROIs that are called `cell`.
NUMBERED_NAME = re.compile(r"(.+)-\d{1,3}")
# Bytes of a ROI; one of more is not one.
LARGEST_ROI = 2**28

# A ROI and its name for errors.
Named = tuple[str, Any]


def recognise(source: Source) -> bool:
    """Returns True if a source holds ROI files, or else TIFFs with an overlay and no annotations of another kind."""
    if any(path.suffix.lower() == ".roi" or _holds_rois(path) for path in source.ending(*ROI_FILES)):
        return True
    return not source.ending(*OTHERS) and any(any(_inside(path)) for path in source.ending(*TIFFS))


def read(source: Source, options: Options) -> Annotations:
    """Returns the images of the ROIs, and the images beside them that have none.

    Raises:
      UserError: roifile is missing, or a file of ROIs belongs to no image, or to an image that has another one. Reading the
        images raises it for a ROI that cannot be read.
    """
    _roifile()
    # A zip that is damaged counts, and is refused where it is read: else its image would have no ROI.
    files = [path for path in source.ending(*ROI_FILES) if not zipfile.is_zipfile(path) or _holds_rois(path)]
    if source.path.suffix.lower() in TIFFS:
        images: dict[Path, Path | None] = {source.path: None}
    elif files:
        images = pair(files, options, ANY_IMAGE)
    else:
        images = dict.fromkeys(source.ending(*listing.SUFFIXES))
    return Annotations((), _images(images, options))


def _images(images: dict[Path, Path | None], options: Options) -> Iterator[Annotated]:
    for image, file in images.items():
        if file:
            yield from _annotated(image, _rois(file), options)
            continue
        overlay, selection = _inside(image)
        if selection:
            options.on_note(f"{image}: passes over the active selection, which belongs to no overlay")
        if overlay:
            yield from _annotated(
                image, [(f"{image}: {_called(roi, n)}", roi) for n, roi in enumerate(overlay, 1)], options
            )
        else:
            yield Annotated(image, 0, size_of(image), None)


def _annotated(image: Path, rois: list[Named], options: Options) -> Iterator[Annotated]:
    """Yields the pages of an image that have ROIs; page 0 if there is no ROI at all."""
    planes = Planes(image)
    names = {roi.name for _, roi in rois}
    pages: dict[int, list[Object]] = {} if rois else {0: []}
    for name, roi in rois:
        if what := imagej_shapes.without_area(roi):
            if options.no_area == "error":
                raise UserError(f"{name}: is {what}, which covers no pixels; remove it, or set --no_area=skip")
            options.on_note(f"{name}: is {what} and is passed over")
            continue
        label = _label(name, roi, names, options)
        for page in _pages(roi, planes, name):
            crop = imagej_shapes.fill(roi, planes.sizes[page], name, options.polygon_points)
            pages.setdefault(page, []).append(Object(label, crop))
    for page in sorted(pages):
        yield Annotated(image, page, planes.sizes[page], tuple(pages[page]))


def _pages(roi: Any, planes: Planes, name: str) -> list[int]:
    """Returns the pages of a ROI. Its positions count from 1; 0 stands for all."""
    z, t = roi.z_position, roi.t_position
    if roi.position and not (roi.c_position or z or t):
        # ImageJ counts all planes, channels first, then slices, then frames.
        t, z = divmod((roi.position - 1) // planes.channels, planes.slices)
        z, t = z + 1, t + 1
    return planes.pages(z, t, name)


def _label(name: str, roi: Any, names: set[str], options: Options) -> str:
    """Returns the class of a ROI: its name, without the number that the ROI Manager adds where `names` holds that name, too."""
    if options.label:
        return options.label
    if not roi.name or GIVEN_NAME.fullmatch(roi.name):
        raise UserError(
            f"{name}: has no name of a class; rename it in the ROI Manager, or give all the label --label=NAME"
        )
    numbered = NUMBERED_NAME.fullmatch(roi.name)
    if not numbered:
        return roi.name
    if numbered[1] not in names:
        raise UserError(
            f"{name}: is called {roi.name!r}, and nothing tells whether the number is part of the class, or is what the ROI Manager "
            f"adds to the second ROI of a name; call one {numbered[1]!r}, or all otherwise, or see --label=NAME"
        )
    return numbered[1]


def _holds_rois(path: Path) -> bool:
    """Returns True for a zip that holds `.roi` files."""
    if path.suffix.lower() != ".zip" or not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.lower().endswith(".roi") for name in archive.namelist())


def _rois(file: Path) -> list[Named]:
    """Returns the ROIs of a file. One of a zip that has no name inside is named as its entry."""
    if file.suffix.lower() == ".roi":
        return [(str(file), _parse(file.read_bytes(), str(file)))]
    rois = []
    try:
        with zipfile.ZipFile(file) as archive:
            for entry in archive.infolist():
                if not entry.filename.lower().endswith(".roi"):
                    continue
                name = f"{file}: {entry.filename}"
                if entry.file_size > LARGEST_ROI:
                    raise UserError(f"{name}: has {entry.file_size} bytes, which no ROI has; save it again")
                roi = _parse(archive.read(entry), name)
                roi.name = roi.name or Path(entry.filename).stem
                rois.append((name, roi))
    except (zipfile.BadZipFile, OSError, NotImplementedError, RuntimeError) as error:
        raise UserError(f"{file}: cannot be read as a zip of ROIs ({first_line(error)}); save it again") from error
    return rois


def _inside(path: Path) -> tuple[list[Any], list[Any]]:
    """Returns the ROIs of the overlay of a TIFF, and its active selection if that is no ROI of the overlay.

    A selection with a name is one of the ROI Manager: it counts as an overlay where there is none.
    """
    if path.suffix.lower() not in TIFFS:
        return [], []
    import tifffile

    try:
        with tifffile.TiffFile(path) as file:
            about = file.imagej_metadata or {}
    except Exception:
        # What cannot be read as an image is refused where it is read as one.
        return [], []
    overlay, selection = (
        [_parse(data, f"{path}: {key}") for data in _listed(about.get(key, []))] for key in ("Overlays", "ROI")
    )
    if not overlay and selection and selection[0].name:
        return selection, []
    return overlay, [roi for roi in selection if roi not in overlay]


def _listed(value: Any) -> list[bytes]:
    return list(value) if isinstance(value, tuple | list) else [value]


def _called(roi: Any, number: int) -> str:
    return f"ROI {number}{f' {roi.name!r}' if roi.name else ''}"


def _parse(data: bytes, name: str) -> Any:
    try:
        return _roifile().ImagejRoi.frombytes(data)
    except UserError:
        raise
    except Exception as error:
        # For a damaged file roifile raises errors of many types.
        raise UserError(f"{name}: cannot be read as an ImageJ ROI ({first_line(error)}); save it again") from error


def _roifile() -> Any:
    try:
        import roifile
    except ImportError as error:
        raise UserError("reading ImageJ ROIs needs roifile; pip install 'unet-jax[annotations]'") from error
    return roifile
