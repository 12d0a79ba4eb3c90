"""Calibration: by hand, against plain loops, void pixels, and sums over parts."""

import numpy as np
import pytest

from unet_jax.evaluation import calibration
from unet_jax.segmentation import to_masks


def random_case(activation, seed=0, size=(9, 11), num_classes=3):
    """Returns probabilities and a mask with void pixels; with sigmoid the masks overlap."""
    rng = np.random.default_rng(seed)
    probabilities = rng.uniform(0.05, 1, (*size, num_classes)) ** 3
    if activation == "softmax":
        probabilities /= probabilities.sum(-1, keepdims=True)
        mask = rng.integers(0, num_classes, size)
    else:
        mask = rng.integers(0, 2, (*size, num_classes))
    mask[rng.random(size) < 0.1] = 255
    return probabilities.astype(np.float32), mask


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_a_plain_loop_agrees(activation):
    probabilities, mask = random_case(activation)
    rows = []
    for y, x in np.ndindex(mask.shape[:2]):
        p, truth = probabilities[y, x].astype(float), mask[y, x]
        if np.any(truth == 255):
            continue
        if activation == "softmax":
            squared = sum((p[k] - (truth == k)) ** 2 for k in range(3))
            rows.append((p.max(), p.argmax() == truth, squared, -np.log(p[truth])))
        else:
            for k in range(3):
                of_truth = p[k] if truth[k] else 1 - p[k]
                rows.append((max(p[k], 1 - p[k]), (p[k] >= 0.5) == truth[k], (p[k] - truth[k]) ** 2, -np.log(of_truth)))
    confidence, right, squared, surprise = (np.array(column, float) for column in zip(*rows, strict=True))
    ece = 0
    for low in range(15):
        inside = (confidence >= low / 15) & (confidence < (low + 1) / 15)
        if inside.any():
            ece += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    count = calibration.counts(probabilities, mask, activation)
    assert count["bin_predictions"].sum() == len(rows) < mask.size
    scored = calibration.scores(count)
    assert scored["ece"] == pytest.approx(ece)
    assert scored["brier"] == pytest.approx(squared.mean())
    assert scored["nll"] == pytest.approx(surprise.mean())


def test_what_is_sure_and_right_scores_0_and_what_is_sure_and_wrong_is_finite():
    mask = np.array([[0, 1]])
    sure = np.eye(2, dtype=np.float32)[mask]
    for name, value in calibration.scores(calibration.counts(sure, mask, "softmax")).items():
        assert value == 0, name
    wrong = calibration.scores(calibration.counts(sure, 1 - mask, "softmax"))
    assert (wrong["ece"], wrong["brier"]) == (1, 2)
    assert wrong["nll"] == pytest.approx(-np.log(1e-7))
    # The same masks as overlapping classes.
    wrong = calibration.scores(calibration.counts(sure, np.eye(2)[1 - mask], "sigmoid"))
    assert (wrong["ece"], wrong["brier"]) == (1, 1)


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_counts_of_rows_and_images_add_up(activation):
    probabilities, mask = random_case(activation, size=(12, 10))
    whole = calibration.counts(probabilities, mask, activation)
    parts = [calibration.counts(probabilities[rows], mask[rows], activation) for rows in (slice(0, 5), slice(5, 12))]
    for name in calibration.COUNTS:
        np.testing.assert_allclose(parts[0][name] + parts[1][name], whole[name], rtol=1e-12)
    stacked = calibration.scores({name: np.stack([part[name] for part in parts]) for name in calibration.COUNTS})
    assert stacked["ece"].tolist() == [calibration.scores(part)["ece"] for part in parts]
    assert len(set(stacked["nll"])) == 2


def test_void_alone_is_nan():
    count = calibration.counts(np.full((2, 2, 3), 1 / 3), np.full((2, 2), 255), "softmax")
    assert all(np.isnan(value) for value in calibration.scores(count).values())
    confidence, right, share = calibration.reliability(count)
    assert np.isnan(confidence).all()
    assert np.isnan(right).all()
    assert share.sum() == 0


def test_the_reliability_of_each_bin():
    # Bins 13 (0.9) and 9 (0.65): 3 of 4 and 1 of 2 are right.
    p = np.array([[0.9, 0.9, 0.9, 0.9, 0.65, 0.65]])
    count = calibration.counts(p[..., None], np.array([[[1], [1], [1], [0], [1], [0]]]).reshape(1, 6, 1), "sigmoid")
    confidence, right, share = calibration.reliability(count)
    known = ~np.isnan(right)
    assert np.flatnonzero(known).tolist() == [9, 13]
    assert confidence[known] == pytest.approx([0.65, 0.9])
    assert right[known].tolist() == [0.5, 0.75]
    assert share[known] == pytest.approx([2 / 6, 4 / 6])


def test_probabilities_that_are_frequencies_have_a_small_error():
    rng = np.random.default_rng(0)
    p = rng.random((300, 300, 1))
    truth = (rng.random(p.shape) < p).astype(int)
    assert calibration.scores(calibration.counts(p, truth, "sigmoid"))["ece"] < 0.01
    # Surer than it is right, with the same masks.
    sure = p**2 / (p**2 + (1 - p) ** 2)
    np.testing.assert_array_equal(to_masks(sure, "sigmoid")[0], to_masks(p, "sigmoid")[0])
    assert calibration.scores(calibration.counts(sure, truth, "sigmoid"))["ece"] > 0.05
