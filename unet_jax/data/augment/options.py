"""Defines the options of augmentation: their units, their domains, and their default values, which are off."""

import dataclasses
from collections.abc import Mapping

from unet_jax.checks import MOST_SIDE, boolean, choice, mapping_of, number, pair_of, whole

WARPS = ("elastic", "rotate", "scale", "shear", "shift")
GREY_CHANGES = (
    "blur",
    "low_resolution",
    "multiply",
    "contrast",
    "brightness",
    "inverted_gamma",
    "gamma",
    "noise",
    "cutout",
)
# The changes that have a probability. Their position sets the key of their draw, so a new one goes to the end.
BY_CHANCE = (*WARPS, *GREY_CHANGES)
INTERPOLATIONS = ("linear", "cubic")
FILL_MODES = ("mirror", "void")

PROBABILITY = number(least=0, most=1)
NAME_OF_A_CHANGE = choice(BY_CHANCE)
PIXELS = number(least=0, most=MOST_SIDE, why="it is in pixels")
STRENGTH = number(least=0, most=100)
# The allowed values of each option. Within the limits every window stays finite in float32.
DOMAINS = {
    "flip": boolean(),
    "quarter_turns": boolean(),
    "elastic": PIXELS,
    "elastic_grid": whole(2, 100),
    "rotate": number(least=0, most=180, why="it is in degrees"),
    "scale": pair_of(number(least=0.01, most=100), "factors"),
    "shear": number(least=0, below=90, why="it is in degrees"),
    "shift": PIXELS,
    "interpolation": choice(INTERPOLATIONS),
    "fill_mode": choice(FILL_MODES),
    "blur": pair_of(number(least=0, most=100, why="it is in pixels"), "standard deviations"),
    "low_resolution": pair_of(number(above=0, most=1), "factors"),
    "multiply": number(least=0, below=1),
    "contrast": number(least=0, below=1),
    "brightness": STRENGTH,
    "inverted_gamma": number(least=0, most=10),
    "gamma": number(least=0, most=10),
    "noise": STRENGTH,
    "cutout": whole(0, 1000),
    "cutout_size": pair_of(number(above=0, most=1), "fractions of the window"),
    "per_channel": boolean(),
    "probability": mapping_of(),
}


@dataclasses.dataclass(frozen=True)
class AugmentOptions:
    """Holds the options of `augment`. By default all are off; an option that is off costs nothing and draws nothing.

    U(a, b) is a uniform draw from a to b; a pair (a, b) is the range of such a draw. Grey values are those of the normalised
    image. `elastic`, `rotate`, `scale`, `shear` and `shift` are warps: together they are one sampling map, applied after
    flips and turns. `blur` to `cutout` change grey values, in the order given here.

    Attributes:
      flip: mirrors up-down and left-right, each with probability 1/2.
      quarter_turns: turns by 0, 90, 180 or 270 degrees with equal probability; a window that is not square by 0 or 180.
      elastic: standard deviation, in pixels, of the random displacements of the points of a coarse grid; 0 for none.
      elastic_grid: number of points of that grid on each axis; the outer points lie on the window's border.
      rotate: largest angle in degrees; turns by U(-rotate, rotate) about the window's centre.
      scale: range of the factor, drawn uniformly in its logarithm; above 1 enlarges.
      shear: largest angle in degrees; upright lines lean over by U(-shear, shear).
      shift: largest distance in pixels; shifts by U(-shift, shift) on each axis.
      interpolation: "linear" or "cubic"; interpolation of the image in a warp.
      fill_mode: pixels that a warp takes from outside the window: "mirror" for mirrored ones, "void" for ones that are not
        valid.
      blur: range of the standard deviation of a Gaussian blur, in pixels.
      low_resolution: range of the factor of the image's size; reduced by nearest, enlarged again by cubic.
      multiply: multiplies by U(1 - multiply, 1 + multiply); below 1.
      contrast: x -> m + f (x - m), with m the window's mean and f ~ U(1 - contrast, 1 + contrast); below 1.
      brightness: adds U(-brightness, brightness).
      inverted_gamma: as `gamma`, but of the negative image.
      gamma: x -> lo + r ((x - lo) / r)^g, with r = hi - lo the window's range and log g ~ U(-gamma, gamma).
      noise: adds normal noise to each pixel; its standard deviation is U(0, noise).
      cutout: number of rectangles that are set to the image's mean.
      cutout_size: range of their height and width, as fractions of the window's.
      per_channel: True draws `blur` to `noise` for each channel anew, with its own mean and range; for channels that were
        recorded one by one, such as those of fluorescence. False changes all channels alike, as light changes a colour image.
        Whether a change happens is drawn once for the window, and `cutout` hides all channels.
      probability: probability of each change in `BY_CHANCE`; a change that is not named has 1.

    Raises:
      UserError: a value is outside its domain.
    """

    flip: bool = False
    quarter_turns: bool = False
    elastic: float = 0.0
    elastic_grid: int = 3
    rotate: float = 0.0
    scale: tuple[float, float] = (1.0, 1.0)
    shear: float = 0.0
    shift: float = 0.0
    interpolation: str = "linear"
    fill_mode: str = "mirror"
    blur: tuple[float, float] = (0.0, 0.0)
    low_resolution: tuple[float, float] = (1.0, 1.0)
    multiply: float = 0.0
    contrast: float = 0.0
    brightness: float = 0.0
    inverted_gamma: float = 0.0
    gamma: float = 0.0
    noise: float = 0.0
    cutout: int = 0
    cutout_size: tuple[float, float] = (0.1, 0.3)
    per_channel: bool = False
    probability: Mapping[str, float] = dataclasses.field(default_factory=lambda: dict.fromkeys(BY_CHANCE, 1.0))

    def __post_init__(self):
        for name, domain in DOMAINS.items():
            object.__setattr__(self, name, domain.check(f"augment.{name}", getattr(self, name)))
        for name, value in self.probability.items():
            NAME_OF_A_CHANGE.check("augment.probability", name)
            PROBABILITY.check(f"augment.probability.{name}", value)

    def on(self, name: str) -> bool:
        """Returns True if the option `name` can change anything."""
        off = getattr(type(self), name)
        value = getattr(self, name)
        return (tuple(value) if isinstance(off, tuple) else value) != off and self.probability.get(name, 1) > 0

    @property
    def warps(self) -> bool:
        """Returns True if a warp is on, so that pixels are interpolated."""
        return any(map(self.on, WARPS))
