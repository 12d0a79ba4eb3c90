"""Intersection over union and Dice: pixels are counted on the device, ratios are taken on the host in float64.

Counts are sums of pixels per image and class. Two sets of counts merge by adding (pooled) or stacking (per image), so no
result depends on the batch size. The names say what is averaged:

- `iou_pooled/<class>`: TP / (TP + FP + FN) with the pixels of all images in one sum;
- `iou_image/<class>`: the same per image, averaged over the images where the class is present;
- `.../mean`: the mean over the reported classes, those present;
- `pixel_accuracy`: the fraction of valid pixels where every channel is right (softmax: where the id is right).

A class is *present* in an image if truth or prediction has a pixel of it. The score of an absent class is NaN, not 0, and is
left out of means; a class that is predicted where there is none scores 0. Void pixels (`valid` false, or mask 255) count nowhere.
"""

from collections.abc import Mapping, Sequence

import jax.numpy as jnp
import numpy as np

from unet_jax.segmentation import VOID_ID, center_crop, resolve_report_classes, truth_masks

COUNTS = ("tp", "fp", "fn", "correct", "total")


def counts(masks, mask, valid) -> dict:
    """Counts the pixels of each image and class.

    Args:
      masks: predicted, bool `[B, h, w, K]`.
      mask: true, ids `[B, H, W]` or 0/1 `[B, H, W, K]`; the middle h x w of it is taken.
      valid: bool `[B, H, W]`, false for void and padding.

    Returns:
      int32 `tp`, `fp`, `fn` `[B, K]` and `correct`, `total` `[B]`.
    """
    mask, valid = center_crop(mask, masks.shape[1:3]), center_crop(valid, masks.shape[1:3])
    truth = truth_masks(mask, masks.shape[-1])
    void = mask == VOID_ID
    valid = valid & ~(void.any(-1) if mask.ndim == 4 else void)
    inside = valid[..., None]

    def total(pixels):
        return jnp.sum(pixels, axis=(1, 2), dtype=jnp.int32)

    return {
        "tp": total(masks & truth & inside),
        "fp": total(masks & ~truth & inside),
        "fn": total(~masks & truth & inside),
        "correct": total((masks == truth).all(-1) & valid),
        "total": total(valid),
    }


def ratios(count: Mapping) -> dict[str, np.ndarray]:
    """Returns `iou` = TP / (TP + FP + FN) and `dice` = 2 TP / (2 TP + FP + FN), float64, NaN where the class is absent."""
    tp, fp, fn = (np.asarray(count[k], np.float64) for k in ("tp", "fp", "fn"))
    present = tp + fp + fn > 0
    union = np.where(present, tp + fp + fn, np.nan)
    return {"iou": tp / union, "dice": 2 * tp / (tp + union)}


def accuracy(count: Mapping) -> np.ndarray:
    """Returns the pixel accuracy, float64, NaN where no pixel is valid."""
    total = np.asarray(count["total"], np.float64)
    return np.asarray(count["correct"], np.float64) / np.where(total > 0, total, np.nan)


def nanmean(values, axis=None):
    """Returns the mean of the values that are not NaN; NaN, without a warning, where none is left."""
    values = np.asarray(values, np.float64)
    known = ~np.isnan(values)
    num = known.sum(axis)
    return np.where(known, values, 0.0).sum(axis) / np.where(num > 0, num, np.nan)


def pool(count: Mapping) -> dict[str, np.ndarray]:
    """Adds the counts of all images: [N, K] -> [K] and [N] -> scalar, in int64."""
    return {name: np.asarray(count[name], np.int64).sum(0) for name in COUNTS}


def _name(
    kind: str, values: Mapping[str, np.ndarray], class_names: Sequence[str], report_classes: Sequence[str]
) -> dict:
    report_channels = [tuple(class_names).index(name) for name in resolve_report_classes(class_names, report_classes)]
    named = {}
    for metric, per_class in values.items():
        named |= {f"{metric}_{kind}/{c}": float(v) for c, v in zip(class_names, per_class, strict=True)}
        named[f"{metric}_{kind}/mean"] = float(nanmean(per_class[report_channels]))
    return named


def summarize_pooled(sums: Mapping, class_names: Sequence[str], report_classes: Sequence[str] = ()) -> dict[str, float]:
    """Names the pooled metrics of counts already added up: `tp`, `fp`, `fn` [K] and `correct`, `total` scalars."""
    named = _name("pooled", ratios(sums), class_names, report_classes)
    return named | {"pixel_accuracy": float(accuracy(sums))}


def summarize(count: Mapping, class_names: Sequence[str], report_classes: Sequence[str] = ()) -> dict[str, float]:
    """Names all metrics of the counts of N images: `tp`, `fp`, `fn` [N, K] and `correct`, `total` [N]."""
    per_image = {metric: nanmean(values, 0) for metric, values in ratios(count).items()}
    return summarize_pooled(pool(count), class_names, report_classes) | _name(
        "image", per_image, class_names, report_classes
    )
