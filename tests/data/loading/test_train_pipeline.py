"""A training batch is a pure function of (seed, step), and padding adds no class."""

import numpy as np
import pytest
from helpers.ramp_images import SIZES, Images, assert_same_batch, class_of, values

from unet_jax.data.loading import eval_pipeline, train_pipeline
from unet_jax.data.store.sources import InMemory
from unet_jax.errors import UserError

OPTIONS = {"batch_size": 8, "patch": (16, 12), "seed": 3, "normalize": "range"}


@pytest.mark.parametrize("overlapping", [False, True])
def test_the_batch_is_a_function_of_seed_and_step(overlapping):
    dataset = train_pipeline.train_dataset(Images(2, overlapping), **OPTIONS)
    batches = [dataset[s] for s in range(6)]
    assert {k: (v.shape, v.dtype.name) for k, v in batches[0].items()} == {
        "image": ((8, 16, 12, 2), "float32"),
        "mask": ((8, 16, 12, 3) if overlapping else (8, 16, 12), "int32"),
        "valid": ((8, 16, 12), "bool"),
    }
    # The batches are the same after a restart at any step, with any number of threads, with and without the cache.
    for step in (0, 4):
        for num_threads in (1, 2):
            again = train_pipeline.train_batches(
                Images(2, overlapping), start_step=step, num_threads=num_threads, cache_bytes=step * 1000, **OPTIONS
            )
            for s in range(step, 6):
                assert_same_batch(next(again), batches[s])
    # The rows of all processes, in order, are the rows of the batch.
    for count in (2, 4):
        parts = [
            train_pipeline.train_dataset(Images(2, overlapping), process_index=p, process_count=count, **OPTIONS)
            for p in range(count)
        ]
        for s in range(6):
            shares = [part[s] for part in parts]
            assert_same_batch({key: np.concatenate([share[key] for share in shares]) for key in shares[0]}, batches[s])
    other = train_pipeline.train_dataset(Images(2, overlapping), **OPTIONS | {"seed": 4})
    assert not np.array_equal(other[0]["image"], batches[0]["image"])


def test_every_epoch_holds_each_image_once_in_a_new_order():
    dataset = train_pipeline.train_dataset(Images(), **OPTIONS | {"batch_size": 1})
    epochs = [[int(values(dataset[7 * e + i]).min()) // 5000 for i in range(7)] for e in range(4)]
    assert all(sorted(epoch) == list(range(7)) for epoch in epochs)
    assert len(set(map(tuple, epochs))) > 1


def test_windows_are_cut_everywhere_and_masks_with_them():
    dataset = train_pipeline.train_dataset(Images(), **OPTIONS)
    batch = {key: np.concatenate([dataset[s][key] for s in range(40)]) for key in dataset[0]}
    value, valid = values(batch), batch["valid"]
    np.testing.assert_array_equal(batch["mask"][valid], class_of(value[valid]))
    # Padding adds no class.
    assert set(np.unique(batch["mask"][~valid])) == {255}
    for row in range(0, 320, 7):
        index = value[row].min() // 5000
        h, w = SIZES[index]
        place = value[row] - 5000 * index
        assert len(np.unique(place[valid[row]])) == valid[row].sum() == min(h, 16) * min(w, 12)
        # Neighbours in the window are neighbours in the image, mirrored or not.
        y, x = np.divmod(place, w)
        assert (np.abs(np.diff(y, axis=0)) == (h > 1)).all()
        assert (np.abs(np.diff(x, axis=1)) == 1).all()
    # Image 5 has 16 x 16 pixels, the window 16 x 12.
    shown = value[value.min((1, 2)) // 5000 == 5] - 5 * 5000
    assert set(shown[:, 0, 0]) == {0, 1, 2, 3, 4}


@pytest.mark.parametrize("size", [(64, 64), (10, 40)])
def test_a_network_that_loses_a_margin_learns_every_pixel(size):
    image = np.arange(size[0] * size[1]).reshape(*size, 1).astype(np.uint16)
    options = {"batch_size": 64, "patch": (64, 64), "margin": 4, "seed": 0, "normalize": "range"}
    example = {"image": image, "mask": class_of(image[..., 0]), "id": "", "group": ""}
    batches = train_pipeline.train_batches([example], cache_bytes=0, **options)
    seen = set()
    for batch, _ in zip(batches, range(10), strict=False):
        value, valid = values(batch)[:, 4:-4, 4:-4], batch["valid"][:, 4:-4, 4:-4]
        np.testing.assert_array_equal(batch["mask"][batch["valid"]], class_of(values(batch)[batch["valid"]]))
        # The part that the network predicts does not reach beyond the image.
        assert (valid.sum((1, 2)) == min(size[0], 56) * min(size[1], 56)).all()
        seen |= set(value[valid].tolist())
    assert seen == set(range(image.size))


def test_the_weight_map_is_cut_as_the_image_is():
    class Weighted(Images):
        def __getitem__(self, index):
            example = super().__getitem__(index)
            return example | {"weight": example["image"][..., 0]}

    dataset = train_pipeline.train_dataset(Weighted(), **OPTIONS)
    plain = train_pipeline.train_dataset(Images(), **OPTIONS)
    for step in range(3):
        batch = dataset[step]
        weight = batch.pop("weight")
        assert weight.dtype == np.float32
        # Both are in units of 1 / 65535 and mirrored in the same way.
        np.testing.assert_array_equal(weight, batch["image"][..., 0])
        assert_same_batch(batch, plain[step])
    for batch in eval_pipeline.eval_batches(Weighted(), batch_size=4):
        assert "weight" not in batch


def test_void_is_not_valid():
    images = Images(void=True)
    batch = train_pipeline.train_dataset(images, **OPTIONS | {"patch": (1, 9), "batch_size": 70})[0]
    np.testing.assert_array_equal(batch["valid"], batch["mask"] != 255)
    assert not batch["valid"].all()


def test_decoded_once_and_within_the_limit():
    images = Images()
    dataset = train_pipeline.train_dataset(images, **OPTIONS | {"batch_size": 7})
    for s in range(3):
        dataset[s]
    assert sorted(images.reads) == list(range(7))
    kept = InMemory(images, max_bytes=SIZES[0][0] * SIZES[0][1] * 3)
    images.reads.clear()
    for index in (0, 1, 0, 1):
        np.testing.assert_array_equal(kept[index]["image"], Images()[index]["image"])
    assert images.reads == [0, 1, 1]


@pytest.mark.parametrize(
    ("options", "named", "other"),
    [
        ({"batch_size": 6, "process_count": 4}, "batch_size=6 ", "4 processes"),
        ({"patch": (0, 4)}, "patch=(0, 4):", ""),
        ({"patch": (8, 4.0)}, "patch=(8, 4.0):", ""),
        ({"patch": 64}, "patch=(64,):", ""),
        ({"seed": -1}, "seed=-1:", ""),
        ({"seed": 0.5}, "seed=0.5:", ""),
        ({"margin": 6}, "margin=6:", "patch=(16, 12)"),
        ({"margin": -1}, "margin=-1:", ""),
        ({"foreground_fraction": 1.5}, "data.foreground_fraction 1.5", ""),
        ({"normalize": "rank"}, "normalize='rank' ", "image, range"),
    ],
)
def test_wrong_options_are_named(options, named, other):
    with pytest.raises(UserError) as error:
        train_pipeline.train_dataset(Images(), **OPTIONS | options)
    assert str(error.value).startswith(named)
    assert other in str(error.value)[len(named) :]
