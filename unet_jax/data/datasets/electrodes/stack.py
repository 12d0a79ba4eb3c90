"""Draws the geometry of one synthetic X-ray: the plates with their places, bends and ends, and what lies around them."""

import dataclasses

import numpy as np

from unet_jax.data.datasets.electrodes.physics import Physics, Sheet


@dataclasses.dataclass
class Plate:
    """Describes one electrode.

    Attributes:
      slot: place in the stack from the top; missing plates count.
      sheets: one sheet, or two side by side along the beam if a corner is folded over. The first has the end that is
        measured.
      end: (x, y) of the middle of its end, px.
    """

    slot: int
    sheets: list[Sheet]
    end: tuple[float, float]

    @property
    def kind(self) -> str:
        """Returns "anode" or "cathode"."""
        return self.sheets[0].kind


def overhang(plate: Plate, plates: list[Plate]) -> float | None:
    """Returns the overhang: the distance in px by which an anode ends beyond its neighbouring cathodes.

    The cathode that reaches farther counts. The result is negative if the anode ends before it. It is None for a cathode,
    and for an anode without a neighbouring cathode.

    Args:
      plate: the plate.
      plates: all plates of the stack.
    """
    ends = [p.end[0] for p in plates if p.kind == "cathode" and abs(p.slot - plate.slot) == 1]
    return plate.end[0] - max(ends) if plate.kind == "anode" and ends else None


def build(
    rng: np.random.Generator, physics: Physics, y: np.ndarray, x: np.ndarray
) -> tuple[list[Plate], list[Sheet], np.ndarray]:
    """Draws a stack.

    Args:
      rng: gives the random numbers.
      physics: the options of the X-ray.
      y: y of the sub-rays, see `physics.grid`.
      x: x of the sub-rays, see `physics.grid`.

    Returns:
      The plates from top to bottom, the separators, and the optical depth `[y, x]` of filling and case walls.
    """

    def draw(name):
        return rng.uniform(*getattr(physics, name))

    height, width = y[-1] - y[0], x[-1] - x[0]
    thickness = {"anode": draw("anode_thickness"), "cathode": draw("cathode_thickness")}
    attenuation = {"anode": draw("anode_attenuation")}
    attenuation["cathode"] = attenuation["anode"] * draw("cathode_excess")
    step = sum(thickness.values()) / 2 + draw("gap")
    reach = min(draw("overhang"), 0.45 * width)
    # x where the cathodes end.
    front = rng.uniform(0.25, 0.9 - reach / width) * width
    ends = {"cathode": front, "anode": front + reach}
    # Slope of the line through the ends, px per px.
    lean = rng.normal(0, 0.04)
    ragged, wave, skew = draw("ragged"), draw("wave"), draw("skew") * rng.choice((-1, 1))
    tilt, cone, axis = draw("tilt"), draw("cone"), rng.uniform(0.3, 0.7) * height
    # The whole stack bends. In addition, each plate has a deflection that grows from its clamped root to its free end.
    along = (x - front) / width
    shared = draw("slope") * (x - width / 2) + rng.normal(0, 4) * along**2 + rng.normal(0, 0.4) * np.sin(7 * along)
    free = np.clip((x - front + 6) / (reach + 6), 0, 1.6) ** 2
    top, bottom = rng.uniform(-0.3, 0.2) * height, rng.uniform(0.8, 1.3) * height
    first, drift, middle, plates, separators = int(rng.integers(2)), 0.0, top, [], []
    for slot in range(max(3, round((bottom - top) / step))):
        kind = ("anode", "cathode")[(slot + first) % 2]
        missing = rng.random() < physics.missing
        # If a plate is missing, its neighbours move closer together.
        middle += step * rng.uniform(0.2, 0.5) if missing else step + rng.normal(0, 0.4)
        # Neighbouring plates tend to bend in the same direction.
        drift = 0.6 * drift + rng.normal(0, wave)
        # The tilt is kept below the thickness, so that some rays stay inside the plate over the whole depth.
        limit = 0.8 * thickness[kind]
        sheet = Sheet(
            kind=kind,
            centre=middle + shared + free * drift * (kind == "anode"),
            thickness=thickness[kind] * rng.uniform(0.94, 1.06),
            end=ends[kind] + lean * (middle - height / 2) + rng.normal(0, ragged),
            tilt=float(np.clip(tilt + cone * (middle - axis) + rng.normal(0, 0.4), -limit, limit)),
            skew=skew * rng.uniform(0.5, 1.5),
            attenuation=attenuation[kind] * rng.uniform(0.95, 1.05),
        )
        sheets = _fold(rng, sheet, x, step) if rng.random() < physics.folded else [sheet]
        if not missing:
            plates.append(Plate(slot, sheets, sheets[0].tip(x)))
        sag = np.clip(along * width / reach, 0, 3) ** 2 * rng.normal(0, 1.5)
        beyond, faint = ends["anode"] + rng.uniform(2, 30), rng.uniform(0.01, 0.08)
        separators.append(
            Sheet("separator", middle + step / 2 + shared + sag, 1.2, beyond, rng.normal(0, 1), 6.0, faint)
        )
    deepening, soft = rng.uniform(0, 0.6) * np.clip(-along, 0, None), rng.uniform(6, 30)
    filled = _filling(y, x, top + step + shared, middle + shared, front + lean * (y - height / 2), soft)
    around = draw("filling_attenuation") * (1 + deepening) * filled
    around += _walls(rng, physics, y, x, (top, middle + step, ends["anode"]))
    return plates, separators, around


