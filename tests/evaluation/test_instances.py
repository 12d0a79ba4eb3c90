"""Scores of objects: by hand, with ties, void and empty images, and against StarDist's own code."""

import numpy as np
import pytest
from helpers.label_pairs import label_pairs
from helpers.oracles import oracle

from unet_jax.errors import UserError
from unet_jax.evaluation import instances
from unet_jax.evaluation.instances import THRESHOLDS


def score(true, predicted, valid=None):
    return instances.scores(instances.counts(np.array(true), np.array(predicted), valid))


def stacked(pairs):
    counted = [instances.counts(*pair) for pair in pairs]
    return {name: np.stack([count[name] for count in counted]) for name in instances.COUNTS}


# Found with 3 of 4 pixels, missed, and found with 5 of 6; one is invented.
TRUE = np.array([[3, 3, 3, 3, 0, 8, 8, 0, 5, 5, 5, 5, 5, 0, 0]])
PREDICTED = np.array([[2, 2, 2, 0, 0, 0, 0, 0, 9, 9, 9, 9, 9, 9, 1]])


def test_by_hand():
    count = instances.counts(TRUE, PREDICTED)
    # 0.75 is a match up to 0.75, 5/6 up to 0.8.
    assert count["tp"].tolist() == [2, 2, 2, 2, 2, 2, 1, 0, 0, 0]
    assert count["fp"].tolist() == count["fn"].tolist() == [1, 1, 1, 1, 1, 1, 2, 3, 3, 3]
    scored = instances.scores(count)
    assert scored["precision"][0] == scored["recall"][0] == scored["f1"][0] == pytest.approx(2 / 3)
    assert scored["ap"][0] == 2 / 4
    assert scored["sq"][0] == pytest.approx((3 / 4 + 5 / 6) / 2)
    assert scored["pq"][0] == pytest.approx((3 / 4 + 5 / 6) / 3)
    assert scored["seg"] == pytest.approx((3 / 4 + 0 + 5 / 6) / 3)
    # Intersections 3 + 5; unions 4 + 6, the missed object 2 and the invented one 1.
    assert scored["aji"] == pytest.approx(8 / 13)
    named = instances.by_name(scored)
    assert named["ap"] == pytest.approx((6 * 2 / 4 + 1 / 5) / 10)
    assert (named["ap50"], named["ap80"], named["ap85"]) == (2 / 4, 1 / 5, 0)


def test_pairs_have_the_numbers_of_the_images():
    true, predicted, iou = instances.matches(instances.overlaps(TRUE, PREDICTED), 0.5)
    assert (true.tolist(), predicted.tolist()) == ([3, 5], [2, 9])
    assert iou == pytest.approx([3 / 4, 5 / 6])
    true, _, _ = instances.matches(instances.overlaps(TRUE, PREDICTED), 0.8)
    assert true.tolist() == [5]


@pytest.mark.parametrize("swapped", [False, True])
def test_of_two_halves_the_smaller_number_matches(swapped):
    whole, halves = np.array([[4, 4, 4, 4, 0]]), np.array([[7, 7, 6, 6, 0]])
    pair = (halves, whole) if swapped else (whole, halves)
    true, predicted, iou = instances.matches(instances.overlaps(*pair), 0.5)
    assert (true.tolist(), predicted.tolist(), iou.tolist()) == (([6], [4], [0.5]) if swapped else ([4], [6], [0.5]))
    count = instances.counts(*pair)
    assert count["tp"].tolist() == [1] + [0] * 9
    extra, none = ("fn", "fp") if swapped else ("fp", "fn")
    assert (count[extra][0], count[none][0]) == (1, 0)


@pytest.mark.parametrize(("shared", "union"), [(11, 20), (3, 5), (13, 20), (7, 10), (3, 4), (9, 10), (19, 20)])
def test_an_iou_at_the_threshold_is_a_match(shared, union):
    """Of the same fraction of any size."""
    threshold = shared / union
    assert threshold in THRESHOLDS
    for scale in (1, 3, 7, 9973):
        true, predicted = np.zeros((2, scale * union), int)
        true[:], predicted[: scale * shared] = 1, 1
        matched = instances.counts(true, predicted)["tp"]
        assert matched.tolist() == [int(t <= threshold) for t in THRESHOLDS]
        predicted[0] = 0
        assert instances.counts(true, predicted)["tp"][THRESHOLDS.index(threshold)] == 0


