"""Cuts windows out of examples. Image, mask, validity and weight map stay aligned, and are mirrored beyond the image."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from unet_jax.data.normalization import Stats, normalize
from unet_jax.data.padding import mirrored_window
from unet_jax.data.store.weight_map import UNIT
from unet_jax.errors import UserError
from unet_jax.segmentation import VOID_ID


def cut_window(
    example: Mapping[str, Any],
    start: Sequence[int],
    size: Sequence[int],
    mode: str,
    stats: Stats,
) -> dict[str, np.ndarray]:
    """Returns image, mask and valid of one window. Outside the image, ids are void and overlapping masks are 0.

    Args:
      example: `image` uint8, uint16 or float32 `[H, W, C]` and `mask` `[H, W]` or `[H, W, K]`.
      start: (y, x) of the window's first pixel, which may lie outside the image.
      size: (height, width) of the window.
      mode: see `normalization.normalize`.
      stats: the `normalization.statistics` of the whole image.

    Returns:
      image float32 `[h, w, C]`, mask int32 `[h, w]` or `[h, w, K]`, valid bool `[h, w]`.
    """
    image, mask = example["image"], example["mask"]
    (y, x), (h, w), (rows, columns) = start, size, mask.shape[:2]
    valid = np.zeros((h, w), bool)
    valid[max(-y, 0) : max(rows - y, 0), max(-x, 0) : max(columns - x, 0)] = True
    window = mirrored_window(mask, start, size).astype(np.int32)
    if window.ndim == 2:
        window[~valid] = VOID_ID
        valid = window != VOID_ID
    else:
        window[~valid] = 0
    return {"image": normalize(mirrored_window(image, start, size), mode, stats), "mask": window, "valid": valid}


def cut_weight(example: Mapping[str, Any], start: Sequence[int], size: Sequence[int]) -> dict[str, np.ndarray]:
    """Returns the window of the weight map, or an empty dict if the example has no map.

    Args:
      example: may hold `weight`, uint16 `[H, W]` in units of 1 / `UNIT`.
      start: (y, x) of the window's first pixel, which may lie outside the image.
      size: (height, width) of the window.

    Returns:
      weight float32 `[h, w]`, 0 to 1, mirrored beyond the image.
    """
    if "weight" not in example:
        return {}
    return {"weight": mirrored_window(example["weight"], start, size).astype(np.float32) / UNIT}


def rows_per_process(batch_size: int, process_count: int) -> int:
    """Returns the number of rows of a batch that each process makes.

    Raises:
      UserError: the batch size is not a positive multiple of the number of processes.
    """
    if batch_size < 1 or batch_size % process_count:
        raise UserError(
            f"batch_size={batch_size} does not divide evenly over {process_count} processes; choose a positive multiple"
        )
    return batch_size // process_count
