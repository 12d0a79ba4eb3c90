"""Computes class weights from the pixels of the training images. Void pixels do not count.

- `inverse`: w_k = c / f_k. f_k is the fraction of class k in all pixels; c makes the mean weight 1.
- `median`: w_k = median(f) / f_k. f_k is the fraction of class k in the pixels of the images that show class k. This is
  median frequency balancing: Eigen and Fergus, "Predicting Depth, Surface Normals and Semantic Labels with a Common
  Multi-Scale Convolutional Architecture" (ICCV 2015).
"""

import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from unet_jax.data.dataset import Dataset, ExampleSource
from unet_jax.data.loading.options import CLASS_WEIGHTINGS
from unet_jax.data.store.cache import remember
from unet_jax.data.store.code_digest import code_digest
from unet_jax.errors import UserError
from unet_jax.runtime import processes
from unet_jax.segmentation import VOID_ID
from unet_jax.storage.digests import json_sha256


def check_rule(rule: str) -> None:
    """Checks the name of a rule.

    Raises:
      UserError: `rule` is not one of `CLASS_WEIGHTINGS`.
    """
    if rule not in CLASS_WEIGHTINGS:
        raise UserError(f"loss.class_weighting {rule!r} is unknown; choose one of '', {', '.join(CLASS_WEIGHTINGS)}")


def class_weights(dataset: Dataset, rule: str, cache_dir: str = "") -> tuple[float, ...]:
    """Returns one weight per class of `dataset`.

    The pixels are counted once; later calls with the same images read the counts from the cache. If the data set holds only
    a fraction of the training images, only these are counted. Every process of a job must call this function, each the same
    number of times.

    Class 0 has 6 pixels here and class 1 has 2; `inverse` gives the weights the ratio 2 / 6 and the mean 1:

    >>> source = [{"mask": np.array([[0, 0, 0, 1], [0, 0, 0, 1]], np.uint8)}]
    >>> dataset = Dataset("toy", ("background", "cell"), 1, False, "doctest", "uint8", {"train": source})
    >>> class_weights(dataset, "inverse")
    (0.5, 1.5)

    Args:
      dataset: the data set.
      rule: one of `CLASS_WEIGHTINGS`.
      cache_dir: folder where the counts are kept; "" means $UNET_JAX_CACHE or ~/.cache/unet_jax/data.

    Raises:
      UserError: the rule is unknown, or a class has no pixel.
    """
    check_rule(rule)
    source, num_classes = dataset.source("train"), len(dataset.class_names)
    code = code_digest((__file__,))
    # The images of a `Subset` follow from their number, so the number stands for them in the key.
    key = json_sha256([code, dataset.fingerprint, len(source)])
    counts = processes.process_0_first(
        "count the pixels of a data set", lambda: remember(key, lambda: count_pixels(source, num_classes), cache_dir)
    )
    pixels = np.array(counts["pixels"], np.float64)
    for name, number in zip(dataset.class_names, pixels, strict=True):
        if not number:
            raise UserError(
                f"loss.class_weighting {rule!r}: class {name!r} has no pixel in the {len(source)} training images; set "
                "loss.class_weights instead"
            )
    if rule == "inverse":
        weights = 1 / pixels
        weights /= weights.mean()
    else:
        frequencies = pixels / np.array(counts["of_images"], np.float64)
        weights = np.median(frequencies) / frequencies
    return tuple(map(float, weights))


def count_pixels(source: ExampleSource, num_classes: int) -> dict[str, list[int]]:
    """Counts the pixels of the masks by class.

    Args:
      source: the examples.
      num_classes: number of classes K.

    Returns:
      `pixels`, the K numbers of pixels of each class, and `of_images`, the K numbers of valid pixels of all images that
      show the class.
    """
    print(f"counting the pixels of {len(source)} training images by class, once ...", file=sys.stderr, flush=True)

    def count_one(index):
        mask = source[index]["mask"]
        # Overlapping classes.
        if mask.ndim == 3:
            return mask.sum((0, 1), dtype=np.int64), mask.shape[0] * mask.shape[1]
        pixels = np.bincount(mask.ravel(), minlength=VOID_ID + 1)
        return pixels[:num_classes], mask.size - pixels[VOID_ID]

    with ThreadPoolExecutor(2) as pool:
        pixels, valid = map(np.array, zip(*pool.map(count_one, range(len(source))), strict=True))
    return {"pixels": pixels.sum(0).tolist(), "of_images": ((pixels > 0) * valid[:, None]).sum(0).tolist()}
