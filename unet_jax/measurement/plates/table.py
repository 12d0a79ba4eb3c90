"""Tables of plates: a row for each plate, and a row for each image with its verdict.

Lengths are in pixels, and in a unit, too, where the size of a pixel is known.
"""

import itertools
import math
from collections.abc import Mapping, Sequence

import numpy as np
from scipy import stats

from unet_jax.measurement.pixel_size import PixelSize
from unet_jax.measurement.plates.find import Plate
from unet_jax.measurement.plates.intervals import scale
from unet_jax.measurement.plates.overhangs import overhangs
from unet_jax.measurement.plates.roles import Roles
from unet_jax.measurement.tables import Row, unit_of

# The sides of a plate in the stack, on which it has a neighbour: -1 before, 1 after.
SIDES = {"previous": -1, "next": 1}
ENDS = ("", "_low", "_high")
# Columns that are lengths.
LENGTHS = (
    *("tip_x", "tip_y", "reach", "length", "length_outside", "thickness"),
    *(f"overhang_{side}{end}" for side in SIDES for end in ENDS),
)
FLAGS = ("tip_outside", "folded", "short", "missing_next")


def plate_rows(
    plates: Sequence[Plate], roles: Roles, *, pixel: PixelSize | None = None, factor: float = math.nan
) -> list[Row]:
    """Returns a row for each plate.

    Args:
      plates: in the order of the stack.
      roles: the classes.
      pixel: the size of a pixel, if it is known.
      factor: of the intervals, see `intervals`; NaN for none.
    """
    is_short, is_last = shorts(plates), missing_next(plates)
    rows: list[Row] = []
    for place, plate in enumerate(plates):
        x, y = plate.tip or (math.nan, math.nan)
        row: Row = {"plate": place + 1, "class": roles.plates[plate.kind], "tip_x": x, "tip_y": y}
        row |= {"reach": math.nan if plate.reach is None else plate.reach, "length": plate.length}
        if roles.stack:
            row["length_outside"] = plate.length_outside
        row |= {"thickness": plate.thickness, "area": plate.area, "angle": plate.angle}
        row |= dict(
            zip(FLAGS, (int(plate.tip is None), int(plate.folded), is_short[place], is_last[place]), strict=True)
        )
        rows.append(row)
    if roles.cathode:
        for row in rows:
            if row["class"] == roles.anode:
                row |= {f"overhang_{side}": math.nan for side in SIDES}
        for pair in overhangs(plates):
            side = "previous" if pair.cathode < pair.anode else "next"
            row, half = rows[pair.anode], factor * scale(plates[pair.anode].fall, plates[pair.cathode].fall)
            row[f"overhang_{side}"] = pair.distance
            if not math.isnan(factor):
                row |= {f"overhang_{side}_low": pair.distance - half, f"overhang_{side}_high": pair.distance + half}
    return [_in_units(row, pixel) for row in rows]


def _in_units(row: Row, pixel: PixelSize | None) -> Row:
    if pixel is None:
        return row
    extra: Row = {f"{name}_{pixel.unit}": float(row[name]) * pixel.size for name in LENGTHS if name in row}
    return {**row, **extra, f"area_{unit_of(2, pixel)}": float(row["area"]) * pixel.size**2}


def missing_next(plates: Sequence[Plate]) -> list[int]:
    """Returns 1 for a plate after which one is missing, as the next one is of the same kind, else 0.

    Where all plates are of one kind, one is missing if the next plate is at least 1.5 times as far as usual.
    """
    gaps = np.diff([plate.row for plate in plates])
    if len({plate.kind for plate in plates}) > 1:
        flags = [int(one.kind == other.kind) for one, other in itertools.pairwise(plates)]
    else:
        flags = [int(gap >= 1.5 * np.median(gaps)) for gap in gaps]
    return [*flags, 0][: len(plates)]


def shorts(plates: Sequence[Plate]) -> list[int]:
    """Returns 1 for a plate that ends before the others of its kind by more than the distance of neighbouring plates, else 0.

    The others' ends are taken from the line with the median slope through them (Theil and Sen).
    """
    flags = [0] * len(plates)
    if len(plates) < 2:
        return flags
    pitch = float(np.median(np.diff([plate.row for plate in plates])))
    for kind in {plate.kind for plate in plates}:
        ends = [
            (place, plate.row, plate.reach)
            for place, plate in enumerate(plates)
            if plate.kind == kind and plate.reach is not None
        ]
        if len(ends) < 3:
            continue
        places, rows, reaches = zip(*ends, strict=True)
        slope, reach, _, _ = stats.theilslopes(reaches, rows)
        for place, row, end in zip(places, rows, reaches, strict=True):
            flags[place] = int(reach + slope * row - end > pitch)
    return flags


def cell_row(rows: Sequence[Mapping[str, str]], roles: Roles, limit: float = math.nan, unit: str = "") -> Row:
    """Returns the row of an image: the numbers of plates, its overhangs, and the verdict.

    Args:
      rows: of its plates, as they are read from a table.
      roles: the classes.
      limit: the smallest overhang that is OK; NaN for no verdict.
      unit: of the limit; "" for pixels.
    """
    row: Row = {f"num_{name}": sum(each["class"] == name for each in rows) for name in roles.plates}
    for flag, name in zip(FLAGS, ("num_tips_outside", "num_folded", "num_short", "num_missing"), strict=True):
        row[name] = sum(int(each[flag]) for each in rows)
    measured: list[tuple[str, float, float, float]] = []
    # The last one is that of the limit.
    for suffix in dict.fromkeys(("", f"_{unit}" if unit else "")):
        measured = _overhangs(rows, roles, suffix)
        values = [value for _, value, _, _ in measured]
        row[f"overhang_min{suffix}"] = min(values, default=math.nan)
        row[f"overhang_mean{suffix}"] = float(np.mean(values)) if values else math.nan
    row["num_overhangs"] = len(measured)
    if math.isnan(limit):
        return row
    below = [f"{what}: {value:.4g} < {limit:g}" for what, value, _, _ in measured if value < limit]
    if not measured:
        below = ["no overhang could be measured"]
    near = sum(low < limit <= high for _, _, low, high in measured)
    return row | {"verdict": "NG" if below else "OK", "num_near_limit": near, "reason": "; ".join(below)}


def _overhangs(rows: Sequence[Mapping[str, str]], roles: Roles, suffix: str) -> list[tuple[str, float, float, float]]:
    """Returns what each overhang is of, its value, and its interval, which is NaN where there is none."""
    found = []
    for row in rows:
        if row["class"] != roles.anode:
            continue
        number = int(row["plate"])
        names = {f"overhang_{side}": f"plate {number} over {number + step}" for side, step in SIDES.items()}
        names = names if roles.cathode else {"length_outside": f"plate {number} over the stack"}
        for name, what in names.items():
            value, low, high = (_number(row.get(f"{name}{end}{suffix}", "")) for end in ENDS)
            if not math.isnan(value):
                found.append((what, value, low, high))
    return found


def _number(text: str) -> float:
    return float(text) if text else math.nan
