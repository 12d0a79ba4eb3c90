"""Grey values to the numbers that a network sees, the same in training, evaluation and prediction."""

import numpy as np

from unet_jax.errors import UserError

NORMALIZATIONS = ("image", "range")


def statistics(image: np.ndarray, how: str = "image") -> tuple[np.float32, np.float32]:
    """(offset, divisor) of `normalize`, from the whole image."""
    if image.dtype not in (np.uint8, np.uint16):
        raise UserError(f"image is {image.dtype}; give 8- or 16-bit unsigned pixels (uint8 or uint16)")
    if how == "range":
        return np.float32(0), np.float32(np.iinfo(image.dtype).max)
    if how == "image":
        mean = image.mean(dtype=np.float64)
        std = np.sqrt(max(np.square(image, dtype=np.float64).mean() - mean**2, 0.0))
        return np.float32(mean), np.float32(std if std > 1e-6 else 1.0)  # a constant image becomes 0
    raise UserError(f"normalize={how!r} is unknown; use one of {', '.join(NORMALIZATIONS)}")


def normalize(image: np.ndarray, how: str = "image", of: tuple[np.float32, np.float32] | None = None) -> np.ndarray:
    """float32 `[H, W, C]` of a uint8 or uint16 image, for training, evaluation and inference alike.

    how: "image": zero mean, unit variance over all pixels and channels of the image; "range": divided by the dtype's
    maximum, 255 or 65535. of: the `statistics` of the whole image when `image` is a window of it.
    """
    offset, divisor = statistics(image, how) if of is None else of
    return (image.astype(np.float32) - offset) / divisor


def normalize_any(image: np.ndarray, how: str) -> np.ndarray:
    """`pipeline.normalize` for float images too: "image" as there, "range" as they are (0..1 already)."""
    if image.dtype in (np.uint8, np.uint16):
        return normalize(image, how)
    std = image.std(dtype=np.float64)
    of = (image.mean(dtype=np.float64), std if std > 0 else 1.0) if how == "image" else (0.0, 1.0)
    return normalize(image, how, tuple(map(np.float32, of)))
