"""Made-up pairs of label images and of masks, the second of each like a prediction of the first."""

import numpy as np
from scipy import ndimage


def label_pairs(num, seed=0, size=24):
    """Yields `num` pairs of label images `[size, size]`: objects are moved, cut into halves, merged, lost and invented.

    Numbers have gaps. Objects of few pixels make IoUs that are exactly a threshold.
    """
    rng = np.random.default_rng(seed)
    for _ in range(num):
        true, predicted = np.zeros((2, size, size), np.int32)
        numbers = rng.permutation(np.arange(1, 60))
        for number in numbers[: rng.integers(1, 12)]:
            height, width = rng.integers(1, 9, 2)
            top, left = rng.integers(0, size - height + 1), rng.integers(0, size - width + 1)
            true[top : top + height, left : left + width] = number
        for number in np.unique(true)[1:]:
            pixels = true == number
            kind = rng.choice(["same", "moved", "halves", "eroded", "lost"], p=[0.25, 0.3, 0.2, 0.15, 0.1])
            if kind == "moved":
                pixels = np.roll(pixels, rng.integers(-1, 2, 2), (0, 1))
            if kind == "eroded":
                pixels &= rng.random(pixels.shape) < 0.8
            if kind != "lost":
                predicted[pixels] = number + 100
            if kind == "halves":
                places = np.argwhere(pixels)
                predicted[tuple(places[: len(places) // 2].T)] = number + 200
        if rng.random() < 0.3:
            predicted[:2, :3] = 999
        if rng.random() < 0.3 and predicted.any():
            # Two objects become one.
            first, *others = np.unique(predicted[predicted > 0])
            predicted[predicted == (others or [first])[0]] = first
        yield true, predicted


def mask_pairs(num, seed=0):
    """Yields `num` pairs of masks, bool `[H, W]`, neither of them empty: a blob, and the blob with another edge, moved."""
    rng = np.random.default_rng(seed)
    made = 0
    while made < num:
        height, width = rng.integers(5, 24, 2)
        field = ndimage.gaussian_filter(rng.standard_normal((height, width)), rng.uniform(0.5, 3))
        noise = ndimage.gaussian_filter(rng.standard_normal((height, width)), rng.uniform(0.5, 3))
        level = np.quantile(field, rng.uniform(0.05, 0.98))
        true = field > level
        predicted = np.roll(field + rng.choice([0, 0.1, 0.5]) * noise, rng.integers(-2, 3, 2), (0, 1)) > level
        if true.any() and predicted.any():
            made += 1
            yield true, predicted
