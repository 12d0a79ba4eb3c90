"""Masks with borders: by hand, against the distances of all pixels, prepared once, and refused where there are no objects."""

import numpy as np
import pytest

from unet_jax.data.datasets.registry import load_dataset
from unet_jax.data.store.borders import border_pixels
from unet_jax.errors import UserError
from unet_jax.evaluation.border_objects import ground, grow, growth, interiors


def cells(seed=0, size=(40, 50), number=14):
    """Returns cells that fill the nearest pixels to random points, up to a distance: many touch; numbers have gaps."""
    rng = np.random.default_rng(seed)
    points, rows = rng.random((number, 2)) * size, np.indices(size)
    distances = np.hypot(*(rows[:, None] - points.T[..., None, None]))
    return np.where(distances.min(0) < 6, 2 * distances.argmin(0) + 1, 0).astype(np.uint16)


def by_all_distances(instances, width):
    """Returns the pixels of objects with a pixel of another object within the width."""
    places, labels = np.argwhere(instances > 0), instances[instances > 0]
    distances = np.hypot(*(places[:, None] - places[None]).transpose(2, 0, 1))
    border = np.zeros(instances.shape, bool)
    border[tuple(places.T)] = ((distances <= width) & (labels[:, None] != labels)).any(1)
    return border


@pytest.mark.parametrize("width", [1, 2, 2.5])
def test_a_border_pixel_is_near_another_object(width):
    instances = cells()
    border = border_pixels(instances, width)
    assert 0 < border.sum() < (instances > 0).sum() / 2
    np.testing.assert_array_equal(border, by_all_distances(instances, width))


def test_an_object_within_the_width_keeps_its_innermost_pixel():
    instances = np.full((9, 9), 1, np.uint16)
    instances[3:6, 2:5] = 2
    border = border_pixels(instances, width=3)
    assert [tuple(place) for place in np.argwhere(~border & (instances == 2))] == [(4, 3)]
    # At the rim of the image it may go on outside.
    instances = np.roll(instances, -2, axis=1)
    border = border_pixels(instances, width=3)
    assert [tuple(place) for place in np.argwhere(~border & (instances == 2))] == [(4, 0)]
    # A whole image of one object has no border, nor has one without objects.
    assert not border_pixels(np.ones((5, 5), np.uint16), 2).any()
    assert not border_pixels(np.zeros((5, 5), np.uint16), 2).any()


def write(folder, instances, **masks):
    """Writes an image, its mask (0, 1, and 255 in a corner) and its instances for each split."""
    folder.write("index.csv", "id,split\na,train\nb,val\n")
    for id_ in "ab":
        mask = (instances > 0).astype(np.uint8)
        mask[:3, :3] = 255
        folder.pair(id_, np.zeros((*instances.shape, 1), np.uint8), masks.get(id_, mask))
        folder.write(f"instances/{id_}.png", instances)
    return {"root": str(folder.root), "cache_dir": folder.cache, "targets": "borders"}


def test_the_masks_of_all_splits_are_prepared_once(folder, capfd):
    instances = cells()
    options = write(folder, instances)
    plain = load_dataset("image_folder", **(options | {"targets": "masks"}))
    for _ in range(2):
        dataset = load_dataset("image_folder", palette=((0, 0, 0), (9, 8, 7)), weight_map=True, **options)
    assert capfd.readouterr().err.count("preparing the data set borders") == 1
    assert dataset.class_names == ("background", "class_1", "border")
    assert len(dataset.palette) == 3
    for split in ("train", "val"):
        example, before = dataset.source(split)[0], plain.source(split)[0]
        expected = np.where(border_pixels(instances, 2) & (before["mask"] == 1), 2, before["mask"])
        np.testing.assert_array_equal(example["mask"], expected)
        assert set(np.unique(expected)) == {0, 1, 2, 255}
        np.testing.assert_array_equal(example["image"], before["image"])
        assert dataset.source(split).size(0) == instances.shape
    assert "weight" in dataset.source("train")[0]
    wide = load_dataset("image_folder", border_width=3.0, **options)
    assert len({plain.fingerprint, dataset.fingerprint, wide.fingerprint}) == 3
    assert (wide.source("val")[0]["mask"] == 2).sum() > (dataset.source("val")[0]["mask"] == 2).sum()


@pytest.mark.parametrize("width", [1, 2, 3])
def test_objects_grow_back_from_their_interiors(width):
    """Every object is found again, with nearly all of its pixels."""
    instances = cells(1, (60, 80), 20)
    ids = np.where(border_pixels(instances, width), 2, instances > 0)
    masks = ids[..., None] == np.arange(3)
    # As if a piece were found for each object.
    seeds = np.where(interiors(masks), instances, 0)
    grown = grow(seeds, ground(masks), growth(width))
    np.testing.assert_array_equal(grown > 0, instances > 0)
    assert (grown != instances).sum() < 0.03 * (instances > 0).sum()


def test_data_without_one_class_of_objects_are_refused(folder, tmp_path):
    instances = cells()
    options = write(folder, instances)
    upside_down = write(folder, instances, b=(instances == 0).astype(np.uint8))
    with pytest.raises(UserError, match=r"data\.targets='borders': most pixels of the instances of image 'b' are not"):
        load_dataset("image_folder", **upside_down)
    with pytest.raises(UserError, match=r"the classes background, a, b; borders need background and one class"):
        load_dataset("image_folder", class_names=("background", "a", "b"), **options)
    for path in (folder.root / "instances").iterdir():
        path.unlink()
    (folder.root / "instances").rmdir()
    with pytest.raises(UserError, match=r"'image_folder' has no instance maps.*ROOT/instances.*data\.targets='masks'"):
        load_dataset("image_folder", **options)
    made = {"size": (32, 32), "num_train": 1, "num_val": 0, "num_test": 0, "cache_dir": str(tmp_path)}
    with pytest.raises(UserError, match="has masks that overlap"):
        load_dataset("electrodes", overlapping=True, targets="borders", **made)
    with pytest.raises(UserError, match=r"data\.targets 'edges' is unknown; choose one of masks, borders"):
        load_dataset("electrodes", targets="edges", **made)
    with pytest.raises(UserError, match=r"data\.border_width 0: give a finite number"):
        load_dataset("electrodes", border_width=0, **made)
