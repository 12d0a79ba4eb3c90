"""Computes the physics of the `electrodes` X-rays: bent plates, path lengths along the beam, and the detector.

Lengths are image pixels (px). Pixel centres lie at whole numbers; x runs right and y down. A stack is built with its ends to
the right; `render` mirrors half of them. Along the beam the depth z runs from -1/2 to 1/2. An attenuation is the optical
depth of a ray that stays inside the material over the whole depth.
"""

import dataclasses
import math

import numpy as np
from scipy import ndimage

from unet_jax.errors import UserError

# Sub-rays per pixel and axis. It is odd, so that the middle one runs through the centre of the pixel and decides the mask.
SUPERSAMPLE = 3


@dataclasses.dataclass(frozen=True)
class Physics:
    """Holds the options of the X-ray. A pair is a range from which each image draws a value, uniformly.

    Attributes:
      anode_thickness: thickness of an anode, px.
      cathode_thickness: thickness of a cathode, px.
      gap: distance between neighbouring plates, filled by separator and electrolyte, px.
      overhang: distance by which anodes end beyond the cathodes, px.
      ragged: standard deviation of the positions of the plates' ends, px.
      wave: standard deviation of the deflection of a free plate end, px.
      slope: rotation of the stack in the image, px per px.
      tilt: distance by which a plate rises from the near end of the beam to the far end, px.
      cone: additional tilt per px of distance from the central ray (cone beam), px.
      skew: distance by which the end of a plate recedes along the beam, px.
      anode_attenuation: optical depth of an anode (graphite on copper).
      cathode_excess: optical depth of a cathode (NMC on aluminium), as a multiple of the anode's.
      filling_attenuation: optical depth of the soaked separators between the plates.
      wall_attenuation: optical depth of the case wall.
      wall: probability of a case wall, for each of the three open sides.
      missing: probability that a plate is missing.
      folded: probability that a corner of a plate is folded over.
      source_blur: Gaussian sigma of the focal spot's penumbra, px.
      detector_blur: Gaussian sigma of the scintillator, px.
      exposure: open beam as a fraction of full scale; above 1 it saturates.
      vignette: fraction by which the open beam varies over the image.
      scatter: ratio of scattered to transmitted radiation.
      glare: fraction of the light that the scintillator spreads over about 5 px.
      photons: number of photons detected per pixel in the open beam.
      read_noise: standard deviation of the noise of pixels and lines, as a fraction of full scale.

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
                raise UserError(
                    f"electrodes: {field.name}={value} is not a range; give two numbers, (smallest, largest)"
                )
            if field.name not in signed and (value[0] < 0 or (value[0] == 0 and field.name in positive)):
                least = "above 0" if field.name in positive else "of at least 0"
                raise UserError(f"electrodes: {field.name}={value} is too small; give numbers {least}")


@dataclasses.dataclass
class Sheet:
    """Describes a bent sheet: `|y - centre(x) - tilt z| <= thickness / 2` and `x <= end + skew z` for z in `depth`.

    Attributes:
      kind: "anode", "cathode" or "separator".
      centre: y of the middle plane at z = 0, `[columns]`, on the columns of the sub-rays.
      thickness: thickness, px.
      end: x of the end at z = 0.
      tilt: rise of the sheet over the whole depth, px.
      skew: distance by which the end recedes over the whole depth, px.
      attenuation: optical depth over the whole depth.
      depth: first and last z.
    """

    kind: str
    centre: np.ndarray
    thickness: float
    end: float
    tilt: float
    skew: float
    attenuation: float
    depth: tuple[float, float] = (-0.5, 0.5)

    def tip(self, x: np.ndarray) -> tuple[float, float]:
        """Returns x and y of the middle of the end; `x` are the columns of the sub-rays."""
        z = sum(self.depth) / 2
        end = self.end + self.skew * z
        return end, float(np.interp(end, x, self.centre)) + self.tilt * z


def _nonzero(value: float) -> float:
    return math.copysign(max(abs(value), 1e-3), value)


def grid(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns y `[height * SUPERSAMPLE]` and x `[width * SUPERSAMPLE]` of the sub-rays, in px."""
    offset = (SUPERSAMPLE - 1) / 2
    y, x = ((np.arange(n * SUPERSAMPLE) - offset) / SUPERSAMPLE for n in (height, width))
    return y, x


def centres(of_rays: np.ndarray) -> np.ndarray:
    """Returns the values of the sub-rays through the centres of the pixels, `[H, W]`."""
    middle = SUPERSAMPLE // 2
    return of_rays[middle::SUPERSAMPLE, middle::SUPERSAMPLE]


def path_length(sheet: Sheet, y: np.ndarray, x: np.ndarray) -> tuple[slice, np.ndarray]:
    """Computes the fraction of the depth that the ray at (y, x) spends inside the sheet, in closed form.

    A ray is inside while three inequalities hold. They are linear in z, so its path is the intersection of three intervals.

    Args:
      sheet: the sheet.
      y: y of the sub-rays, see `grid`.
      x: x of the sub-rays, see `grid`.

    Returns:
      The rows that the sheet can reach, as a slice of y, and the fractions `[rows, columns]`.
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
    """Turns the optical depths of the sub-rays into grey levels.

    The transmission of a sub-ray is exp(-optical depth) (Beer-Lambert). It is averaged over the sub-rays of a pixel, after
    the exponential, and blurred by the focal spot. Scatter is added. The photons are counted (Poisson), their light is spread
    by the scintillator, and the result is read with noise and rounded.

    Args:
      optical_depth: `[H * SUPERSAMPLE, W * SUPERSAMPLE]`.
      rng: gives the random numbers.
      physics: the options of the X-ray.
      bits: bits per pixel, 8 or 16.

    Returns:
      Grey levels `[H, W]`, uint8 or uint16.
    """

    def draw(name):
        return rng.uniform(*getattr(physics, name))

    height, width = (n // SUPERSAMPLE for n in optical_depth.shape)
    transmission = np.exp(-optical_depth).reshape(height, SUPERSAMPLE, width, SUPERSAMPLE).mean((1, 3))
    v, u = np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij")
    angle, bowl = rng.uniform(0, 2 * np.pi), rng.uniform(0, 0.5)
    beam = 1 + draw("vignette") * ((u * np.cos(angle) + v * np.sin(angle)) / 2 - bowl * (u * u + v * v) / 2)
    primary = ndimage.gaussian_filter(beam * transmission, draw("source_blur"), mode="nearest")
    # Scatter keeps no detail of the object. It is the mean of the transmitted beam, higher towards the brighter side.
    lean = ndimage.gaussian_filter(primary, 0.12 * max(height, width), mode="nearest", truncate=2.0)
    scatter = draw("scatter")
    # The division keeps the open beam near 1.
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
