"""Class weights from the pixels: values computed by hand, the pixels that count, and that they are counted once."""

import numpy as np
import pytest

from unet_jax.data.dataset import Dataset
from unet_jax.data.datasets.registry import load_dataset
from unet_jax.data.loading.class_weights import class_weights
from unet_jax.data.store.sources import Subset
from unet_jax.errors import UserError

# Two images of 12 pixels. The second has 4 void pixels. Of 20 valid pixels the classes have 13, 5 and 2; class 2 is only in
# the first image.
MASKS = [[0] * 6 + [1] * 4 + [2] * 2, [0] * 7 + [1] + [255] * 4]


class Masks(list):
    def __init__(self, masks):
        super().__init__({"mask": np.array(mask, np.uint8).reshape(3, 4, *np.shape(mask)[1:])} for mask in masks)
        self.reads = []

    def __getitem__(self, index):
        self.reads.append(index)
        return super().__getitem__(index)


def dataset(source, names="abc", fingerprint="f"):
    return Dataset("toy", tuple(names), 1, False, fingerprint, "uint8", {"train": source})


def test_inverse_frequency_has_mean_one(tmp_path):
    weights = np.array(class_weights(dataset(Masks(MASKS)), "inverse", str(tmp_path)))
    inverse = np.array([20 / 13, 20 / 5, 20 / 2])
    np.testing.assert_allclose(weights, inverse / inverse.mean())


def test_median_frequency_counts_the_images_that_show_a_class(tmp_path):
    frequencies = np.array([13 / 20, 5 / 20, 2 / 12])
    weights = class_weights(dataset(Masks(MASKS)), "median", str(tmp_path))
    np.testing.assert_allclose(weights, (5 / 20) / frequencies)


def test_overlapping_masks_count_in_every_channel(tmp_path):
    masks = np.zeros((1, 12, 2))
    masks[0, :6, 0], masks[0, 4:, 1] = 1, 1
    weights = class_weights(dataset(Masks(masks), "ab"), "median", str(tmp_path))
    np.testing.assert_allclose(weights, [(7 / 12) / (6 / 12), (7 / 12) / (8 / 12)])


def test_pixels_are_counted_once_per_content_and_fraction(tmp_path, capfd):
    source = Masks(MASKS)
    both = [class_weights(dataset(source), rule, str(tmp_path)) for rule in ("inverse", "inverse", "median")]
    assert both[0] == both[1] != both[2]
    assert sorted(source.reads) == [0, 1]
    assert class_weights(dataset(source, fingerprint="g"), "inverse", str(tmp_path)) == both[0]
    assert len(source.reads) == 4
    assert capfd.readouterr().err.count(" 2 training images") == 2
    assert class_weights(dataset(Subset(Masks(MASKS[:1] * 2), 0.5)), "inverse", str(tmp_path)) != both[0]


def test_with_a_fraction_of_the_images_only_these_count(tmp_path):
    options = {"size": (32, 40), "num_train": 6, "num_val": 1, "num_test": 1, "cache_dir": str(tmp_path)}
    half = load_dataset("electrodes", train_fraction=0.5, **options)
    source = half.source("train")
    pixels = np.bincount(np.concatenate([source[i]["mask"].ravel() for i in range(3)]), minlength=3)
    weights = np.array(class_weights(half, "inverse", str(tmp_path)))
    np.testing.assert_allclose(weights, (1 / pixels) / (1 / pixels).mean())
    assert tuple(weights) != class_weights(load_dataset("electrodes", **options), "inverse", str(tmp_path))


def test_unknown_rules_and_absent_classes_are_named(tmp_path):
    with pytest.raises(UserError, match=r"class_weighting 'mean'.*inverse, median"):
        class_weights(dataset(Masks(MASKS)), "mean", str(tmp_path))
    with pytest.raises(UserError, match=r"class_weighting 'inverse'.*'d'.*\b2\b.*loss\.class_weights"):
        class_weights(dataset(Masks(MASKS), "abcd"), "inverse", str(tmp_path))
