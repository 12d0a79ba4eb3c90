"""Boundary IoU (Cheng, Girshick, Dollar, Berg, Kirillov: "Boundary IoU: Improving Object-Centric Image Segmentation
Evaluation", CVPR 2021). A shift of the contour lowers it, however large the object is.

With G_d the pixels within d of the contour of a true mask G, P_d those of the predicted mask P:

    boundary IoU = |(G_d n G) n (P_d n P)| / |(G_d n G) u (P_d n P)|

As in the authors' code: a pixel of a mask is within d if a pixel outside the mask lies at most d rows and columns away; what
lies beyond the image is outside the mask; d is 2 % of the image's diagonal, at least 1 pixel. Here void pixels are outside
every mask, too, so truth and prediction end alike where both run into them; they are not counted.

Counts are sums of pixels per image and class, as in `metrics`, whose `ratios` takes them.
"""

import math

import cv2
import numpy as np

# In image diagonals.
BOUNDARY_DISTANCE = 0.02


def distance(height: int, width: int, boundary_distance: float = BOUNDARY_DISTANCE) -> int:
    """Returns d in pixels for an image of this size: `boundary_distance` times its diagonal, rounded, at least 1."""
    return max(1, round(boundary_distance * math.hypot(height, width)))


def inner_boundary(masks: np.ndarray, d: int) -> np.ndarray:
    """Returns G_d n G of each mask, bool `[H, W, K]`: its pixels within d of its contour."""
    kernel = np.ones((2 * d + 1, 2 * d + 1), np.uint8)
    inside = np.empty_like(masks, bool)
    for k in range(masks.shape[-1]):
        mask = np.ascontiguousarray(masks[..., k], dtype=np.uint8)
        inside[..., k] = cv2.erode(mask, kernel, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    return masks & ~inside


def counts(predicted: np.ndarray, true: np.ndarray) -> dict[str, np.ndarray]:
    """Returns `tp`, `fp`, `fn` int64 `[K]` of two boundaries bool `[H, W, K]`, each as of `inner_boundary`."""
    pixels = {"tp": predicted & true, "fp": predicted & ~true, "fn": true & ~predicted}
    return {name: where.sum((0, 1), dtype=np.int64) for name, where in pixels.items()}
