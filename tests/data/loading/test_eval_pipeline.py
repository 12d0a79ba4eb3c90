"""Evaluation sees every image once and whole, with any batch size and any number of processes."""

import numpy as np
import pytest
from helpers.ramp_images import SIZES, Images, assert_same_batch

from unet_jax.data import normalization, padding
from unet_jax.data.loading import eval_pipeline


@pytest.mark.parametrize("batch_size", [1, 3, 4, 16])
def test_evaluation_sees_every_image_once_and_whole(batch_size):
    images = Images(2, void=True)
    seen = {}
    for batch in eval_pipeline.eval_batches(images, batch_size=batch_size, pad_multiple=16, normalize="range"):
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
    assert eval_pipeline.balanced_batch_size(num, batch_size, multiple) == rows
    plan = eval_pipeline.eval_plan([{"image": np.zeros((4, 4, 1))}] * num, batch_size=batch_size, multiple=multiple)
    assert [len(positions) for _, positions in plan] == [rows] * -(-num // batch_size)
    assert [i for _, positions in plan for i in positions if i >= 0] == list(range(num))


def test_evaluation_over_processes_and_with_a_margin():
    options = {"batch_size": 4, "pad_multiple": 16, "input_size": lambda n: n + 12, "margin": 5, "multiple": 4}
    whole = list(eval_pipeline.eval_batches(Images(), **options))
    for count in (2, 4):
        parts = [
            eval_pipeline.eval_batches(Images(), process_index=p, process_count=count, **options) for p in range(count)
        ]
        for batch, *shares in zip(whole, *parts, strict=True):
            assert_same_batch({key: np.concatenate([share[key] for share in shares]) for key in batch}, batch)
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
    plan = eval_pipeline.eval_plan(images, batch_size=2, pad_multiple=32)
    assert images.reads == []
    assert plan == [((32, 32), [0, 4]), ((32, 32), [5, 6]), ((32, 64), [1]), ((64, 32), [2]), ((64, 64), [3])]
