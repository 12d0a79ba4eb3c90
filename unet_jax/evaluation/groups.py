"""The groups of scores of an evaluation, made from a choice, a network and the data."""

import dataclasses

from unet_jax.data.dataset import ExampleSource
from unet_jax.errors import UserError
from unet_jax.evaluation.boundary_group import BoundaryGroup
from unet_jax.evaluation.calibration_group import CalibrationGroup
from unet_jax.evaluation.choice import MetricChoice
from unet_jax.evaluation.group import Group
from unet_jax.evaluation.instance_group import InstanceGroup
from unet_jax.inference.segmenter import Segmenter


def complete(choice: MetricChoice, source: ExampleSource) -> MetricChoice:
    """Returns a choice whose names are filled in: "pixels", and "instances" where the examples have them.

    Args:
      choice: the choice.
      source: the examples, at least one.

    Raises:
      UserError: instances are chosen, and the examples have none.
    """
    has_instances = "instances" in source[0]
    if "instances" in choice.names and not has_instances:
        raise UserError(
            "--metrics=instances: the data have no instances (image_folder reads them from ROOT/instances); leave it out"
        )
    default = ("pixels", "instances") if has_instances else ("pixels",)
    return dataclasses.replace(choice, names=choice.names or default)


def create_groups(choice: MetricChoice, segmenter: Segmenter, border_width: float = 0.0) -> list[Group]:
    """Returns the groups of a choice that lie in this room.

    `evaluate` counts the pixels by itself; the group of the plates is that of `measurement.plates`.

    Args:
      choice: the result of `complete`.
      segmenter: the network that is scored.
      border_width: of masks with borders; 0 for other masks.
    """
    boundary = BoundaryGroup(segmenter.class_names, segmenter.report_channels, choice.tolerance, choice.pixel_size)
    groups: list[Group] = [
        InstanceGroup(segmenter.class_names, border_width),
        boundary,
        CalibrationGroup(segmenter.activation),
    ]
    return [group for group in groups if group.name in choice.names]
