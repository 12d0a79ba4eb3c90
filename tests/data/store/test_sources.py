"""A fraction of the training images: how many and which, and that the other splits stay as they are."""

import itertools

import numpy as np
import pytest

from unet_jax.data.datasets.registry import load_dataset
from unet_jax.data.store.sources import Subset
from unet_jax.errors import UserError


def load(tmp_path, **options):
    counts = {"num_train": 9, "num_val": 2, "num_test": 1}
    return load_dataset("electrodes", cache_dir=str(tmp_path), size=(32, 40), **counts, **options)


def test_a_fraction_of_the_training_images_and_all_others(tmp_path):
    whole, third = load(tmp_path), load(tmp_path, train_fraction=1 / 3)
    assert whole.splits == {"train": 9, "val": 2, "test": 1}
    assert third.splits == {"train": 3, "val": 2, "test": 1}
    assert third.fingerprint == whole.fingerprint
    images = {whole.source("train")[i]["id"]: whole.source("train")[i]["image"] for i in range(9)}
    chosen = [third.source("train")[i] for i in range(3)]
    assert len({example["id"] for example in chosen}) == 3
    for index, example in enumerate(chosen):
        np.testing.assert_array_equal(example["image"], images[example["id"]])
        assert third.source("train").size(index) == (32, 40)


@pytest.mark.parametrize("count", [1, 5, 160])
def test_a_smaller_fraction_is_a_subset_of_a_larger_one(count):
    fractions = (0.01, 0.25, 0.5, 0.99)
    subsets = [list(Subset(list(range(count)), fraction)) for fraction in fractions]
    for smaller, larger in itertools.pairwise(subsets):
        assert set(smaller) <= set(larger)
        assert smaller == sorted(set(smaller))
    assert [len(chosen) for chosen in subsets] == [max(round(fraction * count), 1) for fraction in fractions]


def test_a_fraction_is_not_the_first_images():
    assert list(Subset(list(range(160)), 0.25)) != list(range(40))


@pytest.mark.parametrize("fraction", [0.0, -0.5, 1.5, float("nan")])
def test_bad_fractions_are_named(tmp_path, fraction):
    with pytest.raises(UserError, match=rf"data\.train_fraction {fraction}: .*0.*1"):
        load(tmp_path, train_fraction=fraction)
