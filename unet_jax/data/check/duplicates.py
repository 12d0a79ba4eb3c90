"""Finds images that show the same object, by their thumbnails. In different splits they make scores too high.

A thumbnail is the grey image averaged into 64 × 64 cells, minus a blurred copy of itself, scaled to length 1. The product of
two thumbnails is their normalised cross-correlation: 1 for the same picture, about 0 for two different ones. Averaging
removes noise; scaling removes brightness and contrast. Subtracting the blurred copy removes what all images of one kind
share. Without this, X-rays of different cells of one type look like copies.

A copy is found if it was mirrored, turned by quarters, scaled, saved as JPEG, made noisier, or moved by a pixel or two.
Overlapping tiles and neighbouring slices of a stack are not found: give them the same group in index.csv.
"""

from collections.abc import Sequence

import cv2
import numpy as np

from unet_jax.data.nan_pixels import unknown_pixels

# Cells of a thumbnail along each side.
SIDE = 64
# Standard deviation of the Gaussian blur, in cells.
BLUR = 4.0
# Smallest correlation of two images that look alike. Different X-rays of one product line have less, two frames of one film
# more.
ALIKE = 0.83
# Largest number of pairs that are kept: the frames of one video would make millions.
MOST = 1000
# Thumbnails that are compared at the same time; this makes 4 MiB of products.
BLOCK = 1024


def thumbnail(image: np.ndarray) -> np.ndarray:
    """Returns the thumbnail of an image `[H, W, C]`, float32 `[SIDE, SIDE]`; all 0 if the image is constant."""
    # Faster than `mean` over the last axis.
    grey = image[..., 0].astype(np.float32)
    for channel in range(1, image.shape[-1]):
        grey += image[..., channel]
    grey /= image.shape[-1]
    if unknown_pixels(image) is not None:
        known = np.isfinite(grey)
        grey = np.where(known, grey, grey[known].mean() if known.any() else np.float32(0))
    small: np.ndarray = cv2.resize(grey, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    small -= cv2.GaussianBlur(small, (0, 0), BLUR)
    small -= small.mean()
    length = np.linalg.norm(small)
    return small / length if length > 1e-6 * max(np.abs(grey).max(), 1) * SIDE else np.zeros_like(small)


def find_duplicates(thumbnails: np.ndarray, splits: Sequence[str]) -> tuple[list[tuple[int, int, float]], int]:
    """Finds pairs of images in different splits whose thumbnails correlate by `ALIKE` or more.

    All eight mirrored and turned views of a thumbnail are tried. The time is that of a matrix product and grows with the
    square of the number of images: a few thousand images take seconds.

    Args:
      thumbnails: `[N, SIDE, SIDE]`, see `thumbnail`.
      splits: the split of each image.

    Returns:
      The `MOST` most similar pairs as (i, j, correlation), the most similar first; and the number of all such pairs.
    """
    split_of = np.asarray(splits)
    names = sorted(set(splits))
    pairs: list[tuple[int, int, float]] = []
    number = 0
    for place, first in enumerate(names):
        left = np.flatnonzero(split_of == first)
        right = np.flatnonzero(np.isin(split_of, names[place + 1 :]))
        for a in (left[i : i + BLOCK] for i in range(0, len(left), BLOCK)):
            for b in (right[i : i + BLOCK] for i in range(0, len(right), BLOCK)):
                alike = _most_alike(thumbnails[a], thumbnails[b])
                rows, columns = np.nonzero(alike >= ALIKE)
                number += len(rows)
                best = np.argsort(-alike[rows, columns], kind="stable")[:MOST]
                rows, columns = rows[best], columns[best]
                candidates = zip(a[rows].tolist(), b[columns].tolist(), alike[rows, columns].tolist(), strict=True)
                pairs = sorted([*pairs, *candidates], key=lambda pair: (-pair[2], *pair[:2]))[:MOST]
    return pairs, number


def _most_alike(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Returns the largest correlation of each of `a` with each of `b`, over mirroring and quarter turns."""
    flat, alike = b.reshape(len(b), -1).T, np.full((len(a), len(b)), -1, np.float32)
    for turns in range(4):
        turned = np.rot90(a, turns, (1, 2))
        for view in (turned, turned[:, :, ::-1]):
            np.maximum(alike, view.reshape(len(a), -1) @ flat, out=alike)
    return alike
