"""Makes masks with a third class between objects that touch, from which a network learns to keep them apart.

A network of two classes joins objects that touch: their masks are one piece. With `data.targets` "borders" the pixels of an object
that lie near another object are a class of their own, `border`. What is left of an object, its interior, touches no other one. So the
interiors are the connected pieces of the class, and the objects grow back from them into the border
(`unet_jax.evaluation.border_objects`).

A pixel is border if it belongs to an object and its distance to the nearest pixel of another object is at most the width: Euclidean,
from pixel centre to pixel centre. The background stays as it is, so interiors and borders together are the masks of the data. An object
that lies within the width as a whole keeps the pixel that is farthest from its edge. Void pixels stay void.
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
from unet_jax.data.targets import BORDER, BORDER_ID, OBJECT_ID
from unet_jax.errors import UserError
from unet_jax.segmentation import VOID_ID
from unet_jax.storage.digests import json_sha256


def border_pixels(instances: np.ndarray, width: float) -> np.ndarray:
    """Returns the pixels of objects that lie near another object, bool `[H, W]`.

    >>> border_pixels(np.array([[1, 1, 1, 2, 2, 2, 0, 0, 3, 3]]), width=1).astype(int).tolist()
    [[0, 0, 1, 1, 0, 0, 0, 0, 0, 0]]

    Args:
      instances: numbers of the objects `[H, W]`; 0 is background.
      width: the largest distance to another object, in pixels.
    """
    border = np.zeros(instances.shape, bool)
    reach = math.ceil(width)
    for number, place in enumerate(ndimage.find_objects(instances), 1):
        # None where no pixel has this number.
        if place is None:
            continue
        window = tuple(slice(max(axis.start - reach, 0), axis.stop + reach) for axis in place)
        labels = instances[window]
        inside, others = labels == number, (labels != number) & (labels > 0)
        if not others.any():
            continue
        near = inside & (ndimage.distance_transform_edt(~others) <= width)
        if near.sum() == inside.sum():
            # Beyond the image there is no edge to be near to.
            depth = ndimage.distance_transform_edt(np.pad(inside, 1, mode="edge"))[1:-1, 1:-1]
            near[np.unravel_index(np.argmax(depth * inside), inside.shape)] = False
        border[window] |= near
    return border


class Borders(Builder):
    """Stores the masks with borders of all images, in the order of the images."""

    def counts(self) -> dict[str, int]:
        """Returns the number of images of each split."""
        return {split: len(source) for split, source in self.inputs["sources"].items()}

    def example(self, split: str, index: int) -> dict[str, Any]:
        """Returns the mask of an image."""
        example = self.inputs["sources"][split][index]
        mask, instances = example["mask"].copy(), example["instances"]
        of_objects = mask[(instances > 0) & (mask != VOID_ID)]
        if 2 * (of_objects == OBJECT_ID).sum() < of_objects.size:
            raise UserError(
                f"data.targets='borders': most pixels of the instances of image {example['id']!r} are not of class "
                f"{OBJECT_ID}; give instances of the objects of this class, or data.targets='masks'"
            )
        mask[border_pixels(instances, self.settings["width"]) & (mask == OBJECT_ID)] = BORDER_ID
        return {"mask": mask}

    def _info(self) -> tfds.core.DatasetInfo:
        mask = tfds.features.Image(shape=(None, None, 1), encoding_format="png")
        return tfds.core.DatasetInfo(
            builder=self, features=tfds.features.FeaturesDict({"mask": mask}), disable_shuffling=True
        )


def with_borders(dataset: Dataset, width: float = 2.0, cache_dir: str = "") -> Dataset:
    """Replaces the masks of a data set by masks with borders, and adds the class `BORDER`.

    The masks are prepared once per content and width. The prepared images stay as they are.

    Args:
      dataset: the data set. It has the classes background and one other, and its examples have `instances`.
      width: of the border on each side, in pixels.
      cache_dir: folder of prepared data; "" means $UNET_JAX_CACHE or ~/.cache/unet_jax/data.

    Raises:
      UserError: the data set has other classes, its masks overlap, it has no instances, or they are not of the class.
    """
    what = f"data.targets='borders': the data set {dataset.name!r}"
    if dataset.overlapping:
        raise UserError(
            f"{what} has masks that overlap, and a pixel of two objects is inside neither; give data whose masks are class "
            "ids, or data.targets='masks'"
        )
    if len(dataset.class_names) != 2:
        raise UserError(
            f"{what} has the classes {', '.join(dataset.class_names)}; borders need background and one class of objects: give "
            "masks with one class, or data.targets='masks'"
        )
    if any("instances" not in source[0] for source in dataset.sources.values()):
        raise UserError(
            f"{what} has no instance maps, which tell which objects touch; add them (image_folder reads them from "
            "ROOT/instances), or give data.targets='masks'"
        )
    config = {"width": float(width), "overlapping": False, "num_classes": 3}
    fingerprint = json_sha256([code_digest((__file__,)), dataset.fingerprint])
    masks = prepare(Borders, config, fingerprint, cache_dir, inputs={"sources": dataset.sources})
    return dataclasses.replace(
        dataset,
        class_names=(*dataset.class_names, BORDER),
        fingerprint=json_sha256([fingerprint, config]),
        # Black stands for a colour of the package.
        palette=(*dataset.palette, (0, 0, 0)) if dataset.palette else (),
        sources={split: MergedSource(source, masks[split]) for split, source in dataset.sources.items()},
    )
