"""Losses against their papers: special cases, values computed by hand, and other libraries."""

import itertools

import jax
import numpy as np
import optax
import pytest
from helpers import by_loop

from unet_jax.training.losses.lovasz import jaccard_extension
from unet_jax.training.losses.registry import create_loss

RNG = np.random.default_rng(2)
LOGITS = RNG.normal(size=(2, 4, 5, 3)).astype(np.float32)
MASK = RNG.integers(0, 3, (2, 4, 5))
ONE_HOT = np.eye(3)[MASK]


def value(name, activation="softmax", logits=LOGITS, mask=MASK, weight=None, **options):
    loss = create_loss(
        weights={name: 1.0},
        activation=activation,
        num_classes=logits.shape[-1],
        options={name: options} if options else {},
    )
    evaluate = jax.jit(lambda *batch: loss.from_sums(loss.sums((batch[0],), *batch[1:])))
    return float(evaluate(logits, mask, np.ones(mask.shape[:3], bool), weight))


def sure(mask, num_classes=3):
    """Returns the logits of a network that is sure of `mask`."""
    return 50 * (np.eye(num_classes, dtype=np.float32)[mask] - 0.5)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0, 5.0])
def test_focal_is_optaxs(gamma):
    expected = optax.sigmoid_focal_loss(LOGITS, ONE_HOT, gamma=gamma).mean()
    assert value("focal", "sigmoid", gamma=gamma) == pytest.approx(float(expected), rel=1e-5)


def test_focal_without_gamma_is_the_cross_entropy():
    assert value("focal", gamma=0.0) == pytest.approx(value("cross_entropy"), rel=1e-6)
    assert value("focal", "sigmoid", gamma=0.0) == pytest.approx(value("binary_cross_entropy", "sigmoid"), rel=1e-6)


def test_focal_by_hand():
    """Two classes, p = 0.9 of the truth, gamma 2: 0.01 (-ln 0.9), a hundredth of the cross entropy (Lin et al., section 3)."""
    logits = np.log(np.float32([0.9, 0.1])).reshape(1, 1, 1, 2)
    assert value("focal", logits=logits, mask=np.zeros((1, 1, 1), int)) == pytest.approx(-0.01 * np.log(0.9), rel=1e-4)


def test_weighted_cross_entropy_without_a_map_is_the_plain_one():
    nothing, even = np.zeros(MASK.shape, np.float32), np.ones(MASK.shape, np.float32)
    for activation, plain in (("softmax", "cross_entropy"), ("sigmoid", "binary_cross_entropy")):
        for weight in (nothing, even):
            loss = value("weighted_cross_entropy", activation, weight=weight)
            assert loss == pytest.approx(value(plain, activation), rel=1e-6)


def test_weighted_cross_entropy_by_hand():
    """Two pixels of p = 1/2 and 1/4, the second with weight 1 + 10 * 0.2 = 3: (ln 2 + 3 ln 4) / 4."""
    logits = np.log(np.float32([[0.5, 0.5], [0.25, 0.75]])).reshape(1, 1, 2, 2)
    weight = np.float32([[[0, 0.2]]])
    loss = value("weighted_cross_entropy", logits=logits, mask=np.zeros((1, 1, 2), int), weight=weight)
    assert loss == pytest.approx((np.log(2) + 3 * np.log(4)) / 4, rel=1e-6)


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_tversky_with_halves_is_dice(activation):
    assert value("tversky", activation, alpha=0.5, beta=0.5) == pytest.approx(value("dice", activation), rel=1e-5)
    focal = value("focal_tversky", activation, alpha=0.5, beta=0.5, gamma=1.0)
    assert focal == pytest.approx(value("dice", activation), rel=1e-5)


def test_alpha_and_beta_of_tversky_are_the_costs_of_false_and_of_missed_pixels():
    """One mask of 4 pixels; 2 of them are predicted, and 1 false pixel: T = (2 + 1/2) / (2 + 1 alpha + 2 beta + 1/2)."""
    mask = np.array([[[1, 1, 1, 1, 0, 0]]])
    logits = 100 * (np.float32([1, 1, 0, 0, 1, 0]) - 0.5).reshape(1, 1, 6, 1)
    for alpha, beta in ((0.3, 0.7), (1.0, 0.0), (0.0, 1.0)):
        similar = 2.5 / (2.5 + alpha + 2 * beta)
        assert value("tversky", "sigmoid", logits, mask, alpha=alpha, beta=beta) == pytest.approx(1 - similar, rel=1e-5)
        focal = value("focal_tversky", "sigmoid", logits, mask, alpha=alpha, beta=beta, gamma=4 / 3)
        assert focal == pytest.approx((1 - similar) ** 0.75, rel=1e-5)