def test_empty_images():
    empty, one = np.zeros((3, 4), int), np.pad(np.ones((1, 2), int), 1)
    neither, missed, invented = score(empty, empty), score(one, empty), score(empty, one)
    names = ("precision", "recall", "f1", "ap", "sq", "pq")
    for name in names:
        assert np.isnan(neither[name]).all()
        assert (missed[name] == 0).all()
        assert (invented[name] == 0).all()
    assert np.isnan(neither["aji"])
    assert missed["aji"] == invented["aji"] == missed["seg"] == 0
    # There is no true object.
    assert np.isnan(neither["seg"])
    assert np.isnan(invented["seg"])


def test_an_image_without_objects_is_left_out_and_one_without_finds_is_not():
    empty = np.zeros((1, 15), int)
    alone = instances.summarize(stacked([(TRUE, PREDICTED)]))
    with_nothing = instances.summarize(stacked([(TRUE, PREDICTED), (empty, empty)]))
    with_missed = instances.summarize(stacked([(TRUE, PREDICTED), (TRUE, empty)]))
    assert with_nothing == alone
    for name in ("ap_image", "f1_image", "sq_image", "pq_image", "seg_image", "aji_image"):
        assert with_missed[name] == pytest.approx(alone[name] / 2)
    assert with_missed["ap50_pooled"] == 2 / 7
    # The mean IoU of the pairs does not change.
    assert with_missed["sq_pooled"] == alone["sq_pooled"]
    assert with_missed["seg_pooled"] == pytest.approx(alone["seg_pooled"] / 2)
    assert with_missed["aji_pooled"] == pytest.approx(8 / (13 + 11))


def test_void_pixels_count_nowhere():
    valid = np.ones_like(TRUE, bool)
    # The missing pixel of the first object, the missed object, the invented one and the sixth pixel of number 9.
    valid[0, [3, 5, 6, 13, 14]] = False
    count = instances.counts(TRUE, PREDICTED, valid)
    assert count["tp"].tolist() == [2] * 10
    assert (count["fp"] == 0).all()
    assert (count["fn"] == 0).all()
    scored = instances.scores(count)
    assert scored["pq"].tolist() == [1] * 10
    assert scored["seg"] == scored["aji"] == 1


def test_an_unmatched_object_is_left_out_where_more_than_half_is_void():
    true, predicted = np.array([[1, 1, 0, 0, 0, 0, 0]]), np.array([[1, 1, 0, 2, 2, 2, 2]])
    for num_void, num_wrong in ((0, 1), (2, 1), (3, 0), (4, 0)):
        valid = np.arange(7)[None] < 7 - num_void
        count = instances.counts(true, predicted, valid)
        assert (count["fp"] == num_wrong).all()
        assert count["aji_union"] == 2 + num_wrong * (4 - num_void)
    # A matched one counts, however much of it is void.
    one = np.array([[1, 1, 1]])
    count = instances.counts(one, one, np.array([[False, False, True]]))
    assert (count["tp"].tolist(), count["fp"].tolist()) == ([1] * 10, [0] * 10)


def test_aji_takes_the_best_partner_and_adds_the_rest():
    """A true object of 6 pixels overlaps predicted ones of 4 and 2 inside it; one of 3 overlaps none."""
    true = np.array([[1, 1, 1, 1, 1, 1, 0, 2, 2, 2]])
    predicted = np.array([[5, 5, 5, 5, 3, 3, 0, 0, 0, 0]])
    # 4 of 6, then the unused 2 and the missed 3.
    assert score(true, predicted)["aji"] == 4 / (6 + 2 + 3)
    # Of equal partners the smaller number: 3 of 9 by number 3, and not 4 of 12 by number 5, which adds its 8.
    true, predicted = np.array([[1] * 8 + [0] * 5]), np.array([[3] * 3 + [5] * 4 + [0] + [3] + [5] * 4])
    assert score(true, predicted)["aji"] == 3 / (9 + 8)
    # One predicted object for two true ones is taken by both.
    assert score([[1, 1, 2, 2, 2]], [[4, 4, 4, 4, 4]])["aji"] == (2 + 3) / (5 + 5)


