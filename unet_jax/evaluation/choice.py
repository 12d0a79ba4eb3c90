"""The choice of what an evaluation scores, as the flags of `unet-jax eval` give it."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from unet_jax.errors import UserError

# The groups of scores. "pixels" is always scored.
METRICS = ("pixels", "instances", "boundary", "calibration", "plates")


@dataclasses.dataclass(frozen=True)
class MetricChoice:
    """The scores of an evaluation.

    >>> MetricChoice(("pixels", "boundary"), pixel_size=(0.05, 0.05), unit="mm").about()
    {'metrics': ['pixels', 'boundary'], 'tolerance': 2.0, 'pixel_size': [0.05, 0.05], 'unit': 'mm'}

    Attributes:
      names: of `METRICS`; () for "pixels", and "instances" where the data have them.
      tolerance: of NSD, in `unit`.
      pixel_size: height and width of a pixel in `unit`.
      unit: of lengths; "px" for pixels.
      plate_classes: the classes of the plates; see `measurement.plates.roles.find_roles`, whose arguments they are.

    Raises:
      UserError: a name is unknown, a number is outside its range, or the size of a pixel comes without its unit.
    """

    names: tuple[str, ...] = ()
    tolerance: float = 2.0
    pixel_size: tuple[float, float] = (1.0, 1.0)
    unit: str = "px"
    plate_classes: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in self.names:
            if name not in METRICS:
                raise UserError(f"--metrics={name}: there are no such scores; choose from {', '.join(METRICS)}")
        if not (math.isfinite(self.tolerance) and self.tolerance >= 0):
            raise UserError(f"--tolerance={self.tolerance}: give a distance of 0 or more")
        if not all(math.isfinite(size) and size > 0 for size in self.pixel_size):
            raise UserError(f"--pixel_size={self.pixel_size}: give numbers above 0")
        if self.pixel_size != (1, 1) and self.unit == "px":
            raise UserError(f"--pixel_size={self.pixel_size}: its unit is missing; add --unit=mm, um or another")
        for flag, name in self.plate_classes.items():
            if name and "plates" not in self.names:
                raise UserError(f"--{flag}={name} is for the scores of plates; add --metrics=plates, or leave it out")

    def about(self) -> dict[str, Any]:
        """Returns the choice in the types of JSON."""
        about: dict[str, Any] = {"metrics": list(self.names)}
        if "boundary" in self.names:
            about |= {"tolerance": self.tolerance, "pixel_size": list(self.pixel_size), "unit": self.unit}
        return about
