"""Estimates over seeds and images, and p values, in cases whose answers are known."""

import itertools

import numpy as np
import pytest
from helpers.compared_runs import some_counts

from unet_jax.analysis.compare import estimate
from unet_jax.evaluation import metrics
from unet_jax.evaluation.intervals import DIFFERENCE, mean_interval
from unet_jax.evaluation.jackknife import LeftOut, leave_one_out


def counted(seed, num_images=20):
    return {kind: values[:, 1:] for kind, values in some_counts(num_images, seed).items()}


def equal_images(*scores, num_images=20):
    """Returns counts of one class: every image of a seed has the same score."""
    return [
        {
            "tp": np.full((num_images, 1), tp),
            "fp": np.full((num_images, 1), 100 - tp),
            "fn": np.zeros((num_images, 1), int),
        }
        for tp in scores
    ]


def test_one_seed_has_the_interval_of_its_images():
    count = {kind: values[:, :2] for kind, values in some_counts(20, 0).items()}
    found = estimate.estimate(leave_one_out([count], "iou")["image"])
    values = metrics.ratios(count)["iou"].mean(1)
    assert found.mean == pytest.approx(values.mean())
    assert (found.low, found.high) == pytest.approx(mean_interval(values))
    assert np.isnan(found.std)
    # A pooled score of images of one size is a mean over them.
    same = {"tp": np.arange(10, 30)[:, None], "fp": 100 - np.arange(10, 30)[:, None], "fn": np.zeros((20, 1), int)}
    pooled = estimate.estimate(leave_one_out([same], "iou")["pooled"])
    assert (pooled.low, pooled.high) == pytest.approx(mean_interval(same["tp"][:, 0] / 100))


def test_seeds_and_images_are_crossed():
    """Three equal seeds give the interval of one seed."""
    one, three = (estimate.estimate(leave_one_out([counted(0)] * num, "iou")["pooled"]) for num in (1, 3))
    assert (three.low, three.high) == pytest.approx((one.low, one.high))
    assert three.std == 0
    # With equal images, the interval is that of the seeds.
    spread = estimate.estimate(leave_one_out(equal_images(50, 60, 80), "iou")["image"])
    assert (spread.low, spread.high) == pytest.approx(mean_interval([0.5, 0.6, 0.8]))
    assert spread.std == pytest.approx(np.std([0.5, 0.6, 0.8], ddof=1))


def test_pooled_scores_are_held():
    """Images whose numbers of pixels differ by the factor 4 and more, and are larger where the score is low."""
    rng = np.random.default_rng(0)

    def draw(*shape):
        score = rng.beta(22, 4.2, shape)
        union = np.round(1000 * rng.lognormal(0, 0.7, shape) * (1.5 - score)).astype(int) + 1
        tp = np.round(score * union).astype(int)
        return {"tp": tp, "fp": union - tp, "fn": np.zeros_like(tp)}

    many = draw(100_000)
    true = many["tp"].sum() / (many["tp"] + many["fp"]).sum()
    samples = draw(400, 10, 1)
    held = 0
    for index in range(400):
        count = {name: values[index] for name, values in samples.items()}
        found = estimate.estimate(leave_one_out([count], "iou")["pooled"])
        held += found.low <= true <= found.high
    assert held >= 0.92 * 400


def test_groups_are_the_units():
    """With every image three times, groups of the copies give the interval of the images."""
    count = counted(0)
    copies = {kind: np.repeat(values, 3, 0) for kind, values in count.items()}
    one, grouped, single = (
        estimate.estimate(leave_one_out([each], "iou", groups)["pooled"])
        for each, groups in ((count, None), (copies, np.repeat(np.arange(20), 3)), (copies, None))
    )
    assert (grouped.low, grouped.high) == pytest.approx((one.low, one.high))
    assert single.high - single.low < 0.7 * (one.high - one.low)


def test_a_difference_of_the_same_seeds_is_that_of_each():
    first, second = (leave_one_out(equal_images(*scores), "iou")["image"] for scores in ((20, 50, 80), (21, 51, 81)))
    assert estimate.difference(first, second, same_seeds=True) == pytest.approx((0.01,) * 3)
    # Other seeds: the variances of the two means add up, each with 2 degrees of freedom.
    mean, low, high = estimate.difference(first, second, same_seeds=False)
    assert mean == pytest.approx(0.01)
    reach = 2.776445 * (2 * 0.3**2 / 3) ** 0.5 / (1 - 0.01**2)
    assert np.arctanh([low, high]) == pytest.approx(np.arctanh(0.01) + reach * np.array([-1, 1]))
    assert low < mean < high


