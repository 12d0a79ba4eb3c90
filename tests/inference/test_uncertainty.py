"""Entropy, mutual information and pairwise Dice of the members of a prediction."""

import itertools

import numpy as np
import pytest

from unet_jax.data.datasets.image_rows import ArrayRows
from unet_jax.inference.large import scratch
from unet_jax.inference.segmenter import MemberBand
from unet_jax.inference.uncertainty import entropy, estimate, overlaps, pairwise_dice
from unet_jax.inference.views import VIEWS
from unet_jax.segmentation import to_masks


class Members:
    """Gives the probabilities of its members in bands of `rows` rows; each member sees another view."""

    def __init__(self, probabilities, weights, activation, rows=100):
        self.probabilities, self.weights, self.activation, self.rows = probabilities, weights, activation, rows
        self.class_names = tuple("abcdefghijk"[: probabilities.shape[-1]])
        self.report_channels = list(range(len(self.class_names)))[activation == "softmax" :]
        self.num_members = len(probabilities)

    def member_bands(self, rows):
        for member, (p, view) in enumerate(zip(self.probabilities, itertools.cycle(VIEWS["all"]))):
            seen = view.apply(p)
            for start in range(0, len(seen), self.rows):
                yield MemberBand(member, self.weights[member], view, start, seen[start : start + self.rows])


def probabilities_of(num_members, num_classes, activation, size=(9, 13)):
    logits = np.random.default_rng(0).normal(size=(num_members, *size, num_classes))
    if activation == "sigmoid":
        return (1 / (1 + np.exp(-logits))).astype(np.float32)
    return (np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)).astype(np.float32)


def entropy_by_loop(p, activation):
    if activation == "sigmoid":
        return np.mean([[-q * np.log2(q) - (1 - q) * np.log2(1 - q)] for q in p])
    return -sum(q * np.log(q) for q in p) / np.log(len(p))


@pytest.mark.parametrize(("activation", "num_classes"), [("softmax", 3), ("sigmoid", 11), ("sigmoid", 1)])
@pytest.mark.parametrize("in_memory", [True, False])
def test_by_hand(activation, num_classes, in_memory, monkeypatch):
    if not in_memory:
        monkeypatch.setattr(scratch, "IN_MEMORY_BYTES", 0)
        monkeypatch.setattr(scratch, "BAND_BYTES", 200)
    weights, p = (0.5, 0.25, 0.25), probabilities_of(3, num_classes, activation)
    members = Members(p, weights, activation, rows=100 if in_memory else 2)
    rows = ArrayRows(np.zeros(p.shape[1:3], np.uint8))
    found = estimate(members, rows)
    mean = sum(weight * of_one for weight, of_one in zip(weights, p, strict=True))
    np.testing.assert_allclose(found.probabilities, mean, atol=1e-6)
    expected = np.array([[entropy_by_loop(pixel, activation) for pixel in row] for row in mean.astype(np.float64)])
    np.testing.assert_allclose(entropy(found.probabilities, activation), expected, atol=1e-5)
    assert found.entropy == pytest.approx(expected.mean(), abs=1e-5)
    of_members = [entropy(of_one, activation).mean() for of_one in p]
    assert found.mutual_information == pytest.approx(expected.mean() - np.dot(weights, of_members), abs=1e-5)
    masks = to_masks(p, activation)[0][..., members.report_channels]
    dice = [
        np.mean([2 * (a & b).sum() / (a.sum() + b.sum()) for a, b in itertools.combinations(masks[..., k], 2)])
        for k in range(masks.shape[-1])
    ]
    assert found.pairwise_dice == pytest.approx(np.mean(dice), abs=1e-12)
    assert 0 < found.mutual_information < found.entropy < 1
    assert 0 < found.pairwise_dice < 1


def test_members_that_agree_and_members_that_are_sure():
    same = np.repeat(probabilities_of(1, 3, "softmax"), 2, 0)
    rows = ArrayRows(np.zeros(same.shape[1:3], np.uint8))
    found = estimate(Members(same, (0.5, 0.5), "softmax"), rows)
    assert found.mutual_information == pytest.approx(0, abs=1e-6)
    assert found.pairwise_dice == 1
    # Each is sure, and they contradict each other.
    sure = np.zeros((2, 9, 13, 2), np.float32)
    sure[0, ..., 0] = sure[1, ..., 1] = 1
    found = estimate(Members(sure, (0.5, 0.5), "softmax"), rows)
    assert (found.entropy, found.mutual_information, found.pairwise_dice) == (1, 1, 0)


def test_one_member_has_an_entropy_alone():
    p = probabilities_of(1, 3, "softmax")
    found = estimate(Members(p, (1.0,), "softmax"), ArrayRows(np.zeros(p.shape[1:3], np.uint8)))
    assert found.entropy == pytest.approx(entropy(p[0], "softmax").mean(), abs=1e-6)
    assert np.isnan([found.mutual_information, found.pairwise_dice]).all()


def test_a_class_that_no_member_finds_is_left_out():
    masks = np.zeros((3, 4, 2), bool)
    assert np.isnan(pairwise_dice(overlaps(masks)))
    masks[:2, 0, 0] = True
    # Two agree, and the third finds nothing: 1, 0 and 0.
    assert pairwise_dice(overlaps(masks)) == pytest.approx(1 / 3)
