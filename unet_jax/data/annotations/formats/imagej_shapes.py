"""Tells which pixels an ImageJ ROI covers."""

from typing import Any

import numpy as np

from unet_jax.data.annotations import crops, polygons, shapes
from unet_jax.data.annotations.objects import Crop
from unet_jax.errors import UserError

# Types and subtypes of ROIs, as their format numbers them.
POLYGON, RECTANGLE, OVAL, FREEHAND, TRACED = 0, 1, 2, 7, 8
ELLIPSE, TURNED_RECTANGLE = 3, 5
WITHOUT_AREA = {3: "a line", 4: "a freehand line", 5: "a segmented line", 6: "no ROI", 9: "an angle", 10: "points"}
PICTURES = {1: "text", 2: "an arrow", 4: "an image"}
SPLINE_FIT = 1


def without_area(roi: Any) -> str:
    """Returns what a ROI that covers no pixels is, such as "a line"; "" for one that does cover pixels."""
    return PICTURES.get(int(roi.subtype), "") or WITHOUT_AREA.get(int(roi.roitype), "")


def fill(roi: Any, size: tuple[int, int], name: str, points: str = "corners") -> Crop:
    """Returns the pixels that a ROI covers in ImageJ.

    A rectangle and an oval cover their box of whole numbers, also if they have sub-pixel resolution. Of a composite, the outlines
    count together: what lies in an even number of them is a hole.

    Args:
      roi: `roifile.ImagejRoi`, one for which `without_area` is "".
      size: height and width of the image; what lies outside is cut off.
      name: names the ROI in errors, with its file.
      points: as in `polygons.fill`.

    Raises:
      UserError: it has a spline fit or round corners, or is of another type.
    """
    kind, subtype = int(roi.roitype), int(roi.subtype)
    if roi.options & SPLINE_FIT:
        raise UserError(
            f"{name}: has a spline fit, whose curve is not in the file; in ImageJ choose Edit > Selection > Interpolate and "
            "save it again"
        )
    if roi.composite:
        rings = [ring for ring in roi.coordinates(multi=True) if len(ring) > 2]
        return polygons.fill([polygons.to_ring(ring, name) for ring in rings], size, points) if rings else crops.EMPTY
    if kind == RECTANGLE:
        if roi.rounded_rect_arc_size:
            raise UserError(
                f"{name}: is a rectangle with round corners (arc size {roi.rounded_rect_arc_size}); in ImageJ choose "
                "Edit > Selection > Create Mask, then Create Selection, and save that"
            )
        return polygons.fill([shapes.box_ring(roi.left, roi.top, roi.right, roi.bottom)], size)
    if kind == OVAL:
        x, y = (roi.left + roi.right) / 2, (roi.top + roi.bottom) / 2
        return shapes.fill_ellipse(x, y, (roi.right - roi.left) / 2, (roi.bottom - roi.top) / 2, size, name=name)
    if kind in (POLYGON, FREEHAND, TRACED):
        if subtype in (ELLIPSE, TURNED_RECTANGLE) and roi.subpixel_coordinates is None:
            raise UserError(
                f"{name}: is an ellipse or a turned rectangle without its outline; in ImageJ choose Edit > Selection > "
                "Create Mask, then Create Selection, and save that"
            )
        return polygons.fill([polygons.to_ring(np.asarray(roi.coordinates()), name)], size, points)
    raise UserError(f"{name}: is a ROI of type {kind}, which is not known; save it again as a polygon")
