"""What augmentation can be told: every option, its unit, its value that is off, and what is refused."""

import dataclasses
import math
from collections.abc import Mapping

from unet_jax.errors import UserError

# In the order in which their chances are drawn: a new one goes to the end, so that no other's draws move.
BY_CHANCE = (
    *("elastic", "rotate", "scale", "shear", "shift"),
    *("blur", "low_resolution", "multiply", "contrast", "brightness", "inverted_gamma", "gamma", "noise", "cutout"),
)
WARPS = BY_CHANCE[:5]
INTERPOLATIONS = ("linear", "cubic")
FILL_MODES = ("mirror", "void")


@dataclasses.dataclass(frozen=True)
class AugmentOptions:
    """The options of `augment`; the defaults are off, and what is off draws nothing and adds nothing to the program.

    A pair is (least, most) of what is drawn from. Grey values are those of the normalised image.

    Raises `UserError` where a value is outside its domain.
    """

    flip: bool = False  # mirrors up-down and left-right, each with probability 1/2
    quarter_turns: bool = False  # by 0, 90, 180 or 270 degrees alike; a window that is not square by 0 or 180
    # The warp: one sampling map behind flips and turns.
    elastic: float = 0.0  # standard deviation in pixels of the displacements of a coarse grid's points, 0 for none
    elastic_grid: int = 3  # points of that grid on each axis; the outer ones are the window's corners
    rotate: float = 0.0  # degrees; angle ~ U(-rotate, rotate) about the centre
    scale: tuple[float, float] = (1.0, 1.0)  # factor, above 1 larger; log factor ~ U
    shear: float = 0.0  # degrees; angle ~ U(-shear, shear) by which upright lines lean over
    shift: float = 0.0  # pixels; of each axis ~ U(-shift, shift)
    interpolation: str = "linear"  # of the image; or cubic
    fill_mode: str = "mirror"  # what the window does not hold: mirror, or void, which is not valid
    # Grey values, in the order in which they change.
    blur: tuple[float, float] = (0.0, 0.0)  # standard deviation of a Gaussian in pixels ~ U
    low_resolution: tuple[float, float] = (1.0, 1.0)  # factor of the image's size ~ U, there by nearest, back by cubic
    multiply: float = 0.0  # factor ~ U(1 - multiply, 1 + multiply); below 1
    contrast: float = 0.0  # x -> m + f (x - m), m the window's mean, f ~ U(1 - contrast, 1 + contrast); below 1
    brightness: float = 0.0  # adds b ~ U(-brightness, brightness)
    inverted_gamma: float = 0.0  # gamma of the negative
    gamma: float = 0.0  # x -> lo + r ((x - lo) / r)^g over the window's range r = hi - lo, log g ~ U(-gamma, gamma)
    noise: float = 0.0  # adds normal noise to each pixel, its standard deviation ~ U(0, noise)
    cutout: int = 0  # rectangles of the image that become its mean
    cutout_size: tuple[float, float] = (0.1, 0.3)  # their height and width ~ U, as parts of the window's
    probability: Mapping[str, float] = dataclasses.field(  # of each that is drawn by chance; 1 where it is not named
        default_factory=lambda: dict.fromkeys(BY_CHANCE, 1.0)
    )

    def __post_init__(self):
        _at_least_0(self, "elastic", "shift", "brightness", "inverted_gamma", "gamma", "noise")
        for name, most in {"contrast": 1, "multiply": 1, "shear": 90}.items():
            value = getattr(self, name)
            _require(_is_number(value) and 0 <= value < most, name, value, f"choose at least 0 and below {most}")
        _require(_is_number(self.rotate) and 0 <= self.rotate <= 180, "rotate", self.rotate, "choose 0 to 180 degrees")
        _pair(
            self, "scale", lambda low: low > 0, math.inf, "two factors above 0, the smaller first, (1.0, 1.0) for none"
        )
        _pair(self, "blur", lambda low: low >= 0, math.inf, "two numbers of pixels from 0 on, the smaller first")
        _pair(self, "low_resolution", lambda low: low > 0, 1, "two factors above 0 up to 1, the smaller first")
        _pair(self, "cutout_size", lambda low: low > 0, 1, "two parts of the window above 0 up to 1, the smaller first")
        for name, least in {"elastic_grid": 2, "cutout": 0}.items():
            value = getattr(self, name)
            whole = _is_number(value) and float(value).is_integer() and value >= least
            _require(whole, name, value, f"choose a whole number of at least {least}")
        for name, known in {"interpolation": INTERPOLATIONS, "fill_mode": FILL_MODES}.items():
            _require(getattr(self, name) in known, name, repr(getattr(self, name)), f"choose {' or '.join(known)}")
        for name, value in self.probability.items():
            known = f"it is none of those drawn by chance: {', '.join(BY_CHANCE)}"
            _require(name in BY_CHANCE, f"probability.{name}", value, known)
            _require(_is_number(value) and 0 <= value <= 1, f"probability.{name}", value, "choose 0 to 1")

    def on(self, name: str) -> bool:
        """Whether that option changes anything."""
        off = getattr(type(self), name)
        value = getattr(self, name)
        return (tuple(value) if isinstance(off, tuple) else value) != off and self.probability.get(name, 1) > 0

    @property
    def warps(self) -> bool:
        """Whether a pixel may come from between pixels."""
        return any(map(self.on, WARPS))


def _is_number(value) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)


def _require(right: bool, name: str, value, remedy: str) -> None:
    if not right:
        raise UserError(f"augment.{name}={value}: {remedy}")


def _at_least_0(options: AugmentOptions, *names: str) -> None:
    for name in names:
        value = getattr(options, name)
        _require(_is_number(value) and value >= 0, name, value, "choose at least 0")


def _pair(options: AugmentOptions, name: str, allowed, most: float, remedy: str) -> None:
    value = getattr(options, name)
    numbers = isinstance(value, (tuple, list)) and len(value) == 2 and all(map(_is_number, value))
    _require(numbers and allowed(value[0]) and value[0] <= value[1] <= most, name, value, f"give {remedy}")
