"""Masks that number objects are told from masks of classes."""

import numpy as np
import pytest
from helpers.image_folders import IDS

from unet_jax.data.datasets.image_files import values_in
from unet_jax.data.datasets.instance_labels import are_instances, describe


def squares(numbers, dtype=np.uint8, columns=10, gap=2):
    """Returns a mask with one 4 x 4 square for each number, in rows."""
    pitch = 4 + gap
    mask = np.zeros((-(-len(numbers) // columns) * pitch, columns * pitch), dtype)
    for place, number in enumerate(numbers):
        row, column = (place // columns) * pitch, (place % columns) * pitch
        mask[row : row + 4, column : column + 4] = number
    return mask


def counted(*numbers):
    return [squares(range(1, n + 1)) for n in numbers]


def seem_instances(masks):
    return are_instances([describe(mask, values_in(mask)) for mask in masks])


def layers(number):
    return np.repeat(np.arange(number + 1, dtype=np.uint8), 3)[:, None].repeat(8, 1)


CORNERS = np.kron(np.eye(4, dtype=np.uint8), np.ones((3, 3), np.uint8))


@pytest.mark.parametrize(
    ("masks", "instances"),
    {
        "nuclei": (counted(28, 12, 7), True),
        "few objects": (counted(1, 3, 5, 0), True),
        "two masks": (counted(8, 3), True),
        "one mask": (counted(12), True),
        "the same number in each": (counted(12, 12), True),
        "an object of two pieces joined at a corner": ([CORNERS, *counted(9, 4)], True),
        "one object in ten is missing": ([squares([1, 2, 3, 4, 5, 6, 7, 9, 10, 11]), *counted(9, 4)], True),
        "numbers of 16 bits": ([squares(range(1, 301), np.uint16), *counted(9, 4)], True),
        "numbers of 32 bits": ([squares([*range(1, 21), 22], np.uint32), *counted(9, 4)], True),
        "one mask in ten is unlike": ([squares([1, 2, 2, 3]), *counted(*range(3, 13))], True),
        "two classes": (counted(1, 1, 1), False),
        "three classes, some absent": (counted(1, 2, 3), False),
        "a class is absent": ([squares([2, 3]), *counted(9, 4)], False),
        "classes of several pieces": ([squares([1, 2, 3, 4, 5] * 2), squares([1, 2, 3, 1]), *counted(2)], False),
        "layers that touch": ([layers(9)] * 3, False),
        "void": ([squares([1, 2, 3, 4, 5, 255]), *counted(9, 4)], False),
        "noise": ([np.random.default_rng(0).integers(0, 9, (40, 40)).astype(np.uint8)] * 3, False),
        "nothing": ([np.zeros((4, 4), np.uint8)], False),
    }.values(),
)
def test_instances_are_told_from_classes(masks, instances):
    assert seem_instances(masks) == instances


def test_a_folder_of_instances_is_not_taken_for_classes(folder):
    for id_, number in (("a", 28), ("b", 9), ("c", 5)):
        mask = squares(range(1, number + 1))
        folder.pair(id_, np.zeros_like(mask), mask)
    remedy = r"masks/a\.png: its ids 1\.\.28 .*instances; .*masks=.instances. .*num_classes=29"
    folder.raises(remedy)
    assert len(folder.create(num_classes=29).class_names) == 29
    # So many ids are refused anyway; the reason is the right one, though they have gaps.
    mask = squares(range(4, 90, 3))
    for id_ in "abc":
        folder.pair(id_, np.zeros_like(mask), mask)
    folder.raises(r"masks/a\.png: .*instances; .*num_classes=89")


@pytest.mark.parametrize("last", [300, 65535])
def test_numbers_above_255_are_called_instances(folder, last):
    mask = squares([1, 2, 3, last], np.uint16)
    folder.pair("a", mask.astype(np.uint8), mask)
    folder.raises(rf"masks/a\.png: its 4 values up to {last} .*masks='instances'")
    folder.raises("masks=.instances.", num_classes=3)
    grey = np.random.default_rng(0).integers(0, 9999, IDS.shape).astype(np.uint16)
    folder.pair("a", mask=grey)
    folder.raises(r"masks/a\.png: holds values ")
