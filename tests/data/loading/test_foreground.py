"""Windows that show foreground: their number, their class, their place, and that they are repeatable."""

import numpy as np
import pytest

from unet_jax.data.loading import foreground, train_pipeline

OPTIONS = {"batch_size": 8, "patch": (9, 7), "seed": 7, "normalize": "range"}
SIZE = (60, 80)


def example(spots=(), overlapping=False):
    """Returns an example whose pixel values are their positions; `spots` are (y, x, class), all other pixels class 0."""
    image = np.arange(SIZE[0] * SIZE[1]).reshape(*SIZE, 1).astype(np.uint16)
    mask = np.zeros(SIZE, np.uint8)
    for y, x, k in spots:
        mask[y, x] = k
    if overlapping:
        mask = np.stack([mask == 0, mask == 1, mask == 2], -1).astype(np.uint8)
    return {"image": image, "mask": mask, "id": "", "group": ""}


def batches(examples, fraction, count=12, **options):
    dataset = train_pipeline.train_dataset(examples, foreground_fraction=fraction, **OPTIONS | options)
    return [dataset[s] for s in range(count)]


def centres(batch):
    """Returns the (y, x) in the image of each window's middle."""
    middle = batch["image"][:, batch["image"].shape[1] // 2, batch["image"].shape[2] // 2, 0]
    return list(zip(*np.divmod(np.rint(middle * 65535).astype(int), SIZE[1]), strict=True))


@pytest.mark.parametrize(("fraction", "counts"), [(0.0, {0}), (0.33, {2, 3}), (0.5, {4}), (1.0, {8})])
@pytest.mark.parametrize("overlapping", [False, True])
def test_a_fraction_of_each_batch_is_centred_on_foreground(fraction, counts, overlapping):
    """The image has two foreground pixels. An ordinary window has one of them in its middle once in 2000 draws."""
    made = batches([example([(30, 40, 1), (20, 50, 2)], overlapping)], fraction)
    hits = [sum(centre in ((30, 40), (20, 50)) for centre in centres(batch)) for batch in made]
    assert set(hits) == counts
    assert abs(sum(hits) / (8 * len(hits)) - fraction) <= 1 / len(hits)


def test_classes_are_drawn_evenly_and_void_is_none():
    spots = [(y, x, 1) for y in range(20, 40) for x in range(20, 40)] + [(50, 70, 2)]
    one = example([*spots, *((0, x, 255) for x in range(80))])
    hits = [centre == (50, 70) for batch in batches([one], 1.0, count=40) for centre in centres(batch)]
    # Of 320 windows, half are centred on class 2, although class 1 has 400 times the pixels.
    assert 0.4 < np.mean(hits) < 0.6
    inside = [centre for batch in batches([one], 1.0, count=40) for centre in centres(batch) if centre != (50, 70)]
    assert all(20 <= y < 40 and 20 <= x < 40 for y, x in inside)
    assert len(set(inside)) > 100


@pytest.mark.parametrize("spot", [(0, 0), (59, 79), (1, 77)])
@pytest.mark.parametrize("margin", [0, 2])
def test_at_the_rim_the_window_stays_in_the_image(spot, margin):
    """The part of the window that the network predicts holds the pixel."""
    for batch in batches([example([(*spot, 1)])], 1.0, count=2, margin=margin, patch=(13, 11)):
        inner = tuple(slice(margin, n - margin) for n in (13, 11))
        assert (batch["mask"][:, *inner] == 1).sum((1, 2)).tolist() == [1] * 8
        assert batch["valid"][:, *inner].all()


def test_in_a_small_image_the_window_holds_it_whole():
    for batch in batches([example([(30, 40, 1)])], 1.0, count=2, patch=(70, 90)):
        assert (batch["valid"].sum((1, 2)) == SIZE[0] * SIZE[1]).all()


def test_other_windows_stay_as_they_were():
    """Windows that need no foreground do not change, nor do windows of images without foreground."""
    nothing, some = example(), example([(30, 40, 1)])
    for with_fraction, plain in zip(batches([nothing], 1.0), batches([nothing], 0.0), strict=True):
        np.testing.assert_array_equal(with_fraction["image"], plain["image"])
    for step, (half, plain) in enumerate(zip(batches([some], 0.5), batches([some], 0.0), strict=True)):
        same = [np.array_equal(a, b) for a, b in zip(half["image"], plain["image"], strict=True)]
        assert same == [not foreground.wants_foreground(8 * step + row, 0.5) for row in range(8)]


def test_pure_in_seed_step_and_example():
    images = [example([(30, 40, 1), (5, 5, 2)]), example([(i, 2 * i, 1) for i in range(30)]), example()]
    whole = batches(images, 0.33)
    again = train_pipeline.train_batches(images, start_step=7, foreground_fraction=0.33, cache_bytes=0, **OPTIONS)
    shards = [
        train_pipeline.train_dataset(images, foreground_fraction=0.33, process_index=p, process_count=4, **OPTIONS)
        for p in range(4)
    ]
    for step in range(7, 12):
        np.testing.assert_array_equal(next(again)["image"], whole[step]["image"])
        parts = np.concatenate([shard[step]["image"] for shard in shards])
        np.testing.assert_array_equal(parts, whole[step]["image"])
    other = batches(images, 0.33, seed=6)
    assert any(not np.array_equal(a["image"], b["image"]) for a, b in zip(whole, other, strict=True))
