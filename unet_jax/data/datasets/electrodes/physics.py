"""Computes the physics of the `electrodes` X-rays: bent plates, path lengths along the beam, and the detector.

Lengths are image pixels, pixel centres lie at whole numbers, x runs right and y down. A stack is built as seen with its
ends to the right; `render` mirrors it. Along the beam the depth z runs from -1/2 to 1/2, and attenuation is
the optical depth of a ray that stays inside the material over the whole depth.
"""

import dataclasses
import math

import numpy as np
from scipy import ndimage

from unet_jax.errors import UserError

# Sub-rays per pixel and axis. Odd: the middle sub-ray of a pixel runs through its centre and decides the mask.
SUPERSAMPLE = 3


@dataclasses.dataclass(frozen=True)
class Physics:
    """Holds the options of the X-ray: each pair is a range from which every image draws a value, uniformly.

    Attributes:
      anode_thickness: px, of a plate.
      cathode_thickness: px, of a plate.
      gap: px between neighbouring plates: separator and electrolyte.
      overhang: px by which anodes end beyond the cathodes.
      ragged: px, standard deviation of the plates' ends.
      wave: px, standard deviation of the deflection of a free plate end.
      slope: px per px, rotation of the stack in the image.
      tilt: px by which a plate rises from the near end of the beam to the far end.
      cone: px of further tilt per px from the central ray (cone beam).
      skew: px by which a plate's end recedes along the beam.
      anode_attenuation: optical depth: graphite on copper.
      cathode_excess: times the anode's: NMC on aluminium absorbs more.
      filling_attenuation: optical depth: soaked separators between the plates.
      wall_attenuation: optical depth of the case wall.
      wall: probability of a case wall, for each of the three open sides.
      missing: probability that a plate is missing.
      folded: probability that a corner of a plate is folded over.
      source_blur: px, Gaussian sigma of the focal spot's penumbra.
      detector_blur: px, Gaussian sigma of the scintillator.
      exposure: open beam as a fraction of full scale; above 1 it saturates.
      vignette: fraction by which the open beam varies over the image.
      scatter: ratio of scattered to transmitted radiation.
      glare: fraction of the light that the scintillator spreads over some 5 px.
      photons: number detected per pixel in the open beam.
      read_noise: standard deviation as a fraction of full scale, of pixels and lines.

    Raises:
      UserError: a range is not ordered or leaves its domain.
    """

    anode_thickness: tuple[float, float] = (5.0, 6.6)
    cathode_thickness: tuple[float, float] = (4.6, 5.8)
    gap: tuple[float, float] = (2.2, 3.0)
    overhang: tuple[float, float] = (18.0, 54.0)
    ragged: tuple[float, float] = (0.5, 3.0)
    wave: tuple[float, float] = (0.2, 1.5)
    slope: tuple[float, float] = (-0.05, 0.05)
    tilt: tuple[float, float] = (-1.8, 1.8)
    cone: tuple[float, float] = (-0.04, 0.04)
    skew: tuple[float, float] = (3.0, 12.0)
    anode_attenuation: tuple[float, float] = (0.55, 1.05)
    cathode_excess: tuple[float, float] = (1.35, 1.8)
    filling_attenuation: tuple[float, float] = (0.35, 0.85)
    wall_attenuation: tuple[float, float] = (0.3, 1.5)
    wall: float = 0.2
    missing: float = 0.03
    folded: float = 0.03
    source_blur: tuple[float, float] = (0.6, 1.1)
    detector_blur: tuple[float, float] = (0.6, 0.9)
    exposure: tuple[float, float] = (0.7, 1.0)
    vignette: tuple[float, float] = (0.0, 0.2)
    scatter: tuple[float, float] = (0.03, 0.15)
    glare: tuple[float, float] = (0.1, 0.3)
    photons: tuple[float, float] = (200.0, 1200.0)
    read_noise: tuple[float, float] = (0.002, 0.008)

    def __post_init__(self):
        signed = ("slope", "tilt", "cone")
        positive = ("anode_thickness", "cathode_thickness", "gap", "skew", "exposure", "photons")
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.name in ("wall", "missing", "folded"):
                if not 0 <= value <= 1:
                    raise UserError(f"electrodes: {field.name}={value} is not a probability; give 0 to 1")
                continue
            if np.ndim(value) != 1 or len(value) != 2 or not value[0] <= value[1] or not all(map(math.isfinite, value)):
                raise UserError(f"electrodes: {field.name}={value} is not a range; give (smallest, largest)")
            if field.name not in signed and (value[0] < 0 or (value[0] == 0 and field.name in positive)):
                raise UserError(f"electrodes: {field.name}={value} reaches below its domain; give larger values")


