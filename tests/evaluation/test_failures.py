"""Whether uncertain images are those that are predicted badly."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from unet_jax.evaluation.failures import describe_failures, format_failures, risk_coverage, spearman

NAN = float("nan")


def test_rank_correlation_is_that_of_scipy():
    rng = np.random.default_rng(0)
    first, second = rng.integers(0, 5, 40), rng.normal(size=40)
    assert spearman(first, second) == pytest.approx(spearmanr(first, second).statistic, abs=1e-12)
    assert np.isnan(spearman(np.ones(4), second[:4]))
    assert np.isnan(spearman(first[:1], second[:1]))


def test_failures_found_by_hand():
    iou = np.array([0.9, 0.1, 0.8, 0.7, 0.2, 0.6, 0.5, 0.95, 0.85, 0.75])
    # The two failures are 0.1 and 0.2: the first is the least certain image, the second comes fourth.
    certainty = np.array([9, 0, 8, 2, 3, 1, 7, 6, 5, 4])
    table = risk_coverage(certainty, iou)
    assert [row["num_looked_at"] for row in table] == [1, 2, 3, 5]
    assert [row["failures_found"] for row in table] == [0.5, 0.5, 0.5, 1.0]
    assert table[3]["iou_of_the_others"] == pytest.approx(np.mean([0.9, 0.8, 0.5, 0.95, 0.85]))
    assert [row["failures_found"] for row in risk_coverage(iou, iou)][1:] == [1, 1, 1]
    assert risk_coverage(iou[:0], iou[:0]) == []


def test_the_measures_of_the_rows():
    rows = [
        {"iou/mean": iou, "entropy": 1 - iou, "mutual_information": iou, "pairwise_dice": dice}
        for iou, dice in ((0.2, 0.1), (0.9, NAN), (0.5, 0.6), (NAN, 0.0))
    ]
    described = describe_failures(rows)
    assert described["num_images"] == 3
    correlations = {name: measure["spearman"] for name, measure in described["measures"].items()}
    # Where no member finds anything, nothing is uncertain.
    assert correlations == pytest.approx({"entropy": 1, "mutual_information": -1, "pairwise_dice": 1})
    assert "-1.000" in format_failures(described)
    # One member has neither of the two others.
    alone = describe_failures([row | {"pairwise_dice": NAN, "mutual_information": NAN} for row in rows])
    assert list(alone["measures"]) == ["entropy"]
    assert "cannot be compared" in format_failures(describe_failures(rows[3:]))
