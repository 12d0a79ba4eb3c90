"""Images that show the same thing, found by their thumbnails: on both sides of a split they make scores too good.

A thumbnail is the grey image averaged into 64 × 64 cells, less its blurred self and brought to length 1, so that the
product of two is their normalised cross-correlation: 1 for the same picture, about 0 for two of nothing in common.
Averaging takes noise away and the rest brightness and contrast; what is blurred away is what all images of one kind
share (without this, X-rays of different cells of one type look like copies). A copy that was mirrored, turned by
quarters, scaled, saved as JPEG, made noisier or moved by a pixel or two is found; two tiles that overlap, or neighbouring
slices of a stack, are not: those belong into one group of index.csv.
"""

from collections.abc import Sequence

import cv2
import numpy as np

SIDE = 64  # cells of a thumbnail along each side
BLUR = 4.0  # cells: standard deviation of the Gaussian
ALIKE = 0.83  # above different X-rays of one product line, below two frames of one film
MOST = 1000  # pairs kept: the frames of one video make millions
BLOCK = 1024  # thumbnails compared at once: 4 MiB of products


def thumbnail(image: np.ndarray) -> np.ndarray:
    """float32 `[SIDE, SIDE]` of an image `[H, W, C]`, of length 1; all 0 where the image is constant."""
    grey = image.mean(-1, dtype=np.float32)
    small = cv2.resize(grey, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    small -= cv2.GaussianBlur(small, (0, 0), BLUR)
    small -= small.mean()
    length = np.linalg.norm(small)
    return small / length if length > 1e-6 * max(np.abs(grey).max(), 1) * SIDE else np.zeros_like(small)


def find_duplicates(thumbnails: np.ndarray, splits: Sequence[str]) -> tuple[list[tuple[int, int, float]], int]:
    """Pairs (i, j, correlation) in different splits whose thumbnails correlate by `ALIKE` or more, and how many there are.

    The most alike come first, and no more than `MOST` are kept; the number is that of all.

    All eight ways to lay one thumbnail over the other are tried. The time is that of a matrix product, and grows with the
    square of the number of images: seconds for thousands.
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
                found = zip(a[rows].tolist(), b[columns].tolist(), alike[rows, columns].tolist(), strict=True)
                pairs = sorted([*pairs, *found], key=lambda pair: (-pair[2], *pair[:2]))[:MOST]
    return pairs, number


def _most_alike(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The greatest correlation of each of `a` with each of `b`, over mirroring and quarter turns."""
    flat, alike = b.reshape(len(b), -1).T, np.full((len(a), len(b)), -1, np.float32)
    for turns in range(4):
        turned = np.rot90(a, turns, (1, 2))
        for laid in (turned, turned[:, :, ::-1]):
            np.maximum(alike, laid.reshape(len(a), -1) @ flat, out=alike)
    return alike
