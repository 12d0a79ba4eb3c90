"""Plates of made stacks: their number, kind, order, tips and overhang, however the image lies."""

import numpy as np
import pytest

from unet_jax.data.datasets.electrodes.render import CLASS_NAMES, render
from unet_jax.inference.views import VIEWS
from unet_jax.measurement.plates.find import find_plates, frame
from unet_jax.measurement.plates.overhangs import overhangs

CHANNELS = (1, 2)


def one_hot(ids, num_classes=3):
    return np.eye(num_classes, dtype=np.float32)[ids]


def find(ids, num_classes=3, stack=None):
    """Returns the plates of class ids, and the image of their numbers."""
    masks = one_hot(ids, num_classes) > 0
    found = find_plates(masks, masks, CHANNELS, stack)
    return found.plates, found.labels


def stack(ends, thickness=4, gap=3, size=(64, 80)):
    """Returns ids of bars from the left border; anodes and cathodes in turn, with these last columns."""
    ids = np.zeros(size, np.uint8)
    for place, end in enumerate(ends):
        top = 4 + place * (thickness + gap)
        ids[top : top + thickness, : end + 1] = 1 + place % 2
    return ids


def test_bars_have_the_numbers_they_were_drawn_with():
    plates, labels = find(stack([50, 40, 52, 41]))
    assert [plate.kind for plate in plates] == [0, 1, 0, 1]
    # A bar of whole pixels ends half a pixel after the centre of the last one.
    assert [plate.reach for plate in plates] == [50.5, 40.5, 52.5, 41.5]
    for plate, tip in zip(plates, [(50.5, 5.5), (40.5, 12.5), (52.5, 19.5), (41.5, 26.5)], strict=True):
        assert plate.tip == pytest.approx(tip)
    assert [(plate.thickness, plate.length, plate.area) for plate in plates[:2]] == [(4, 51, 204), (4, 41, 164)]
    assert [tuple(pair) for pair in overhangs(plates)] == [(0, 1, 10.0), (2, 1, 12.0), (2, 3, 11.0)]
    assert (np.unique(labels) == np.arange(5)).all()


def test_a_blurred_end_is_found_to_a_fraction_of_a_pixel():
    probabilities = one_hot(stack([50, 40]))
    probabilities[4:8, 51] = (0.7, 0.3, 0)
    plates = find_plates(one_hot(probabilities.argmax(-1)) > 0, probabilities, CHANNELS).plates
    # From 1 to 0.3 the profile falls to half at 5/7 of the way.
    assert plates[0].reach == pytest.approx(50 + 0.5 / 0.7)


@pytest.mark.parametrize("view", VIEWS["all"], ids=str)
def test_the_image_may_lie_in_any_way(view):
    ids = stack([50, 40, 52, 41])
    plates, _ = find(view.apply(ids))
    assert sorted(plate.reach for plate in plates) == [40.5, 41.5, 50.5, 52.5]
    seen = view.apply(np.arange(ids.size).reshape(ids.shape))
    for plate in plates:
        # The pixel at the tip is the end of a bar.
        x, y = (int(np.floor(value + 0.25)) for value in plate.tip)
        row, column = np.unravel_index(seen[y, x], ids.shape)
        assert abs(column + 0.5 - plate.reach) <= 1
        assert ids[row, min(column, int(plate.reach))] == plate.kind + 1
    assert sorted(pair.distance for pair in overhangs(plates)) == [10, 11, 12]


def test_pieces_of_a_plate_are_one_plate():
    ids = stack([50, 40, 52])
    ids[:, 20:26] = 0
    plates, labels = find(ids)
    assert [plate.reach for plate in plates] == [50.5, 40.5, 52.5]
    assert labels[5, 10] == labels[5, 40] == 1


def test_a_speck_is_no_plate():
    ids = stack([50, 40, 52])
    ids[40:43, 60:64] = 1
    assert len(find(ids)[0]) == 3


def test_a_tip_that_is_not_in_the_image_is_none():
    ids = stack([79, 40])
    ids[:2, :30] = 2
    plates, _ = find(ids)
    # The first one is cut by the upper border, the second one by the right one.
    assert [plate.reach for plate in plates] == [None, None, 40.5]
    assert [plate.tip for plate in plates][:2] == [None, None]
    assert overhangs(plates) == []


def test_plates_come_out_of_the_stack_class():
    ids = stack([50, 40, 52], size=(30, 80))
    ids[:, :30] = 3
    ids = ids[:, ::-1]
    assert frame(np.isin(ids, CHANNELS), ids == 3).left_right
    plates, _ = find(ids, 4, stack=3)
    assert [plate.reach for plate in plates] == [50.5, 40.5, 52.5]


def test_no_plate():
    plates, labels = find(np.zeros((8, 9), np.uint8))
    assert plates == []
    assert labels.shape == (8, 9)


def test_true_masks_of_the_synthetic_x_rays():
    """Numbers are exact, and the overhang is that of the generator to half a pixel."""
    errors = []
    for index in range(12):
        truth = render(0, index)
        plates, _ = find(truth["mask"])
        true = [plate["kind"] for plate in truth["plates"]]
        assert [CLASS_NAMES[1 + plate.kind] for plate in plates] == true
        if any(plate["folded"] for plate in truth["plates"]):
            continue
        outward = -1 if frame(truth["mask"] > 0).left_right else 1
        for pair in overhangs(plates):
            ends = [truth["plates"][place]["end_position"][0] for place in (pair.anode, pair.cathode)]
            errors.append(abs(pair.distance - outward * (ends[0] - ends[1])))
    assert len(errors) > 50
    assert np.mean(errors) < 0.5