def test_seg_asks_for_more_than_half_of_the_true_object():
    assert score([[1, 1, 1, 1, 0]], [[3, 3, 0, 0, 0]])["seg"] == 0
    assert score([[1, 1, 1, 1, 0]], [[3, 3, 3, 0, 0]])["seg"] == 3 / 4
    # One predicted object may cover two true ones; an invented one costs nothing.
    assert score([[1, 1, 2, 2, 0, 0]], [[4, 4, 4, 4, 0, 6]])["seg"] == 2 / 4


def test_numbers_do_not_matter_and_may_be_large():
    rng = np.random.default_rng(0)
    for true, predicted in label_pairs(5):
        names = rng.permutation(2000) + 2**31
        renamed = [np.where(image > 0, names[image], 0).astype(np.uint32) for image in (true, predicted)]
        large, small = instances.counts(*renamed), instances.counts(true, predicted)
        for name in ("tp", "fp", "fn", "num_true"):
            np.testing.assert_array_equal(large[name], small[name])


def test_images_that_do_not_fit_are_refused():
    one = np.ones((2, 3), int)
    with pytest.raises(UserError, match=r"true objects are float64.*whole numbers"):
        instances.counts(one.astype(float), one)
    with pytest.raises(UserError, match=r"predicted objects.*whole numbers"):
        instances.counts(one, -one)
    with pytest.raises(UserError, match=r"\(2, 3\), \(3, 2\).*one shape"):
        instances.counts(one, one.T)
    with pytest.raises(UserError, match=r"\(2, 3\), \(2, 3\), \(3, 2\).*one shape"):
        instances.counts(one, one, one.T > 0)
    with pytest.raises(UserError, match=r"threshold of IoU is 0\.4\b.*0\.5 to 1"):
        instances.matches(instances.overlaps(one, one), 0.4)


@pytest.fixture(scope="module")
def stardist_matching():
    return oracle("stardist.matching")


def test_every_image_is_scored_as_by_stardist(stardist_matching):
    ties = 0
    for true, predicted in label_pairs(150, seed=1):
        count = instances.counts(true, predicted)
        scored = instances.scores(count)
        ties += (np.isin(instances.overlaps(true, predicted).iou, THRESHOLDS)).sum()
        for i, theirs in enumerate(stardist_matching.matching(true, predicted, THRESHOLDS)):
            assert [count[name][i] for name in ("tp", "fp", "fn")] == [theirs.tp, theirs.fp, theirs.fn]
            assert scored["precision"][i] == theirs.precision
            assert scored["recall"][i] == theirs.recall
            assert scored["f1"][i] == theirs.f1
            assert scored["ap"][i] == theirs.accuracy
            # It takes the IoU in float32.
            assert scored["sq"][i] == pytest.approx(theirs.mean_matched_score, rel=1e-6)
            assert scored["pq"][i] == pytest.approx(theirs.panoptic_quality, rel=1e-6)
    assert ties > 50


@pytest.mark.parametrize("by_image", [False, True])
def test_a_data_set_is_scored_as_by_stardist(stardist_matching, by_image):
    pairs = list(label_pairs(20, seed=2))
    pairs += [(pairs[0][0], np.zeros_like(pairs[0][0])), (np.zeros_like(pairs[1][0]), pairs[1][1])]
    theirs = stardist_matching.matching_dataset(
        *zip(*pairs, strict=True), THRESHOLDS, by_image=by_image, show_progress=False
    )
    ours, kind = instances.summarize(stacked(pairs)), "image" if by_image else "pooled"
    assert ours[f"ap_{kind}"] == pytest.approx(np.mean([each.accuracy for each in theirs]))
    for i, threshold in enumerate(THRESHOLDS):
        assert ours[f"ap{100 * threshold:.0f}_{kind}"] == pytest.approx(theirs[i].accuracy)
    for name in ("precision", "recall", "f1"):
        assert ours[f"{name}_{kind}"] == pytest.approx(getattr(theirs[0], name))
    assert ours[f"sq_{kind}"] == pytest.approx(theirs[0].mean_matched_score, rel=1e-6)
    assert ours[f"pq_{kind}"] == pytest.approx(theirs[0].panoptic_quality, rel=1e-6)
