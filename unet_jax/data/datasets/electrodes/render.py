"""Renders one synthetic X-ray with its ground truth: masks, instances, and the plates with their overhang."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from unet_jax.checks import is_whole
from unet_jax.data.datasets.electrodes import physics as xray
from unet_jax.data.datasets.electrodes import stack
from unet_jax.errors import UserError

CLASS_NAMES = ("background", "anode", "cathode")
# Pixels; in a smaller image there is no room for a stack.
SMALLEST = 32


def render(
    seed: int,
    index: int,
    *,
    size: tuple[int, int] = (128, 128),
    bits: int = 8,
    physics: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Renders one X-ray and its ground truth, a pure function of the arguments.

    Args:
      seed: selects the image together with `index`; not negative.
      index: not negative.
      size: height and width in px. Plates keep their thickness: a larger image shows more of them.
      bits: 8 or 16 per pixel.
      physics: fields of `physics.Physics` to change.

    Returns:
      image uint8 or uint16 `[H, W, 1]`, brighter where more passes; mask uint8 `[H, W]`; overlapping uint8 `[H, W, 3]`
      0/1, channel 0 where no plate is; instances uint16 `[H, W]`, 0 or a plate's number; plates, a list of dicts from
      top to bottom for every plate that has a pixel in the image:
        instance: its number, from 1; kind: "anode" or "cathode";
        end_position: [x, y] in px of the middle of its end, pixel centres at whole numbers, perhaps outside the image;
        overhang: px by which an anode ends beyond the farther reaching of the cathodes next to it, negative where it
          falls short, null for cathodes and where no cathode is next to it;
        folded: whether a corner is folded over; overlaps: whether it shares a pixel with another plate.

    Raises:
      UserError: an argument is outside its domain.
    """
    check_settings(seed=seed, index=index, size=size, bits=bits)
    model = to_physics(physics)
    height, width = size
    rng = np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, index])))
    mirrored = bool(rng.integers(2))
    y, x = xray.grid(height, width)
    plates, separators, optical_depth = stack.build(rng, model, y, x)
    for sheet in separators:
        rows, share = xray.path_length(sheet, y, x)
        optical_depth[rows] += sheet.attenuation * share
    covered = np.zeros((len(plates), height, width), bool)
    for cover, plate in zip(covered, plates, strict=True):
        for sheet in plate.sheets:
            rows, share = xray.path_length(sheet, y, x)
            optical_depth[rows] += sheet.attenuation * share
            inside = np.zeros((y.size, x.size), bool)
            inside[rows] = share >= (sheet.depth[1] - sheet.depth[0]) / 2
            cover |= xray.centres(inside)
    image = xray.detect(optical_depth, rng, model, bits)
    if mirrored:
        image, covered = image[:, ::-1], covered[:, :, ::-1]
    return {"image": np.ascontiguousarray(image[..., None])} | _truth(plates, covered, mirrored)


def _truth(plates: list[stack.Plate], covered: np.ndarray, mirrored: bool) -> dict[str, Any]:
    """Returns masks, instances and metadata from the pixels `[plates, H, W]` that each plate covers."""
    _, height, width = covered.shape
    overlapping = np.zeros((height, width, len(CLASS_NAMES)), np.uint8)
    instances = np.zeros((height, width), np.uint16)
    seen = [n for n in range(len(plates)) if covered[n].any()]
    anodes_first = sorted(enumerate(seen, 1), key=lambda item: plates[item[1]].kind)
    # The later plate lies over the earlier.
    for number, n in anodes_first:
        overlapping[covered[n], CLASS_NAMES.index(plates[n].kind)] = 1
        instances[covered[n]] = number
    overlapping[..., 0] = ~covered.any(0)
    mask = np.where(overlapping[..., 2], 2, overlapping[..., 1]).astype(np.uint8)
    shared = covered.sum(0) > 1
    rows = []
    for number, n in enumerate(seen, 1):
        end, overhang = plates[n].end, stack.overhang(plates[n], plates)
        rows.append(
            {
                "instance": number,
                "kind": plates[n].kind,
                "end_position": [float(width - 1 - end[0] if mirrored else end[0]), float(end[1])],
                "overhang": None if overhang is None else float(overhang),
                "folded": len(plates[n].sheets) > 1,
                "overlaps": bool((covered[n] & shared).any()),
            }
        )
    return {"mask": mask, "overlapping": overlapping, "instances": instances, "plates": rows}


def check_settings(*, size, bits, **counts) -> None:
    """Raises `UserError` unless `size`, `bits` and each of `counts` are inside their domains."""
    for name, value in counts.items():
        if not is_whole(value) or value < 0:
            raise UserError(f"electrodes: {name}={value!r} is not a count; give a whole number, 0 or more")
    if len(size) != 2 or not all(is_whole(n) and n >= SMALLEST for n in size):
        raise UserError(f"electrodes: size={size!r} is no image size; give (height, width) of {SMALLEST} px or more")
    if bits not in (8, 16):
        raise UserError(f"electrodes: bits={bits!r} is not offered; give 8 or 16")


def to_physics(physics: Mapping[str, Any] | None) -> xray.Physics:
    """Returns the `Physics` with these fields changed; raises `UserError` on an unknown field or a bad value."""
    known = xray.Physics.__dataclass_fields__
    for name in physics or {}:
        if name not in known:
            raise UserError(f"electrodes: physics has no {name!r}; it has: {', '.join(known)}")
    return xray.Physics(**(physics or {}))