def test_a_difference_is_paired_by_image():
    first, second = counted(0), counted(1)
    scores = [leave_one_out([count], "iou")["image"] for count in (first, second)]
    paired = estimate.difference(*scores, same_seeds=True)
    values = scores[1].pseudo_values(np.ones(20, bool)) - scores[0].pseudo_values(np.ones(20, bool))
    assert paired[1:] == pytest.approx(mean_interval(values[:, 0], bounds=DIFFERENCE), abs=1e-3)
    # With one seed it does not matter whether it is the same.
    assert estimate.difference(*scores, same_seeds=False) == pytest.approx(paired)
    # Of other images the variances add up.
    apart = estimate.difference(*scores, same_seeds=True, same_images=False)
    assert apart[0] == paired[0]
    widths = [found.high - found.low for found in map(estimate.estimate, scores)]
    assert apart[2] - apart[1] == pytest.approx(np.hypot(*widths), rel=0.05)


def test_the_gap_of_two_splits_is_that_of_each_seed():
    train, val = (
        leave_one_out(equal_images(*scores, num_images=n), "iou")["image"]
        for scores, n in (((60, 80), 8), ((50, 60), 6))
    )
    found = estimate.gap(train, val)
    assert found.by_seed == pytest.approx([0.1, 0.2])
    assert found.mean == pytest.approx(0.15)
    assert found.std == pytest.approx(np.std([0.1, 0.2], ddof=1))
    assert (found.low, found.high) == pytest.approx(mean_interval([0.1, 0.2], bounds=DIFFERENCE))


def test_what_has_no_interval():
    nothing = {name: np.zeros((4, 1), int) for name in ("tp", "fp", "fn")}
    one = {name: np.array([[value], [0], [0], [0]]) for name, value in (("tp", 5), ("fp", 5), ("fn", 0))}
    for count in (nothing, one):
        scores = leave_one_out([count], "iou")["pooled"]
        assert np.isnan(estimate.estimate(scores)[2:4]).all()
        assert np.isnan(estimate.difference(scores, scores, same_seeds=True)[1:]).all()
        assert estimate.spread_of_difference(scores, scores, same_seeds=False) is None
    # A seed without a score is left out.
    half = LeftOut(np.array([0.5, np.nan]), np.array([[0.4, np.nan], [0.6, np.nan]]), np.array([0.5, 0.5]))
    known = estimate.estimate(half)
    assert known.mean == 0.5
    assert known.by_seed == pytest.approx([0.5, np.nan], nan_ok=True)
    assert (known.low, known.high) == pytest.approx(mean_interval([0.4, 0.6]))


def test_images_of_one_group_change_their_sign_together():
    first, second = np.random.default_rng(0).uniform(size=(2, 7))
    second[3] = np.nan
    groups = ["b", "a", "a", "c", "b", "c", "d"]
    sums = np.array(
        [sum((second - first)[[i for i, g in enumerate(groups) if g == name and i != 3]]) for name in "abcd"]
    )
    flipped = np.array([abs(sums @ signs) for signs in itertools.product((1, -1), repeat=4)])
    assert estimate.p_value(first, second, groups) == pytest.approx((flipped >= abs(sums.sum()) - 1e-12).mean())
    assert estimate.p_value(first, second, list("abcdefg")) == estimate.p_value(first, second)
    assert np.isnan(estimate.p_value(first, second, ["a"] * 7))


def test_p_values_of_what_cannot_be_tested():
    assert np.isnan(estimate.p_value(np.array([0.5, np.nan]), np.array([0.6, 0.7])))
    assert estimate.p_value(np.full(9, 0.5), np.full(9, 0.5)) == 1
    first = np.random.default_rng(0).uniform(size=40)
    assert estimate.p_value(first, first + 0.01) == pytest.approx(2 / (estimate.PERMUTATIONS + 1))
    # The largest is no smaller than the one before it.
    corrected = estimate.holm([0.03, np.nan, 0.01, 0.04])
    assert corrected == pytest.approx([0.06, np.nan, 0.03, 0.06], nan_ok=True)
