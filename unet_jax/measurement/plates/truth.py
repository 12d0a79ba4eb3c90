"""True plates of an Example: from its `plates`, or from its labelled instances."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from unet_jax.data.dataset import ExampleSource
from unet_jax.errors import UserError
from unet_jax.inference.views import View
from unet_jax.measurement.plates.find import frame, measure_plate
from unet_jax.measurement.plates.pieces import find_pieces
from unet_jax.measurement.plates.roles import Roles
from unet_jax.measurement.plates.scores import Tip
from unet_jax.segmentation import true_masks


def check_has_plates(source: ExampleSource) -> None:
    """Checks that plates of examples can be scored.

    Raises:
      UserError: they have neither `plates` nor instances.
    """
    if not {"plates", "instances"} & set(source[0]):
        raise UserError(
            "--metrics=plates: the data have neither plates nor instances (image_folder reads instances from "
            "ROOT/instances); leave it out"
        )


def true_plates(example: Mapping[str, Any], roles: Roles, class_names: Sequence[str]) -> list[Tip]:
    """Returns the true plates of an Example, in the order of the stack.

    Its feature `plates` is a list as JSON, in the order of the stack, of dicts with `kind`, the name of the class, and
    `end_position`, x and y of the tip, which may lie outside the image. Without it, the plates are the instances of the classes
    of plates, and their tips are those of their pixels.
    """
    masks, _ = true_masks(example["mask"], len(class_names))
    channels, stack = roles.channels(class_names)
    view = frame(masks[..., channels].any(-1), None if stack is None else masks[..., stack])
    if "plates" in example:
        return _from_list(json.loads(example["plates"]), roles, view, masks.shape[:2])
    return _from_instances(np.asarray(example["instances"]), masks[..., channels], view)


def _from_list(plates: Sequence[Mapping[str, Any]], roles: Roles, view: View, size: Sequence[int]) -> list[Tip]:
    tips = []
    for plate in plates:
        if plate["kind"] not in roles.plates:
            continue
        x, y = plate["end_position"]
        is_inside = -0.5 <= x <= size[1] - 0.5 and -0.5 <= y <= size[0] - 0.5
        along, length = (y, size[0]) if view.transposed else (x, size[1])
        reach = length - 1 - along if view.left_right else along
        kind = roles.plates.index(plate["kind"])
        tips.append(Tip(kind, float(reach), (x, y)) if is_inside else Tip(kind, None, None))
    return tips


def _from_instances(instances: np.ndarray, masks: np.ndarray, view: View) -> list[Tip]:
    measured = []
    for number in np.unique(instances[masks.any(-1)]):
        if not number:
            continue
        region = view.apply(instances == number)
        kind = int(view.apply(masks)[region].sum(0).argmax())
        pieces, _ = find_pieces(region, region)
        piece = pieces[0]
        for other in pieces[1:]:
            piece = piece.joined(other)
        measured.append(measure_plate(piece, region, region, kind, view))
    measured.sort(key=lambda plate: plate.row)
    return [Tip(plate.kind, plate.reach, plate.tip) for plate in measured]