@dataclasses.dataclass
class Sheet:
    """Describes a bent sheet: `|y - centre(x) - tilt z| <= thickness / 2` and `x <= end + skew z` for z in `depth`."""

    kind: str
    # `[columns]`, y of the middle plane at z = 0, on the supersampled columns.
    centre: np.ndarray
    thickness: float
    end: float
    tilt: float
    skew: float
    attenuation: float
    depth: tuple[float, float] = (-0.5, 0.5)

    def tip(self, x: np.ndarray) -> tuple[float, float]:
        """Returns x and y of the middle of the end, on the sub-rays' columns x."""
        z = sum(self.depth) / 2
        end = self.end + self.skew * z
        return end, float(np.interp(end, x, self.centre)) + self.tilt * z


def _nonzero(value: float) -> float:
    return math.copysign(max(abs(value), 1e-3), value)


def grid(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns y `[height * SUPERSAMPLE]` and x `[width * SUPERSAMPLE]` of the sub-rays in pixels."""
    offset = (SUPERSAMPLE - 1) / 2
    return tuple((np.arange(n * SUPERSAMPLE) - offset) / SUPERSAMPLE for n in (height, width))


def centres(of_rays: np.ndarray) -> np.ndarray:
    """Reduces an array over the sub-rays to those through the centres of the pixels, `[H, W]`."""
    middle = SUPERSAMPLE // 2
    return of_rays[middle::SUPERSAMPLE, middle::SUPERSAMPLE]


def path_length(sheet: Sheet, y: np.ndarray, x: np.ndarray) -> tuple[slice, np.ndarray]:
    """Returns the fraction of the depth that the ray at (y, x) spends inside the sheet, in closed form.

    A ray is inside while three inequalities hold that are linear in z, so its path is the intersection of three intervals.

    Returns:
      The rows that the sheet can reach, a slice of y, and the fractions `[rows, columns]`.
    """
    tilt, skew = _nonzero(sheet.tilt), _nonzero(sheet.skew)
    reach = sheet.thickness / 2 + abs(tilt) / 2
    occupied = sheet.centre[x <= sheet.end + abs(skew) / 2]
    if not occupied.size:
        return slice(0, 0), np.zeros((0, x.size))
    rows = slice(*np.searchsorted(y, (occupied.min() - reach, occupied.max() + reach)))
    middle = (y[rows, None] - sheet.centre) / tilt
    half = abs(sheet.thickness / 2 / tilt)
    near, far = np.maximum(middle - half, sheet.depth[0]), np.minimum(middle + half, sheet.depth[1])
    edge = (x - sheet.end) / skew
    near, far = (np.maximum(near, edge), far) if skew > 0 else (near, np.minimum(far, edge))
    return rows, np.maximum(far - near, 0.0)


def detect(optical_depth: np.ndarray, rng: np.random.Generator, physics: Physics, bits: int) -> np.ndarray:
    """Turns optical depths of the sub-rays into grey levels `[H, W]` uint8 or uint16.

    Transmission exp(-optical depth) (Beer-Lambert) is averaged over a pixel's sub-rays *after* the exponential, blurred
    by the focal spot, joined by scatter, counted in photons (Poisson), spread by the scintillator, read and rounded.
    """

    def draw(name):
        return rng.uniform(*getattr(physics, name))

    height, width = (n // SUPERSAMPLE for n in optical_depth.shape)
    transmission = np.exp(-optical_depth).reshape(height, SUPERSAMPLE, width, SUPERSAMPLE).mean((1, 3))
    v, u = np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij")
    angle, bowl = rng.uniform(0, 2 * np.pi), rng.uniform(0, 0.5)
    beam = 1 + draw("vignette") * ((u * np.cos(angle) + v * np.sin(angle)) / 2 - bowl * (u * u + v * v) / 2)
    primary = ndimage.gaussian_filter(beam * transmission, draw("source_blur"), mode="nearest")
    # Scatter has lost the object's detail: the mean of what passes, leaning towards the brighter side.
    lean = ndimage.gaussian_filter(primary, 0.12 * max(height, width), mode="nearest", truncate=2.0)
    scatter = draw("scatter")
    # The open beam stays near 1.
    signal = (primary + scatter * lean) / (1 + scatter)
    photons = draw("photons")
    counted = rng.poisson(photons * signal) / photons
    sharp, wide, glare = draw("detector_blur"), rng.uniform(3, 7), draw("glare")
    read = (1 - glare) * ndimage.gaussian_filter(counted, sharp, mode="nearest")
    read += glare * ndimage.gaussian_filter(counted, wide, mode="nearest", truncate=2.5)
    noise = rng.normal(0, 1, (height, width)) + rng.normal(0, 0.7, (height, 1))
    grey = draw("exposure") * read + draw("read_noise") * noise
    full_scale = 2**bits - 1
    return np.clip(np.rint(grey * full_scale), 0, full_scale).astype(np.uint8 if bits == 8 else np.uint16)
