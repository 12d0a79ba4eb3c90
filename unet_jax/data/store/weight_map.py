"""U-Net's map of weights, which makes a network learn the narrow gaps between cells (Ronneberger et al. 2015, eq. 2).

w(x) = w_c(x) + w0 exp(-(d1(x) + d2(x))^2 / (2 sigma^2)), d1 and d2 the distances from the pixel x to the border of the
nearest and of the second nearest cell. Made and stored here is the exponential, by image, for the training split; the
loss adds the weights of the classes, w_c, and multiplies by w0, so that neither asks for another preparation.

A cell is an instance. Its border are those of its pixels that have a 4-neighbour outside it; the rim of the image is
none. Distances are Euclidean, from pixel centre to pixel centre. With fewer than two cells the map is 0.

Stored as 16-bit PNG in units of 1 / 65535: off by at most 7.7e-6, and 0 where it is less than that.
"""

import dataclasses
import math

import numpy as np
import tensorflow_datasets as tfds
from scipy import ndimage

from unet_jax.data.dataset import Dataset
from unet_jax.data.store.builder import Builder, prepare
from unet_jax.data.store.cache import file_digests
from unet_jax.data.store.sources import MergedSource
from unet_jax.errors import UserError
from unet_jax.storage.digests import json_sha256

UNIT = 65535  # the stored number that stands for 1


def weight_map(instances: np.ndarray, sigma: float = 5.0) -> np.ndarray:
    """exp(-(d1 + d2)^2 / (2 sigma^2)) of instance numbers `[H, W]` (0: no cell), uint16 `[H, W]` in 1 / `UNIT`.

    sigma: in pixels, above 0.
    """
    nearest, second = np.full((2, *instances.shape), np.inf)
    # A cell matters within the distance at which the exponential is half a unit: the rest of the image is left out.
    reach = math.ceil(sigma * math.sqrt(2 * math.log(2 * UNIT)))
    for number, place in enumerate(ndimage.find_objects(instances), 1):
        if place is None:  # no pixel has this number
            continue
        window = tuple(slice(max(axis.start - reach, 0), axis.stop + reach) for axis in place)
        cell = instances[window] == number
        border = cell & ~ndimage.binary_erosion(cell, border_value=1)
        if not border.any():  # one cell fills the image
            continue
        distance = ndimage.distance_transform_edt(~border)
        second[window] = np.minimum(second[window], np.maximum(nearest[window], distance))
        nearest[window] = np.minimum(nearest[window], distance)
    return np.rint(UNIT * np.exp(-((nearest + second) ** 2) / (2 * sigma**2))).astype(np.uint16)


class WeightMaps(Builder):
    """The map of each training image, in the order of the images."""

    def counts(self):
        return {"train": len(self.inputs["source"])}

    def example(self, split, index):
        return {"weight": weight_map(self.inputs["source"][index]["instances"], self.settings["sigma"])}

    def _info(self) -> tfds.core.DatasetInfo:
        weight = tfds.features.Image(shape=(None, None, 1), dtype=np.uint16, encoding_format="png")
        return tfds.core.DatasetInfo(
            builder=self, features=tfds.features.FeaturesDict({"weight": weight}), disable_shuffling=True
        )


def check_sigma(sigma: float) -> None:
    """Raises UserError unless `sigma` is a number of pixels above 0."""
    if not 0 < sigma < math.inf:
        raise UserError(f"data.weight_map_sigma {sigma} must be a number of pixels above 0")


def with_weight_maps(dataset: Dataset, sigma: float = 5.0, cache_dir: str = "") -> Dataset:
    """The data set whose training examples have `weight`, their `weight_map`, prepared once per content and sigma.

    The images, prepared before, stay as they are. Raises `UserError` where the data set has no instance maps, or on
    a sigma that is none.
    """
    check_sigma(sigma)
    source = dataset.source("train")
    if "instances" not in source[0]:
        raise UserError(
            f"data.weight_map: the data set {dataset.name!r} has no instance maps, which tell its cells apart; give it "
            "some (image_folder reads them from ROOT/instances) or set data.weight_map=False"
        )
    code = list(file_digests((__file__,), cache_dir).values())
    config = {"sigma": float(sigma), "overlapping": False, "num_classes": 0}
    maps = prepare(WeightMaps, config, json_sha256([code, dataset.fingerprint]), cache_dir, inputs={"source": source})
    return dataclasses.replace(dataset, sources=dataset.sources | {"train": MergedSource(source, maps["train"])})
