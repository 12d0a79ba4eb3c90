"""Metrics: by hand, against a plain NumPy loop, against scikit-image's kin, and absent, void and empty cases."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from unet_jax.evaluation import metrics

NAMES = ("background", "anode", "cathode")


def one_hot(ids, num_classes=3):
    return np.eye(num_classes, dtype=bool)[ids]


def count(predicted, mask, valid=None):
    valid = np.ones(mask.shape[:3], bool) if valid is None else valid
    return metrics.counts(jnp.asarray(predicted), jnp.asarray(mask, jnp.int32), jnp.asarray(valid))


def random_case(num=5, seed=0, overlapping=False):
    rng = np.random.default_rng(seed)
    shape = (num, 6, 7, 3) if overlapping else (num, 6, 7)
    mask = rng.integers(0, 2 if overlapping else 3, shape)
    mask[rng.random((num, 6, 7)) < 0.1] = 255
    predicted = rng.random((num, 6, 7, 3)) < 0.4 if overlapping else one_hot(rng.integers(0, 3, shape))
    # The first image has no pixel of a class.
    mask[0], predicted[0] = (0, False) if overlapping else (0, one_hot(np.zeros((6, 7), int)))
    return predicted, mask, rng.random((num, 6, 7)) < 0.9


def test_by_hand():
    truth = np.array([[[0, 1, 1], [0, 1, 2]]])
    predicted = np.array([[[0, 1, 0], [1, 1, 2]]])
    counts = count(one_hot(predicted), truth)
    np.testing.assert_array_equal(counts["tp"], [[1, 2, 1]])
    np.testing.assert_array_equal(counts["fp"], [[1, 1, 0]])
    np.testing.assert_array_equal(counts["fn"], [[1, 1, 0]])
    summary = metrics.summarize(counts, NAMES)
    assert summary["iou_pooled/background"] == pytest.approx(1 / 3)
    assert summary["iou_pooled/anode"] == summary["iou_image/anode"] == pytest.approx(2 / 4)
    assert summary["dice_pooled/anode"] == pytest.approx(4 / 6)
    # The background is not a reported class.
    assert summary["iou_pooled/mean"] == pytest.approx((2 / 4 + 1) / 2)
    assert summary["pixel_accuracy"] == pytest.approx(4 / 6)
    assert metrics.summarize(counts, NAMES, ("anode",))["iou_pooled/mean"] == pytest.approx(2 / 4)


def test_pooled_is_not_the_mean_over_images():
    truth = np.array([[[1, 1, 1, 1]], [[0, 0, 0, 1]]])
    predicted = np.array([[[1, 1, 1, 1]], [[0, 0, 0, 0]]])
    summary = metrics.summarize(count(one_hot(predicted), truth), NAMES)
    assert summary["iou_pooled/anode"] == pytest.approx(4 / 5)
    assert summary["iou_image/anode"] == pytest.approx(1 / 2)


def test_absent_is_nan_invented_is_0_mean_is_of_the_present():
    truth = np.array([[[0, 0, 1]], [[0, 0, 0]], [[0, 0, 0]]])
    predicted = np.array([[[0, 0, 1]], [[0, 0, 0]], [[0, 1, 0]]])
    counts = count(one_hot(predicted), truth)
    np.testing.assert_array_equal(metrics.ratios(counts)["iou"][:, 1], [1, np.nan, 0])
    summary = metrics.summarize(counts, NAMES)
    assert summary["iou_image/anode"] == pytest.approx(1 / 2)
    assert np.isnan(summary["iou_pooled/cathode"])
    assert np.isnan(summary["dice_image/cathode"])
    assert summary["iou_pooled/mean"] == summary["iou_pooled/anode"] == pytest.approx(1 / 2)


@pytest.mark.parametrize("overlapping", [False, True])
def test_a_plain_loop_agrees(overlapping):
    predicted, mask, valid = random_case(overlapping=overlapping)
    counts = count(predicted, mask, valid)
    loop = {name: np.zeros((len(mask), 3), int) for name in ("tp", "fp", "fn")}
    loop |= {"correct": np.zeros(len(mask), int), "total": np.zeros(len(mask), int)}
    for b, y, x in np.ndindex(mask.shape[:3]):
        pixel = mask[b, y, x]
        if not valid[b, y, x] or np.any(pixel == 255):
            continue
        right = True
        for k in range(3):
            true, said = (pixel[k] == 1 if overlapping else pixel == k), predicted[b, y, x, k]
            loop["tp"][b, k] += true and said
            loop["fp"][b, k] += said and not true
            loop["fn"][b, k] += true and not said
            right = right and true == said
        loop["correct"][b] += right
        loop["total"][b] += 1
    for name in metrics.COUNTS:
        np.testing.assert_array_equal(counts[name], loop[name], err_msg=name)
    summary = metrics.summarize(counts, NAMES)
    for k, name in enumerate(NAMES):
        tp, fp, fn = (loop[c][:, k] for c in ("tp", "fp", "fn"))
        assert summary[f"iou_pooled/{name}"] == pytest.approx(tp.sum() / (tp + fp + fn).sum())
        per_image = [2 * t / (2 * t + p + n) for t, p, n in zip(tp, fp, fn, strict=True) if t + p + n]
        assert summary[f"dice_image/{name}"] == pytest.approx(np.mean(per_image))
    # The empty image was left out.
    assert len(per_image) == len(mask) - 1


def test_merging_is_adding_and_stacking():
    predicted, mask, valid = random_case()
    whole = count(predicted, mask, valid)
    parts = [count(predicted[s], mask[s], valid[s]) for s in (slice(0, 2), slice(2, 5))]
    stacked = jax.tree.map(lambda *x: np.concatenate(x), *parts)
    assert metrics.summarize(stacked, NAMES) == metrics.summarize(whole, NAMES)
    added = jax.tree.map(lambda a, b: a + b, *[metrics.pool(part) for part in parts])
    pooled = metrics.summarize_pooled(added, NAMES)
    assert pooled == {name: metrics.summarize(whole, NAMES)[name] for name in pooled}
    assert {"iou_pooled/mean", "dice_pooled/cathode", "pixel_accuracy"} <= pooled.keys()


def test_one_channel_is_class_id_one():
    counts = count(np.array([[[[True], [True], [False]]]]), np.array([[[1, 0, 1]]]))
    assert [int(counts[name].squeeze()) for name in metrics.COUNTS] == [1, 1, 1, 1, 3]
    assert metrics.summarize(counts, ("plate",))["iou_pooled/mean"] == pytest.approx(1 / 3)


def test_valid_padding_scores_the_middle():
    mask = np.zeros((1, 6, 8), int)
    mask[:, 2:4, 2:6] = 1
    counts = count(one_hot(np.ones((1, 2, 4), int)), mask)
    np.testing.assert_array_equal(counts["tp"], [[0, 8, 0]])
    np.testing.assert_array_equal(counts["total"], [8])


def test_large_sums_are_exact():
    # 25 million pixels: beyond what float32 counts one by one.
    size = 5000
    sums = {name: np.full((200, 1), size**2 + 1, np.int32) for name in ("tp", "fp", "fn")}
    sums |= {"correct": np.full(200, size**2 + 1, np.int32), "total": np.full(200, 2 * size**2 + 2, np.int32)}
    assert metrics.pool(sums)["tp"].tolist() == [200 * (size**2 + 1)]
    assert metrics.summarize(sums, ("plate",))["pixel_accuracy"] == 0.5
