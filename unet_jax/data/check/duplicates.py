"""Finds images that show the same thing by their thumbnails: on both sides of a split they make scores too good.

A thumbnail is the grey image averaged into 64 × 64 cells, minus a blurred copy, scaled to length 1. The product of two
thumbnails is their normalised cross-correlation: 1 for the same picture, about 0 for two different ones. Averaging removes
noise; scaling removes brightness and contrast. The blurred copy removes what all images of one kind share (without this,
X-rays of different cells of one type look like copies). A copy that was mirrored, turned by quarters, scaled, saved as
JPEG, made noisier or moved by a pixel or two is found. Overlapping tiles and neighbouring slices of a stack are not found:
give them one group in index.csv.
"""

from collections.abc import Sequence

import cv2
import numpy as np

# Cells of a thumbnail along each side.
SIDE = 64
# Standard deviation of the Gaussian, in cells.
BLUR = 4.0
# Correlation from which two images look alike: above different X-rays of one product line, below two frames of one film.
ALIKE = 0.83
# Pairs that are kept: the frames of one video make millions.
MOST = 1000
# Thumbnails that are compared at once: 4 MiB of products.
BLOCK = 1024


def thumbnail(image: np.ndarray) -> np.ndarray:
    """Returns the thumbnail float32 `[SIDE, SIDE]` of an image `[H, W, C]`; all 0 where the image is constant."""
    grey = image.mean(-1, dtype=np.float32)
    small = cv2.resize(grey, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    small -= cv2.GaussianBlur(small, (0, 0), BLUR)
    small -= small.mean()
    length = np.linalg.norm(small)
    return small / length if length > 1e-6 * max(np.abs(grey).max(), 1) * SIDE else np.zeros_like(small)


def find_duplicates(thumbnails: np.ndarray, splits: Sequence[str]) -> tuple[list[tuple[int, int, float]], int]:
    """Finds pairs of images in different splits whose thumbnails correlate by `ALIKE` or more.

    All eight ways to lay one thumbnail over the other are tried. The time is that of a matrix product, and grows with the
    square of the number of images: seconds for thousands.

    Args:
      thumbnails: `[N, SIDE, SIDE]`, see `thumbnail`.
      splits: the split of each image.

    Returns:
      The `MOST` most similar pairs as (i, j, correlation), the most similar first, and the number of all pairs.
    """
    splits = np.asarray(splits)
    names = sorted(set(splits))
    pairs, number = [], 0
    for place, first in enumerate(names):
        left = np.flatnonzero(splits == first)
        right = np.flatnonzero(np.isin(splits, names[place + 1 :]))
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
    """Returns the greatest correlation of each of `a` with each of `b`, over mirroring and quarter turns."""
    flat, alike = b.reshape(len(b), -1).T, np.full((len(a), len(b)), -1, np.float32)
    for turns in range(4):
        turned = np.rot90(a, turns, (1, 2))
        for view in (turned, turned[:, :, ::-1]):
            np.maximum(alike, view.reshape(len(a), -1) @ flat, out=alike)
    return alike
