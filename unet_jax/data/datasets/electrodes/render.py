"""Renders one synthetic X-ray and its ground truth: masks, instances, and the plates with their overhang."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from unet_jax.checks import is_whole
from unet_jax.data.datasets.electrodes import physics as xray
from unet_jax.data.datasets.electrodes import stack
from unet_jax.errors import UserError

CLASS_NAMES = ("background", "anode", "cathode")
# Smallest height and width in px: a smaller image has no room for a stack.
SMALLEST = 32


def render(
    seed: int,
    index: int,
    *,
    size: tuple[int, int] = (128, 128),
    bits: int = 8,
    physics: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Renders one X-ray and its ground truth, as a pure function of the arguments.

    Args:
      seed: seed; `seed` and `index` together select the image. At least 0.
      index: number of the image, at least 0.
      size: height and width in px. Plates keep their thickness, so a larger image shows more of them.
      bits: bits per pixel, 8 or 16.
      physics: fields of `physics.Physics` to change.

    Returns:
      A dict:

      - image: uint8 or uint16 `[H, W, 1]`; brighter means more transmission.
      - mask: class ids, uint8 `[H, W]`.
      - overlapping: 0/1 masks of all classes, uint8 `[H, W, 3]`; channel 0 is where no plate is.
      - instances: uint16 `[H, W]`, 0 or the number of a plate.
      - plates: a dict for every plate that has a pixel in the image, from top to bottom:

        - instance: number of the plate, from 1.
        - kind: "anode" or "cathode".
        - end_position: [x, y] of the middle of its end, in px; may lie outside the image. Pixel centres lie at whole
          numbers.
        - overhang: distance in px by which an anode ends beyond its neighbouring cathodes; the one that reaches farther
          counts. Negative if the anode ends before it; None for a cathode, and for an anode without a neighbouring cathode.
        - folded: True if a corner is folded over.
        - overlaps: True if the plate shares a pixel with another plate.

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
    # A later plate lies over an earlier one.
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


def check_settings(*, size: Sequence[int], bits: int, **counts: int) -> None:
    """Checks the options of a rendering.

    Args:
      size: (height, width) in px.
      bits: bits per pixel.
      **counts: other options, which are whole numbers of at least 0.

    Raises:
      UserError: a value is outside its domain.
    """
    for name, value in counts.items():
        if not is_whole(value) or value < 0:
            raise UserError(f"electrodes: {name}={value!r}: give a whole number of at least 0")
    if len(size) != 2 or not all(is_whole(n) and n >= SMALLEST for n in size):
        raise UserError(f"electrodes: size={size!r}: give (height, width) in pixels, at least {SMALLEST} each")
    if bits not in (8, 16):
        raise UserError(f"electrodes: bits={bits!r}: give 8 or 16")


def to_physics(physics: Mapping[str, Any] | None) -> xray.Physics:
    """Returns the default `Physics` with these fields changed.

    Raises:
      UserError: a field is unknown, or a value is outside its domain.
    """
    known = xray.Physics.__dataclass_fields__
    for name in physics or {}:
        if name not in known:
            raise UserError(f"electrodes: physics has no field {name!r}; choose one of {', '.join(known)}")
    return xray.Physics(**(physics or {}))
