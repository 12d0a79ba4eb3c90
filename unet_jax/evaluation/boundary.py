"""Boundary IoU, which a shift of the contour lowers, however large the object is.

Cheng, Girshick, Dollar, Berg, Kirillov: "Boundary IoU: Improving Object-Centric Image Segmentation Evaluation" (CVPR 2021).
G_d are the pixels within d of the contour of a true mask G, P_d those of the predicted mask P:

    boundary IoU = |(G_d ∩ G) ∩ (P_d ∩ P)| / |(G_d ∩ G) ∪ (P_d ∩ P)|

As in the authors' code, a pixel of a mask is within d if a pixel outside the mask is at most d rows and columns away. What
lies beyond the image is outside the mask. d is 2 % of the image's diagonal, at least 1 pixel. Void pixels are outside every
mask, too, so truth and prediction end alike where both run into them. They are not counted.

Counts are sums of pixels per image and class, as in `metrics`, whose `ratios` takes them. A square of 20 x 20 pixels that is
predicted one column too far right:

>>> from unet_jax.evaluation import metrics
>>> true = np.zeros((40, 40, 1), bool)
>>> true[10:30, 10:30] = True
>>> predicted = np.roll(true, 1, axis=1)
>>> d = distance(40, 40)
>>> boundaries = counts(inner_boundary(predicted, d), inner_boundary(true, d))
>>> whole = counts(predicted, true)
>>> d, metrics.ratios(boundaries)["iou"].round(2), metrics.ratios(whole)["iou"].round(2)
(1, array([0.33]), array([0.9]))
"""

import math

import cv2
import numpy as np

# As a fraction of the image's diagonal.
BOUNDARY_DISTANCE = 0.02


def distance(height: int, width: int, boundary_distance: float = BOUNDARY_DISTANCE) -> int:
    """Returns d in pixels for an image of this size: `boundary_distance` times the diagonal, rounded, at least 1.

    >>> distance(128, 128), distance(10, 10)
    (4, 1)
    """
    return max(1, round(boundary_distance * math.hypot(height, width)))


def inner_boundary(masks: np.ndarray, d: int) -> np.ndarray:
    """Returns the pixels of each mask that are within d of its contour: G_d ∩ G, bool `[H, W, K]`.

    Args:
      masks: bool `[H, W, K]`.
      d: in pixels; see `distance`.
    """
    kernel = np.ones((2 * d + 1, 2 * d + 1), np.uint8)
    inside = np.empty_like(masks, bool)
    for k in range(masks.shape[-1]):
        mask = np.ascontiguousarray(masks[..., k], dtype=np.uint8)
        inside[..., k] = cv2.erode(mask, kernel, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    return masks & ~inside


def counts(predicted: np.ndarray, true: np.ndarray) -> dict[str, np.ndarray]:
    """Counts the pixels of two boundaries, each the result of `inner_boundary`; returns `tp`, `fp`, `fn`, int64 `[K]`."""
    pixels = {"tp": predicted & true, "fp": predicted & ~true, "fn": true & ~predicted}
    return {name: where.sum((0, 1), dtype=np.int64) for name, where in pixels.items()}
