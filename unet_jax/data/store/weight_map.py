"""Makes U-Net's weight map, with which a network learns the narrow gaps between cells.

Ronneberger et al., "U-Net" (MICCAI 2015), equation 2: w(x) = w_c(x) + w0 exp(-(d1(x) + d2(x))^2 / (2 sigma^2)). d1 and d2
are the distances from the pixel x to the border of the nearest and of the second nearest cell. This file computes and stores
the exponential for each training image. The loss multiplies it by w0 and adds the class weights w_c, so a change of w0 or
w_c needs no new preparation.

A cell is an instance. Its border consists of its pixels that have a 4-neighbour outside the cell; the rim of the image is
not a border. Distances are Euclidean, from pixel centre to pixel centre. With fewer than two cells the map is 0.

The map is stored as a 16-bit PNG in units of 1 / 65535. The error is at most 7.7e-6; smaller values become 0.
"""

import dataclasses
import math
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from scipy import ndimage

from unet_jax.data.dataset import Dataset
from unet_jax.data.store.builder import Builder, prepare
from unet_jax.data.store.code_digest import code_digest
from unet_jax.data.store.sources import MergedSource
from unet_jax.errors import UserError
from unet_jax.storage.digests import json_sha256

# The stored number that means 1.
UNIT = 65535


def weight_map(instances: np.ndarray, sigma: float = 5.0) -> np.ndarray:
    """Returns exp(-(d1 + d2)^2 / (2 sigma^2)), uint16 `[H, W]` in units of 1 / `UNIT`.

    Args:
      instances: instance numbers `[H, W]`; 0 is background.
      sigma: width of the exponential in pixels, above 0.
    """
    nearest, second = np.full((2, *instances.shape), np.inf)
    # Beyond this distance from a cell the exponential is below half a unit, so the rest of the image is left out.
    reach = math.ceil(sigma * math.sqrt(2 * math.log(2 * UNIT)))
    for number, place in enumerate(ndimage.find_objects(instances), 1):
        # None where no pixel has this number.
        if place is None:
            continue
        window = tuple(slice(max(axis.start - reach, 0), axis.stop + reach) for axis in place)
        cell = instances[window] == number
        border = cell & ~ndimage.binary_erosion(cell, border_value=1)
        # A cell that fills the image has no border.
        if not border.any():
            continue
        distance = ndimage.distance_transform_edt(~border)
        second[window] = np.minimum(second[window], np.maximum(nearest[window], distance))
        nearest[window] = np.minimum(nearest[window], distance)
    return np.rint(UNIT * np.exp(-((nearest + second) ** 2) / (2 * sigma**2))).astype(np.uint16)


class WeightMaps(Builder):
    """Stores the weight map of each training image, in the order of the images."""

    def counts(self) -> dict[str, int]:
        """Returns the number of training images."""
        return {"train": len(self.inputs["source"])}

    def example(self, split: str, index: int) -> dict[str, Any]:
        """Returns the weight map of a training image."""
        return {"weight": weight_map(self.inputs["source"][index]["instances"], self.settings["sigma"])}

    def _info(self) -> tfds.core.DatasetInfo:
        weight = tfds.features.Image(shape=(None, None, 1), dtype=np.uint16, encoding_format="png")
        return tfds.core.DatasetInfo(
            builder=self, features=tfds.features.FeaturesDict({"weight": weight}), disable_shuffling=True
        )


def check_sigma(sigma: float) -> None:
    """Checks the width of the weight map.

    Raises:
      UserError: `sigma` is not a finite number above 0.
    """
    if not 0 < sigma < math.inf:
        raise UserError(f"data.weight_map_sigma {sigma}: give a number of pixels above 0")


def with_weight_maps(dataset: Dataset, sigma: float = 5.0, cache_dir: str = "") -> Dataset:
    """Adds the weight map of each training image to its example, as the feature `weight`.

    The maps are prepared once per content and sigma. The prepared images stay as they are.

    Args:
      dataset: the data set; its training examples have `instances`.
      sigma: width of the map's exponential in pixels, above 0.
      cache_dir: folder of prepared data; "" means $UNET_JAX_CACHE or ~/.cache/unet_jax/data.

    Raises:
      UserError: the data set has no instance maps, or sigma is not above 0.
    """
    check_sigma(sigma)
    source = dataset.source("train")
    if "instances" not in source[0]:
        raise UserError(
            f"data.weight_map=True: the data set {dataset.name!r} has no instance maps, which separate its cells; add them "
            "(image_folder reads them from ROOT/instances) or set data.weight_map=False"
        )
    code = code_digest((__file__,))
    config = {"sigma": float(sigma), "overlapping": False, "num_classes": 0}
    maps = prepare(WeightMaps, config, json_sha256([code, dataset.fingerprint]), cache_dir, inputs={"source": source})
    return dataclasses.replace(dataset, sources={**dataset.sources, "train": MergedSource(source, maps["train"])})
