"""U-Net's weight map: values by hand, its formula over the whole image, one preparation, and an error without cells."""

import numpy as np
import pytest

from unet_jax.data.datasets.registry import load_dataset
from unet_jax.data.store.weight_map import UNIT, weight_map
from unet_jax.errors import UserError

OPTIONS = {"size": (32, 40), "num_train": 4, "num_val": 1, "num_test": 1}


def two_squares():
    """Returns two cells of 5 x 5 pixels, in columns 10 to 14 and 18 to 22, with three columns between them."""
    instances = np.zeros((40, 40), np.uint16)
    # The numbers may have gaps.
    instances[10:15, 10:15], instances[10:15, 18:23] = 1, 7
    return instances


def test_by_hand():
    weights = weight_map(two_squares(), sigma=5.0) / UNIT
    by_hand = {
        # Between them each pixel has d1 + d2 = 4.
        (12, 15): 1 + 3,
        (12, 16): 2 + 2,
        (12, 17): 3 + 1,
        # In the row above them: to (10, 14) and (10, 18).
        (9, 16): 2 * np.sqrt(1 + 4),
        # On a border.
        (12, 14): 0 + 4,
        # Inside a cell: 1 to its border, 5 to that of the other cell.
        (12, 13): 1 + 5,
        (12, 12): 2 + 6,
        (12, 6): 4 + 12,
    }
    for place, distance in by_hand.items():
        assert weights[place] == pytest.approx(np.exp(-(distance**2) / 50), abs=0.5 / UNIT), place
    # With the paper's w0 = 10.
    assert 10 * weights[12, 16] == pytest.approx(7.2615, abs=1e-4)
    assert weights[39, 39] == 0
    np.testing.assert_array_equal(weight_map(two_squares().T), weight_map(two_squares()).T)


def test_equals_the_formula_over_the_whole_image():
    """All distances to all border pixels, without windows; some cells touch, lie at the rim, or have two parts."""
    rng = np.random.default_rng(0)
    instances = np.zeros((50, 60), np.uint16)
    for number in range(1, 12):
        y, x, h, w = rng.integers(0, (50, 60, 12, 12))
        instances[y : y + h + 2, x : x + w + 2] = number
    instances[45:, 50:] = 3
    y, x = np.mgrid[:50, :60]
    distances = []
    for number in np.unique(instances[instances > 0]):
        cell = instances == number
        # Beyond the rim of the image is not outside the cell.
        outside = np.pad(~cell, 1)
        neighbours = outside[:-2, 1:-1] | outside[2:, 1:-1] | outside[1:-1, :-2] | outside[1:-1, 2:]
        rows, columns = np.nonzero(cell & neighbours)
        distances.append(np.sqrt(((y[..., None] - rows) ** 2 + (x[..., None] - columns) ** 2).min(-1)))
    nearest, second = np.sort(distances, 0)[:2]
    for sigma in (1.0, 5.0):
        expected = np.exp(-((nearest + second) ** 2) / (2 * sigma**2))
        np.testing.assert_allclose(weight_map(instances, sigma) / UNIT, expected, atol=0.5001 / UNIT)


@pytest.mark.parametrize("cells", [0, 1])
def test_fewer_than_two_cells_weigh_nothing(cells):
    instances = np.zeros((20, 20), np.uint16)
    instances[5:9, 5:9] = cells
    assert not weight_map(instances).any()
    assert not weight_map(np.ones((20, 20), np.uint16)).any()


def test_prepared_once_for_training_alone(tmp_path, capfd):
    options = OPTIONS | {"cache_dir": str(tmp_path)}
    plain = load_dataset("electrodes", **options)
    for _ in range(2):
        weighed = load_dataset("electrodes", weight_map=True, weight_map_sigma=2.0, **options)
    # The prepared images are read again, not made again.
    assert weighed.fingerprint == plain.fingerprint
    err = capfd.readouterr().err
    assert (err.count("preparing the data set electrodes"), err.count("preparing the data set weight_maps")) == (1, 1)
    for index in range(4):
        got, want = weighed.source("train")[index], plain.source("train")[index]
        weight = got.pop("weight")
        assert weight.dtype == np.uint16
        assert weight.any()
        np.testing.assert_array_equal(weight, weight_map(want["instances"], 2.0))
        assert got.keys() == want.keys()
        assert weighed.source("train").size(index) == (32, 40)
    assert "weight" not in weighed.source("val")[0]
    other = load_dataset("electrodes", weight_map=True, weight_map_sigma=3.0, **options).source("train")
    assert not np.array_equal(other[0]["weight"], weighed.source("train")[0]["weight"])


def test_a_fraction_has_the_maps_of_its_own_images(tmp_path):
    options = OPTIONS | {"cache_dir": str(tmp_path), "weight_map": True, "overlapping": True}
    half = load_dataset("electrodes", train_fraction=0.5, **options).source("train")
    for index in range(2):
        example = half[index]
        assert example["mask"].shape == (32, 40, 3)
        np.testing.assert_array_equal(example["weight"], weight_map(example["instances"]))


def test_missing_instances_and_bad_widths_are_named(folder):
    folder.pair("a")
    options = {"root": str(folder.root), "cache_dir": folder.cache, "split_fractions": (1, 0, 0), "weight_map": True}
    with pytest.raises(
        UserError, match=r"data\.weight_map=True: .*'image_folder'.*ROOT/instances.*data\.weight_map=False"
    ):
        load_dataset("image_folder", **options)
    for sigma in (0.0, -1.0, float("nan")):
        with pytest.raises(UserError, match=rf"data\.weight_map_sigma {sigma}: .*above 0"):
            load_dataset("image_folder", weight_map_sigma=sigma, **options)
