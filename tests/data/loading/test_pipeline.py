"""A batch is a pure function of (seed, step), padding invents no class, and evaluation sees every image once and whole."""

import numpy as np
import pytest

from unet_jax.data import normalization, padding
from unet_jax.data.loading import pipeline
from unet_jax.errors import UserError

SIZES = [(20, 30), (8, 40), (33, 17), (64, 64), (5, 6), (16, 16), (1, 9)]


class Images:
    """Seven images of different sizes; a pixel's value tells where it lies, and its class follows from its value."""

    def __init__(self, num_channels=1, overlapping=False, void=False):
        self.shape, self.overlapping, self.void, self.reads = num_channels, overlapping, void, []

    def __len__(self):
        return len(SIZES)

    def __getitem__(self, index):
        self.reads.append(index)
        h, w = SIZES[index]
        image = (np.arange(h * w).reshape(h, w, 1) + 5000 * index + np.arange(self.shape)).astype(np.uint16)
        mask = class_of(image[..., 0])
        if self.overlapping:
            mask = np.stack([mask == 0, mask > 0, mask > 1], -1).astype(np.uint8)
        if self.void:
            mask[0, 0] = 255
        return {"image": image, "mask": mask, "id": str(index), "group": str(index)}


def class_of(value):
    return (value % 3).astype(np.uint8)


OPTIONS = {"batch_size": 8, "patch": (16, 12), "seed": 3, "normalize": "range"}


def values(batch):
    """The pixel values that a batch was made of."""
    return np.rint(batch["image"][..., 0] * 65535).astype(int)


def assert_equal(a, b):
    assert a.keys() == b.keys()
    for key in a:
        np.testing.assert_array_equal(a[key], b[key], err_msg=key)


@pytest.mark.parametrize("overlapping", [False, True])
def test_the_batch_is_a_function_of_seed_and_step(overlapping):
    dataset = pipeline.train_dataset(Images(2, overlapping), **OPTIONS)
    batches = [dataset[s] for s in range(6)]
    assert {k: (v.shape, v.dtype.name) for k, v in batches[0].items()} == {
        "image": ((8, 16, 12, 2), "float32"),
        "mask": ((8, 16, 12, 3) if overlapping else (8, 16, 12), "int32"),
        "valid": ((8, 16, 12), "bool"),
    }
    for step in (0, 4):  # a restart at any step, with any number of threads, with and without the cache
        for num_threads in (1, 2):
            again = pipeline.train_batches(
                Images(2, overlapping), start_step=step, num_threads=num_threads, cache_bytes=step * 1000, **OPTIONS
            )
            for s in range(step, 6):
                assert_equal(next(again), batches[s])
    for count in (2, 4):  # the processes' rows, in order
        parts = [
            pipeline.train_dataset(Images(2, overlapping), process_index=p, process_count=count, **OPTIONS)
            for p in range(count)
        ]
        for s in range(6):
            shares = [part[s] for part in parts]
            assert_equal({key: np.concatenate([share[key] for share in shares]) for key in shares[0]}, batches[s])
    other = pipeline.train_dataset(Images(2, overlapping), **OPTIONS | {"seed": 4})
    assert not np.array_equal(other[0]["image"], batches[0]["image"])


