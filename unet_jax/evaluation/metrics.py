"""Intersection over union (Jaccard 1901) and Dice (Dice 1945, Sørensen 1948), from counts of pixels.

Pixels are counted on the device; ratios are taken on the host in float64. Counts are sums of pixels per image and class. Two
sets of counts merge by adding (pooled) or stacking (per image), so no result depends on the batch size.

    IoU = TP / (TP + FP + FN)        Dice = 2 TP / (2 TP + FP + FN)

The names say what is averaged:

- `iou_pooled/<class>`: the IoU of the pixels of all images in one sum;
- `iou_image/<class>`: the IoU of each image, averaged over the images where the class is present;
- `.../mean`: the mean over the reported classes that are present;
- `pixel_accuracy`: the fraction of valid pixels where every channel is right (softmax: where the id is right).

A class is *present* in an image if truth or prediction has a pixel of it. The score of an absent class is NaN, not 0, and is
left out of means. A class that is predicted where the truth has none scores 0. Void pixels (`valid` false, or mask 255) are
not counted. One image of four pixels:

>>> true = np.array([[[0, 1], [1, 255]]])
>>> predicted = np.array([[[0, 1], [0, 1]]])
>>> masks = predicted[..., None] == np.arange(2).reshape(1, 1, 1, 2)
>>> summary = summarize(counts(masks, true, np.ones((1, 2, 2), bool)), ("background", "anode"))
>>> summary["iou_pooled/anode"], round(summary["pixel_accuracy"], 3)
(0.5, 0.667)
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from unet_jax.segmentation import VOID_ID, center_crop, resolve_report_classes, truth_masks

COUNTS = ("tp", "fp", "fn", "correct", "total")


def counts(masks: Any, mask: Any, valid: Any) -> dict[str, Any]:
    """Counts the pixels of each image and class, with JAX or with NumPy, as the arrays are.

    Args:
      masks: the prediction, bool `[B, h, w, K]`.
      mask: the truth, ids `[B, H, W]` or 0/1 `[B, H, W, K]`; its middle h x w pixels are taken.
      valid: bool `[B, H, W]`, false for void and padding.

    Returns:
      int32 `tp`, `fp`, `fn` `[B, K]` and `correct`, `total` `[B]`.
    """
    size = (masks.shape[1], masks.shape[2])
    mask, valid = center_crop(mask, size), center_crop(valid, size)
    truth = truth_masks(mask, masks.shape[-1])
    void = mask == VOID_ID
    valid = valid & ~(void.any(-1) if mask.ndim == 4 else void)
    inside = valid[..., None]

    def total(pixels):
        return pixels.sum(axis=(1, 2), dtype=np.int32)

    return {
        "tp": total(masks & truth & inside),
        "fp": total(masks & ~truth & inside),
        "fn": total(~masks & truth & inside),
        "correct": total((masks == truth).all(-1) & valid),
        "total": total(valid),
    }


def ratios(count: Mapping[str, ArrayLike]) -> dict[str, np.ndarray]:
    """Computes `iou` = TP / (TP + FP + FN) and `dice` = 2 TP / (2 TP + FP + FN), float64; NaN where the class is absent.

    >>> ratios({"tp": [6, 0], "fp": [2, 0], "fn": [2, 0]})
    {'iou': array([0.6, nan]), 'dice': array([0.75,  nan])}

    Args:
      count: `tp`, `fp` and `fn`, arrays of one shape.
    """
    tp, fp, fn = (np.asarray(count[k], np.float64) for k in ("tp", "fp", "fn"))
    present = tp + fp + fn > 0
    union = np.where(present, tp + fp + fn, np.nan)
    return {"iou": tp / union, "dice": 2 * tp / (tp + union)}


def accuracy(count: Mapping[str, ArrayLike]) -> np.ndarray:
    """Computes the pixel accuracy `correct` / `total`, float64; NaN where no pixel is valid."""
    total = np.asarray(count["total"], np.float64)
    return np.asarray(count["correct"], np.float64) / np.where(total > 0, total, np.nan)


def nanmean(values: ArrayLike, axis: int | None = None) -> np.ndarray:
    """Computes the mean of the values that are not NaN; NaN, without a warning, where all are NaN."""
    values = np.asarray(values, np.float64)
    known = ~np.isnan(values)
    num = known.sum(axis)
    return np.where(known, values, 0.0).sum(axis) / np.where(num > 0, num, np.nan)


def pool(count: Mapping[str, ArrayLike]) -> dict[str, np.ndarray]:
    """Adds the counts of all images in int64: `[N, K]` -> `[K]`, and `[N]` -> a scalar."""
    return {name: np.asarray(count[name], np.int64).sum(0) for name in COUNTS}


def _name(
    kind: str, values: Mapping[str, np.ndarray], class_names: Sequence[str], report_classes: Sequence[str]
) -> dict[str, float]:
    report_channels = [tuple(class_names).index(name) for name in resolve_report_classes(class_names, report_classes)]
    named: dict[str, float] = {}
    for metric, per_class in values.items():
        named |= {f"{metric}_{kind}/{c}": float(v) for c, v in zip(class_names, per_class, strict=True)}
        named[f"{metric}_{kind}/mean"] = float(nanmean(per_class[report_channels]))
    return named


def summarize_pooled(
    sums: Mapping[str, ArrayLike], class_names: Sequence[str], report_classes: Sequence[str] = ()
) -> dict[str, float]:
    """Computes the pooled metrics of counts that are added up, by their names.

    Args:
      sums: `tp`, `fp`, `fn` `[K]` and the scalars `correct`, `total`; see `pool`.
      class_names: the K classes.
      report_classes: the classes that `.../mean` is taken over; see `segmentation.resolve_report_classes`.

    Returns:
      `iou_pooled/...`, `dice_pooled/...` and `pixel_accuracy`.
    """
    named = _name("pooled", ratios(sums), class_names, report_classes)
    return named | {"pixel_accuracy": float(accuracy(sums))}


def summarize(
    count: Mapping[str, ArrayLike], class_names: Sequence[str], report_classes: Sequence[str] = ()
) -> dict[str, float]:
    """Computes all metrics of N images, by their names.

    Args:
      count: `tp`, `fp`, `fn` `[N, K]` and `correct`, `total` `[N]`; see `counts`.
      class_names: the K classes.
      report_classes: the classes that `.../mean` is taken over; see `segmentation.resolve_report_classes`.

    Returns:
      The results of `summarize_pooled`, and `iou_image/...`, `dice_image/...`.
    """
    per_image = {metric: nanmean(values, 0) for metric, values in ratios(count).items()}
    return summarize_pooled(pool(count), class_names, report_classes) | _name(
        "image", per_image, class_names, report_classes
    )