def test_generalised_dice_weighs_by_inverse_square_sizes():
    """8 pixels of class 0 and 2 of class 1, of which 1 is missed: v = (2/8)^2 and 1; overlaps 8 and 1, sizes 17 and 3."""
    mask = np.array([[[0] * 8 + [1] * 2]])
    logits = sure(np.array([[[0] * 8 + [0, 1]]]), 2)
    expected = 1 - (2 * (8 / 16 + 1) + 1) / (17 / 16 + 3 + 1)
    assert value("generalised_dice", logits=logits, mask=mask) == pytest.approx(expected, rel=1e-5)


def test_generalised_dice_of_an_absent_class():
    """Classes 0 and 1 of 6 and 2 pixels; 2 of class 0 are taken for class 2, which is absent."""
    mask = np.array([[[0] * 6 + [1] * 2]])
    logits = sure(np.array([[[2, 2, 0, 0, 0, 0, 1, 1]]]))
    v = np.array([(2 / 6) ** 2, 1, 1])
    expected = 1 - (2 * v @ [4, 2, 0] + 1) / (v @ [10, 4, 2] + 1)
    assert value("generalised_dice", logits=logits, mask=mask) == pytest.approx(expected, rel=1e-5)


def test_lovasz_extends_the_jaccard_loss():
    """For errors of 0 and 1 it is the 1 - IoU of the wrong set, for every set (Berman et al., definition 1)."""
    truth = np.array([1, 1, 0, 0, 1], bool)
    sets = np.array(list(itertools.product((0, 1), repeat=5)), np.float32)
    extension = jaccard_extension(sets, np.tile(truth, (32, 1)), np.ones((32, 5), bool))
    wrong = sets.astype(bool)
    expected = 1 - (truth & ~wrong).sum(1) / (truth | wrong).sum(1)
    np.testing.assert_allclose(extension, expected, rtol=1e-6)


def test_lovasz_of_sure_networks_is_one_less_iou_of_each_image():
    other = np.where(RNG.random(MASK.shape) > 0.6, (MASK + 1) % 3, MASK)
    iou = [
        np.mean([((a == k) & (b == k)).sum() / ((a == k) | (b == k)).sum() for k in range(3)])
        for a, b in zip(MASK, other, strict=True)
    ]
    assert value("lovasz", logits=sure(other)) == pytest.approx(1 - np.mean(iou), rel=1e-5)


def test_lovasz_of_an_empty_mask_is_its_largest_error():
    """The hinge: all pixels negative, logits -3, 0.5 and -0.5, so errors 0, 1.5 and 0.5."""
    logits = np.float32([-3, 0.5, -0.5]).reshape(1, 1, 3, 1)
    assert value("lovasz", "sigmoid", logits, np.zeros((1, 1, 3), int)) == pytest.approx(1.5)


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_lovasz_is_the_mean_over_images_that_have_a_valid_pixel(activation):
    """Three images; the last is void, the second has one valid pixel. Each alone, and as two parts of unequal size."""
    loss = create_loss(weights={"lovasz": 1.0}, activation=activation, num_classes=3)
    logits, mask = np.concatenate([LOGITS, LOGITS[:1]]), np.concatenate([MASK, MASK[:1]])
    valid = np.ones(mask.shape, bool)
    valid[1].flat[1:], valid[2] = False, False
    sums = jax.jit(lambda *batch: loss.sums((batch[0],), *batch[1:]))
    alone = [loss.from_sums(sums(*(x[i : i + 1] for x in (logits, mask, valid)))) for i in range(3)]
    assert alone[2] == 0
    parts = [sums(*(x[part] for x in (logits, mask, valid))) for part in (slice(0, 1), slice(1, 3))]
    together = loss.from_sums(jax.tree.map(np.add, *parts))
    assert float(together) == pytest.approx(float(alone[0] + alone[1]) / 2, rel=1e-6)


def test_lovasz_softmax_leaves_out_absent_classes():
    mask = np.stack([np.minimum(MASK[0], 1), MASK[1]])
    options = {"weights": np.ones(3), "activation": "softmax"}
    expected = by_loop.lovasz(LOGITS, mask, np.ones(mask.shape, bool), None, **options)
    assert value("lovasz", mask=mask) == pytest.approx(expected, rel=1e-5)


def test_lovasz_is_exact_on_large_images():
    """512 x 512 pixels; differences of nearly equal Jaccard losses would be inexact in float32."""
    errors, truth = RNG.random(1 << 18).astype(np.float32), RNG.random(1 << 18) > 0.5
    order = np.argsort(-errors, kind="stable")
    y = truth[order]
    loss = 1 - (y.sum() - np.cumsum(y)) / (y.sum() + np.cumsum(~y))
    expected = errors[order].astype(np.float64) @ np.diff(loss, prepend=0)
    np.testing.assert_allclose(jaccard_extension(errors, truth, np.ones_like(truth)), expected, rtol=2e-6)
