"""Scores of all images but one against scores of the images that are left, with classes that images lack."""

import numpy as np
import pytest

from unet_jax.evaluation import jackknife, metrics

NAMES = ("background", "anode", "cathode")


def some_counts(num_images=5, seed=0):
    rng = np.random.default_rng(seed)
    count = {name: rng.integers(1, 50, (num_images, 3)) for name in jackknife.COUNTS}
    for values in count.values():
        # Only one image has the third class.
        values[:4, 2] = 0
    return count


def of_images(count, chosen):
    """Returns the scores of some images as an evaluation has them."""
    drawn = {name: values[chosen] for name, values in count.items()}
    drawn |= {name: np.zeros(len(chosen), int) for name in ("correct", "total")}
    return metrics.summarize(drawn, NAMES, ("anode", "cathode"))


@pytest.mark.parametrize("metric", ["iou", "dice"])
@pytest.mark.parametrize(
    ("groups", "units"),
    [(None, [[0], [1], [2], [3], [4]]), (["b", "a", "a", "c", "b"], [[1, 2], [0, 4], [3]])],
)
def test_what_is_left_is_scored_as_its_images_would_be(metric, groups, units):
    counts = [some_counts(seed=seed) for seed in range(2)]
    reported = [{name: values[:, 1:] for name, values in count.items()} for count in counts]
    for kind, scores in jackknife.leave_one_out(reported, metric, groups).items():
        for run, count in enumerate(counts):
            assert scores.score[run] == pytest.approx(of_images(count, np.arange(5))[f"{metric}_{kind}/mean"])
            for place, unit in enumerate(units):
                rest = [image for image in range(5) if image not in unit]
                assert scores.without[place, run] == pytest.approx(of_images(count, rest)[f"{metric}_{kind}/mean"])


def test_pseudo_values_of_a_mean_are_the_images():
    count = {name: values[:, :2] for name, values in some_counts().items()}
    scores = jackknife.leave_one_out([count], "iou")["image"]
    assert scores.pseudo_values(scores.share > 0)[:, 0] == pytest.approx(metrics.ratios(count)["iou"].mean(1))
    assert scores.share == pytest.approx(np.full(5, 0.2))


def test_shares_are_those_of_the_pixels_and_of_the_images():
    count = {
        "tp": np.array([[6, 0], [1, 3], [0, 0]]),
        "fp": np.zeros((3, 2), int),
        "fn": np.array([[0, 0], [1, 1], [0, 0]]),
    }
    scores = jackknife.leave_one_out([count], "iou")
    # First class: 6 and 2 of 8 pixels; second class: all 4 in the second image. The third image has none.
    assert scores["pooled"].share == pytest.approx([6 / 8 / 2, (2 / 8 + 1) / 2, 0])
    assert scores["image"].share == pytest.approx([1 / 2 / 2, (1 / 2 + 1) / 2, 0])
    # A class that no image shows does not count.
    wider = {name: np.pad(values, ((0, 0), (0, 1))) for name, values in count.items()}
    for kind, same in jackknife.leave_one_out([wider], "iou").items():
        assert same.share == pytest.approx(scores[kind].share)
    absent = {name: np.zeros((4, 3), int) for name in jackknife.COUNTS}
    nothing = jackknife.leave_one_out([absent], "iou")["image"]
    assert np.isnan(nothing.score).all()
    assert nothing.share.tolist() == [0] * 4
    assert nothing.known_runs().score.size == 0


def test_counts_come_back_from_rows():
    count = some_counts()
    rows = [
        {f"{name}/{c}": int(values[i, k]) for name, values in count.items() for k, c in enumerate(NAMES)}
        for i in range(5)
    ]
    for name, values in jackknife.counts(rows, NAMES).items():
        np.testing.assert_array_equal(values, count[name])


def test_scores_of_images_are_left_out_by_groups():
    """Means over images, as `leave_one_out` has them of counts; an image without a score counts nowhere."""
    count = {name: values[:, :1].copy() for name, values in some_counts().items()}
    groups = ["a", "a", "b", "c", "c"]
    for values in count.values():
        values[3] = 0
    expected = jackknife.leave_one_out([count], "iou", groups)["image"]
    found = jackknife.of_images(metrics.ratios(count)["iou"].T, groups)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other)
