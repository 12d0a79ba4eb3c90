"""Masks of random blobs, of many shapes: with holes, at the border, and touching at corners."""

import cv2
import numpy as np

from unet_jax.measurement.components import ComponentLabeller
from unet_jax.measurement.objects import ObjectFinder


def blobs(seed, size=(60, 50), sigma=2.0, share=0.5):
    """Returns blobs that cover about a share of the image, bool `[H, W]`; `sigma` 0 gives noise."""
    noise = np.random.default_rng(seed).normal(size=size)
    noise = cv2.GaussianBlur(noise, (0, 0), sigma) if sigma else noise
    return noise > np.quantile(noise, 1 - share)


def spiral(size=41):
    """Returns a spiral of one pixel in width, which any band cuts into many pieces."""
    mask = np.zeros((size, size), bool)
    step, length = 0, size - 1
    row = column = 0
    mask[0, 0] = True
    while length > 0:
        for _ in range(1 if step == 0 else 2):
            down, right = ((0, 1), (1, 0), (0, -1), (-1, 0))[step % 4]
            for _ in range(length):
                row, column = row + down, column + right
                mask[row, column] = True
            step += 1
        length -= 2
    return mask


def cut(array, rows):
    """Yields (first row, band) of an array."""
    for start in range(0, len(array), rows):
        yield start, array[start : start + rows]


def label_in_bands(mask, connectivity, rows):
    """Returns the components of a mask that comes in bands."""
    labeller = ComponentLabeller(*mask.shape, connectivity)
    for start, band in cut(mask, rows):
        labeller.add(start, band)
    return labeller.finish()


def find(masks, options, rows=7, probabilities=None, **arguments):
    """Returns the objects of each class, bool `[H, W, K]`, in bands."""
    finder = ObjectFinder(masks.shape[:2], masks.shape[2], options, **arguments)
    for start, band in cut(masks, rows):
        finder.add(start, band, None if probabilities is None else probabilities[start : start + rows])
    return finder.finish()


def whole(labels):
    """Returns all numbers of objects, `[H, W]`."""
    return labels.read(0, labels.shape[0])
