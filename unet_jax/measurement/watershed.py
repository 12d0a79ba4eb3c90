"""Splits objects that touch by a watershed: on the distance to their borders, or on the network's probability."""

import numpy as np
import scipy.ndimage
import skimage.measure
import skimage.morphology
import skimage.segmentation

from unet_jax.errors import UserError
from unet_jax.measurement.components import Labels
from unet_jax.runtime.memory import to_text

# What an image is split on. The depth that parts two objects, where the user gives none: in pixels, and as a probability. Of the
# depths from 0.5 to 3 pixels, 0.75 splits true masks of dsb2018's train split best (F1 at an IoU of 0.5).
DEPTHS = {"distance": 0.75, "probability": 0.1}
# What a watershed takes at its largest for each pixel of the image, measured.
PIXEL_BYTES = 100


def distance_map(mask: np.ndarray) -> np.ndarray:
    """Returns the distance of each pixel of a mask to the next pixel outside of it, in pixels.

    Beyond the border of the image nothing is known, so it is no border of the mask.

    >>> distance_map(np.array([[False, True, True]])).tolist()
    [[0.0, 1.0, 2.0]]

    Args:
      mask: bool `[H, W]`.

    Returns:
      float32 `[H, W]`; 1 everywhere if the mask is the whole image.
    """
    if mask.all():
        return np.ones(mask.shape, np.float32)
    return scipy.ndimage.distance_transform_edt(mask).astype(np.float32)


def split(mask: np.ndarray, heights: np.ndarray, depth: float, connectivity: int) -> Labels:
    """Splits the connected components of a mask where its heights have a saddle.

    Two tops are two objects if the saddle between them lies more than `depth` below the lower top: the tops are the h-maxima of
    Soille, "Morphological Image Analysis" (2nd ed. 2004, section 6.3.4). A component with one top stays whole. No pixel of the
    mask is lost.

    >>> heights = np.array([[1, 3, 1, 3, 2.5, 3]])
    >>> split(heights > 0, heights, 1.0, 1).read(0, 1).tolist()
    [[1, 1, 1, 2, 2, 2]]

    Args:
      mask: bool `[H, W]`.
      heights: `[H, W]`, high in the middle of an object.
      depth: in the unit of the heights, above 0.
      connectivity: 1 or 2; see `components.ComponentLabeller`.
    """
    if not mask.any():
        return Labels.of(mask)
    # Lower than any pixel of the mask, and around the image, too: so each component has a top of its own.
    low = heights[mask].min() - 1
    inside = np.pad(np.where(mask, heights, low), 1, constant_values=low)
    tops = skimage.morphology.local_maxima(inside, connectivity=connectivity)[1:-1, 1:-1] & mask
    seeds = skimage.measure.label(tops, connectivity=connectivity)
    inside = inside[1:-1, 1:-1]
    basins = skimage.segmentation.watershed(-inside, seeds, connectivity=connectivity, mask=mask)
    return Labels.of(_merged(basins, inside, depth, connectivity)[basins])


def _merged(basins: np.ndarray, heights: np.ndarray, depth: float, connectivity: int) -> np.ndarray:
    """Returns for each basin of a watershed, by its number, the number of the basin that it is a part of.

    From the highest saddle to the lowest, two basins become one unless the saddle lies more than `depth` below the lower top.
    """
    pairs, saddles = _saddles(basins, heights, connectivity)
    count = int(basins.max()) + 1
    tops = np.full(count, -np.inf)
    np.maximum.at(tops, basins.ravel(), heights.ravel().astype(np.float64))
    parent, top = list(range(count)), tops.tolist()

    def root(basin: int) -> int:
        while parent[basin] != basin:
            parent[basin] = parent[parent[basin]]
            basin = parent[basin]
        return basin

    for index in np.argsort(-saddles, kind="stable"):
        high, lower = map(root, pairs[index].tolist())
        if top[high] < top[lower]:
            high, lower = lower, high
        if top[lower] - saddles[index] <= depth:
            parent[lower] = high
    return np.array([root(basin) for basin in range(count)])


def _saddles(basins: np.ndarray, heights: np.ndarray, connectivity: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the pairs of basins that touch, `[n, 2]`, and the height of the highest pass between the two, float64 `[n]`."""
    pairs, passes = [], []
    for down, right in ((0, 1), (1, 0), (1, 1), (1, -1))[: 2 * connectivity]:
        one = (slice(None, -down or None), slice(max(-right, 0), -max(right, 0) or None))
        other = (slice(down, None), slice(max(right, 0), min(right, 0) or None))
        first, second = basins[one], basins[other]
        touching = (first != second) & (first > 0) & (second > 0)
        pairs.append(np.sort(np.stack([first[touching], second[touching]], -1), axis=-1))
        passes.append(np.minimum(heights[one], heights[other])[touching])
    unique, inverse = np.unique(np.concatenate(pairs), axis=0, return_inverse=True)
    saddles = np.full(len(unique), -np.inf)
    np.maximum.at(saddles, inverse.ravel(), np.concatenate(passes).astype(np.float64))
    return unique, saddles


def check_memory(height: int, width: int, num_maps: int, budget: float) -> None:
    """Checks that an image can be split within the memory.

    Args:
      height: of the image.
      width: of the image.
      num_maps: the number of maps of probabilities, float32, that are kept as well.
      budget: the bytes that it may take.

    Raises:
      UserError: it takes more.
    """
    needed = height * width * (PIXEL_BYTES + 4 * num_maps)
    if needed > budget:
        raise UserError(
            f"--split: an image of {width} x {height} pixels is split as a whole, which takes about "
            f"{to_text(needed, up=True)}, more than --memory={to_text(budget)}; give more --memory, smaller images, or leave "
            "--split out"
        )