def test_every_epoch_holds_each_image_once_in_a_new_order():
    dataset = pipeline.train_dataset(Images(), **OPTIONS | {"batch_size": 1})
    epochs = [[int(values(dataset[7 * e + i]).min()) // 5000 for i in range(7)] for e in range(4)]
    assert all(sorted(epoch) == list(range(7)) for epoch in epochs)
    assert len(set(map(tuple, epochs))) > 1


def test_windows_are_cut_everywhere_and_masks_with_them():
    dataset = pipeline.train_dataset(Images(), **OPTIONS)
    batch = {key: np.concatenate([dataset[s][key] for s in range(40)]) for key in dataset[0]}
    value, valid = values(batch), batch["valid"]
    np.testing.assert_array_equal(batch["mask"][valid], class_of(value[valid]))
    assert set(np.unique(batch["mask"][~valid])) == {255}  # no class is invented
    for row in range(0, 320, 7):
        index = value[row].min() // 5000
        h, w = SIZES[index]
        place = value[row] - 5000 * index
        assert len(np.unique(place[valid[row]])) == valid[row].sum() == min(h, 16) * min(w, 12)
        y, x = np.divmod(place, w)  # neighbours in the window are neighbours in the image, mirrored or not
        assert (np.abs(np.diff(y, axis=0)) == (h > 1)).all()
        assert (np.abs(np.diff(x, axis=1)) == 1).all()
    shown = value[value.min((1, 2)) // 5000 == 5] - 5 * 5000  # 16 x 16 pixels under a window of 16 x 12
    assert set(shown[:, 0, 0]) == {0, 1, 2, 3, 4}


@pytest.mark.parametrize("size", [(64, 64), (10, 40)])
def test_a_network_that_loses_a_margin_is_taught_every_pixel(size):
    image = np.arange(size[0] * size[1]).reshape(*size, 1).astype(np.uint16)
    options = {"batch_size": 64, "patch": (64, 64), "margin": 4, "seed": 0, "normalize": "range"}
    example = {"image": image, "mask": class_of(image[..., 0]), "id": "", "group": ""}
    batches = pipeline.train_batches([example], cache_bytes=0, **options)
    taught = set()
    for batch, _ in zip(batches, range(10), strict=False):
        value, valid = values(batch)[:, 4:-4, 4:-4], batch["valid"][:, 4:-4, 4:-4]
        np.testing.assert_array_equal(batch["mask"][batch["valid"]], class_of(values(batch)[batch["valid"]]))
        assert (
            valid.sum((1, 2)) == min(size[0], 56) * min(size[1], 56)
        ).all()  # no target is spent on what lies outside
        taught |= set(value[valid].tolist())
    assert taught == set(range(image.size))


def test_the_weight_map_is_cut_as_the_image_is():
    class Weighted(Images):
        def __getitem__(self, index):
            example = super().__getitem__(index)
            return example | {"weight": example["image"][..., 0]}

    dataset = pipeline.train_dataset(Weighted(), **OPTIONS)
    plain = pipeline.train_dataset(Images(), **OPTIONS)
    for step in range(3):
        batch = dataset[step]
        weight = batch.pop("weight")
        assert weight.dtype == np.float32
        np.testing.assert_array_equal(weight, batch["image"][..., 0])  # both in units of 1 / 65535, mirrored alike
        assert_equal(batch, plain[step])
    for batch in pipeline.eval_batches(Weighted(), batch_size=4):
        assert "weight" not in batch


def test_void_is_not_valid():
    images = Images(void=True)
    batch = pipeline.train_dataset(images, **OPTIONS | {"patch": (1, 9), "batch_size": 70})[0]
    np.testing.assert_array_equal(batch["valid"], batch["mask"] != 255)
    assert not batch["valid"].all()


def test_decoded_once_and_within_the_limit():
    images = Images()
    dataset = pipeline.train_dataset(images, **OPTIONS | {"batch_size": 7})
    for s in range(3):
        dataset[s]
    assert sorted(images.reads) == list(range(7))
    kept = pipeline.InMemory(images, max_bytes=SIZES[0][0] * SIZES[0][1] * 3)
    images.reads.clear()
    for index in (0, 1, 0, 1):
        np.testing.assert_array_equal(kept[index]["image"], Images()[index]["image"])
    assert images.reads == [0, 1, 1]


@pytest.mark.parametrize("batch_size", [1, 3, 4, 16])
def test_evaluation_sees_every_image_once_and_whole(batch_size):
    images = Images(2, void=True)
    seen = {}
    for batch in pipeline.eval_batches(images, batch_size=batch_size, pad_multiple=16, normalize="range"):
        assert len(batch["index"]) <= batch_size
        for row, index in enumerate(batch["index"]):
            if index < 0:
                assert not batch["valid"][row].any()
                assert not batch["size"][row].any()
                continue
            assert index not in seen
            example = images[index]
            h, w = batch["size"][row]
            assert (h, w) == SIZES[index]
            assert batch["image"].shape[1:3] == (-(-h // 16) * 16, -(-w // 16) * 16)
            want = padding.pad_image(example["image"], batch["image"].shape[1:3])
            seen[index] = batch["image"][row]
            np.testing.assert_array_equal(seen[index], normalization.normalize(want, "range"))
            np.testing.assert_array_equal(seen[index][:h, :w], normalization.normalize(example["image"], "range"))
            np.testing.assert_array_equal(batch["mask"][row, :h, :w], example["mask"])
            np.testing.assert_array_equal(batch["valid"][row, :h, :w], example["mask"] != 255)
            assert not batch["valid"][row, h:].any()
            assert not batch["valid"][row, :, w:].any()
    assert sorted(seen) == list(range(7))


@pytest.mark.parametrize(
    ("num", "batch_size", "multiple", "rows"),
    [
        (9, 8, 1, 5),
        (33, 8, 1, 7),
        (1, 8, 1, 1),
        (1, 8, 4, 4),
        (16, 8, 4, 8),
        (9, 8, 4, 8),
        (13, 12, 4, 8),
        (3, 1, 1, 1),
    ],
)
def test_batches_of_one_size_are_even(num, batch_size, multiple, rows):
    assert pipeline.balanced_batch_size(num, batch_size, multiple) == rows
    plan = pipeline.eval_plan([{"image": np.zeros((4, 4, 1))}] * num, batch_size=batch_size, multiple=multiple)
    assert [len(positions) for _, positions in plan] == [rows] * -(-num // batch_size)
    assert [i for _, positions in plan for i in positions if i >= 0] == list(range(num))


def test_evaluation_over_processes_and_with_a_margin():
    options = {"batch_size": 4, "pad_multiple": 16, "input_size": lambda n: n + 12, "margin": 5, "multiple": 4}
    whole = list(pipeline.eval_batches(Images(), **options))
    for count in (2, 4):
        parts = [pipeline.eval_batches(Images(), process_index=p, process_count=count, **options) for p in range(count)]
        for batch, *shares in zip(whole, *parts, strict=True):
            assert_equal({key: np.concatenate([share[key] for share in shares]) for key in batch}, batch)
    for batch in whole:
        assert [(n - 12) % 16 for n in batch["image"].shape[1:3]] == [0, 0]
        for row, index in enumerate(batch["index"]):
            (h, w), valid = batch["size"][row], np.zeros_like(batch["valid"][row])
            valid[5 : 5 + h, 5 : 5 + w] = index >= 0
            np.testing.assert_array_equal(batch["valid"][row], valid)
            if index >= 0:
                inner = batch["image"][row, 5 : 5 + h, 5 : 5 + w]
                np.testing.assert_array_equal(inner, normalization.normalize(Images()[index]["image"]))


def test_the_plan_needs_no_decoding():
    images = Images()
    images.size = lambda index: SIZES[index]
    plan = pipeline.eval_plan(images, batch_size=2, pad_multiple=32)
    assert images.reads == []
    assert plan == [((32, 32), [0, 4]), ((32, 32), [5, 6]), ((32, 64), [1]), ((64, 32), [2]), ((64, 64), [3])]


def test_padded_size_rounds_up_to_the_bucket_and_to_what_the_network_takes():
    assert padding.padded_size(64, 65, 64, lambda n: n + 184) == (248, 312)


@pytest.mark.parametrize("n", [1, 2, 5])
def test_mirroring_is_numpys_reflection(n):
    image = np.arange(n * 3).reshape(n, 3, 1)
    want = np.pad(image, ((4, 7), (1, 9), (0, 0)), "reflect" if n > 1 else "symmetric")
    if n == 1:  # NumPy has no reflection of one pixel: it is repeated
        want = np.pad(np.repeat(image, 12, 0), ((0, 0), (1, 9), (0, 0)), "reflect")
    np.testing.assert_array_equal(padding.pad_image(image, (n + 11, 13), (4, 1)), want)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_normalize(dtype):
    image = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (40, 50, 3)).astype(dtype)
    whole = normalization.normalize(image)
    assert whole.dtype == np.float32
    np.testing.assert_allclose([whole.mean(dtype=float), whole.std(dtype=float)], [0, 1], atol=1e-6)
    np.testing.assert_allclose(whole, (image - image.mean()) / image.std(), atol=1e-5)
    window = normalization.normalize(image[3:9, 5:7], stats=normalization.statistics(image))
    np.testing.assert_array_equal(window, whole[3:9, 5:7])
    np.testing.assert_array_equal(normalization.normalize(np.full((2, 2, 1), 7, dtype)), 0)
    top = np.full((1, 1, 1), np.iinfo(dtype).max, dtype)
    assert normalization.normalize(top, "range").item() == 1


def test_wrong_knobs_are_refused():
    for options, match in [
        ({"batch_size": 6, "process_count": 4}, "batch_size=6 does not divide over 4 processes"),
        ({"patch": (0, 4)}, r"patch=\(0, 4\)"),
        ({"patch": (8, 4.0)}, r"patch=\(8, 4\.0\): give .* whole numbers"),
        ({"patch": 64}, r"patch=\(64,\)"),
        ({"seed": -1}, "seed=-1: give a whole number from 0"),
        ({"seed": 0.5}, "seed=0.5"),
        ({"margin": 6}, r"margin=6: .* leaves something of patch=\(16, 12\)"),
        ({"margin": -1}, "margin=-1"),
        ({"foreground_fraction": 1.5}, "foreground_fraction 1.5 must be at least 0 and at most 1"),
        ({"normalize": "rank"}, "normalize='rank' is unknown; use one of image, range"),
    ]:
        with pytest.raises(UserError, match=match):
            pipeline.train_dataset(Images(), **OPTIONS | options)
    with pytest.raises(UserError, match="image is int32"):
        normalization.normalize(np.zeros((2, 2, 1), np.int32))