def _fold(rng: np.random.Generator, sheet: Sheet, x: np.ndarray, step: float) -> list[Sheet]:
    """Splits a sheet along the beam; the smaller part curls up or down near its end, so it ends earlier."""
    split, length = rng.uniform(0.0, 0.2), rng.uniform(10, 25)
    curl = rng.choice((-1, 1)) * rng.uniform(0.5, 1.2) * step
    bent = sheet.centre + curl * np.clip((x - sheet.end) / length + 1, 0, 1.2) ** 2
    return [
        dataclasses.replace(sheet, depth=(-0.5, split)),
        dataclasses.replace(sheet, depth=(split, 0.5), centre=bent, end=sheet.end - 0.3 * abs(curl)),
    ]


def _ramp(distance: np.ndarray, width: float) -> np.ndarray:
    """Returns a ramp from 0 to 1 over `width` px around distance 0: the covered fraction of the depth at a skewed edge."""
    return np.clip(distance / width + 0.5, 0.0, 1.0)


def _filling(y, x, top, bottom, front, soft) -> np.ndarray:
    """Returns the fraction of the depth that soaked separators fill, between the outer plates and up to the cathodes' ends."""
    inside = np.minimum(_ramp(y[:, None] - top, 3.0), _ramp(bottom - y[:, None], 3.0))
    return inside * _ramp(front[:, None] - x, soft)


def _walls(rng: np.random.Generator, physics: Physics, y, x, clear: tuple[float, float, float]) -> np.ndarray:
    """Returns the optical depth of the case walls above, below and in front of the ends, outside `clear`; each is there by chance."""
    depth = np.zeros((y.size, x.size))
    across, along = y[:, None], x[None, :]
    for outward in (clear[0] - across, across - clear[1], along - clear[2]):
        near, thick, soft = rng.uniform(2, 14), rng.uniform(5, 25), rng.uniform(2, 10)
        attenuation, tilt = rng.uniform(*physics.wall_attenuation), rng.normal(0, 0.02)
        if rng.random() < physics.wall:
            outward = outward - near + tilt * (along + across)
            depth = np.maximum(depth, attenuation * np.minimum(_ramp(outward, soft), _ramp(thick - outward, soft)))
    return depth
