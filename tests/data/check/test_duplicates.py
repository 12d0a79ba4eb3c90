"""A copy is found if it is noisier, brighter, mirrored, turned or scaled; other pictures are not taken for copies."""

import cv2
import numpy as np
import pytest
from helpers.image_folders import scene

from unet_jax.data.check import duplicates
from unet_jax.data.datasets.electrodes.render import render

RNG = np.random.default_rng(0)


def alike(a, b):
    pairs, _ = duplicates.find_duplicates(
        np.stack([duplicates.thumbnail(a), duplicates.thumbnail(b)]), ["train", "val"]
    )
    return bool(pairs)


IMAGE = scene(0)
JPEG = cv2.imencode(".jpg", IMAGE, [cv2.IMWRITE_JPEG_QUALITY, 50])[1]
COPIES = {
    "the same": IMAGE,
    "noisy": np.clip(IMAGE + RNG.normal(0, 8, IMAGE.shape), 0, 255).astype(np.uint8),
    "darker and flatter": (20 + 0.5 * IMAGE).astype(np.uint8),
    "16-bit": IMAGE.astype(np.uint16) * 200,
    "RGB": np.repeat(IMAGE, 3, -1),
    "mirrored": IMAGE[:, ::-1],
    "turned": np.rot90(IMAGE),
    "turned and mirrored": np.rot90(IMAGE)[::-1],
    "half as large": cv2.resize(IMAGE, (60, 45), interpolation=cv2.INTER_AREA)[..., None],
    "cut by a pixel": IMAGE[1:, 1:],
    "JPEG": cv2.imdecode(JPEG, cv2.IMREAD_UNCHANGED)[..., None],
}


@pytest.mark.parametrize("name", COPIES)
def test_a_copy_is_found(name):
    assert alike(IMAGE, COPIES[name])


def test_other_images_of_one_kind_are_not():
    scenes = [scene(seed) for seed in range(24)]
    xrays = [render(0, index)["image"] for index in range(24)]
    for images in (scenes, xrays):
        thumbnails = np.stack([duplicates.thumbnail(image) for image in images])
        assert duplicates.find_duplicates(thumbnails, ["train", "val"] * 12) == ([], 0)


def test_pairs_across_splits_count_the_most_alike_first(monkeypatch):
    noisy = COPIES["noisy"]
    thumbnails = np.stack([duplicates.thumbnail(image) for image in (IMAGE, noisy, scene(1), IMAGE, noisy)])
    splits = ["train", "train", "val", "test", "val"]
    # With blocks of one, each pair is in a different block.
    for block in (duplicates.BLOCK, 1):
        monkeypatch.setattr(duplicates, "BLOCK", block)
        pairs, number = duplicates.find_duplicates(thumbnails, splits)
        assert number == 5
        assert {tuple(sorted(pair[:2])) for pair in pairs} == {(0, 3), (1, 3), (0, 4), (1, 4), (3, 4)}
        assert {tuple(sorted(pair[:2])) for pair in pairs[:2]} == {(0, 3), (1, 4)}
        assert [pair[2] for pair in pairs] == sorted((pair[2] for pair in pairs), reverse=True)
        assert pairs[0][2] == pytest.approx(1, abs=1e-5)


def test_the_most_alike_of_many_pairs_are_kept(monkeypatch):
    noise = [np.random.default_rng(seed).normal(0, 1 + seed / 5, IMAGE.shape) for seed in range(20)]
    thumbnails = np.stack([duplicates.thumbnail(np.clip(IMAGE + more, 0, 255)) for more in noise])
    every, number = duplicates.find_duplicates(thumbnails, ["train", "val"] * 10)
    assert number == len(every) == 100
    monkeypatch.setattr(duplicates, "MOST", 7)
    for block in (duplicates.BLOCK, 3):
        monkeypatch.setattr(duplicates, "BLOCK", block)
        kept, number = duplicates.find_duplicates(thumbnails, ["train", "val"] * 10)
        assert [pair[:2] for pair in kept] == [pair[:2] for pair in every[:7]]
        assert number == 100


def test_constant_images_are_like_no_other():
    flat = np.full((30, 40, 1), 7, np.uint16)
    assert not duplicates.thumbnail(flat).any()
    assert not alike(flat, flat)
    assert duplicates.find_duplicates(np.zeros((0, 1, 1), np.float32), []) == ([], 0)
