"""Each change of grey values is compared with a plain implementation, and each option has its stated range."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from unet_jax.data.augment import intensity
from unet_jax.data.augment.augment import augment, draw_chances
from unet_jax.data.augment.options import AugmentOptions

RNG = np.random.default_rng(0)
IMAGE = RNG.normal(size=(18, 25, 2)).astype(np.float32)
blur, low_resolution, cutout = (
    jax.jit(intensity.blur, static_argnums=2),
    jax.jit(intensity.low_resolution),
    jax.jit(intensity.cutout),
)
KEYS = jax.random.split(jax.random.key(0), 128)


def many(image=IMAGE, **options):
    """Returns the image changed with every key."""
    return np.asarray(
        jax.jit(jax.vmap(lambda key: augment(key, {"image": jnp.asarray(image)}, **options)["image"]))(KEYS)
    )


@pytest.mark.parametrize(("sigma", "radius"), [(0.5, 4), (1.7, 8), (6.0, 24)])
def test_blur_is_a_gaussian(sigma, radius):
    expected = gaussian_filter(IMAGE, sigma, axes=(0, 1), mode="mirror", radius=radius)
    np.testing.assert_allclose(blur(IMAGE, sigma, radius), expected, atol=1e-5)
    np.testing.assert_array_equal(blur(IMAGE, 0.0, radius), IMAGE)


def test_blur_draws_its_sigma_from_the_range():
    point = np.zeros((25, 25, 1), np.float32)
    point[12, 12] = 1
    square = (np.arange(25) - 12.0) ** 2
    sigma = np.sqrt((many(point, blur=(0.8, 2.0))[..., 0].sum(2) * square).sum(1))
    assert sigma.min() > 0.79
    assert sigma.max() < 2.01
    assert np.ptp(sigma) > 1


@pytest.mark.parametrize("zoom", [1.0, 0.8, 0.5, 0.37, 0.01])
def test_low_resolution_reduces_by_nearest_and_enlarges_by_cubic(zoom):
    def kernel(x):
        x = np.abs(x)
        far = np.where(x < 2, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2, 0)
        return np.where(x <= 1, 1.5 * x**3 - 2.5 * x**2 + 1, far)

    expected = IMAGE.astype(np.float64)
    for axis in (0, 1):
        n = expected.shape[axis]
        small = max(round(n * zoom), 1)
        reduced = np.take(expected, [int((j + 0.5) * n / small) for j in range(small)], axis)
        reduced = np.pad(reduced, [(2, 2) if a == axis else (0, 0) for a in range(3)], mode="edge")
        places = (np.arange(n) + 0.5) * small / n - 0.5
        weights = kernel(places[:, None] - np.arange(-2, small + 2))
        expected = np.moveaxis(np.tensordot(weights, reduced, (1, axis)), 0, axis)
    made = low_resolution(IMAGE, zoom)
    np.testing.assert_allclose(made, expected, atol=1e-5)
    if zoom == 1:
        np.testing.assert_array_equal(made, IMAGE)


def test_low_resolution_draws_its_factor_from_the_range():
    half = low_resolution(IMAGE, 0.5)
    np.testing.assert_allclose(many(low_resolution=(0.5, 0.5)), np.broadcast_to(half, (128, *IMAGE.shape)), atol=1e-5)
    lost = [np.abs(made - IMAGE).mean() for made in many(low_resolution=(0.5, 1.0))]
    # Some factors are near 1, others far below.
    assert min(lost) < 0.1 * max(lost)
    assert len(np.unique(lost)) > 8


def test_cutout_hides_rectangles_behind_the_mean():
    boxes = np.array([[[1.5, 4.0], [-3.0, 2.5]], [[10.0, 99.0], [20.2, 20.9]], [[7.0, 7.0], [24.0, 24.0]]])
    expected = IMAGE.copy()
    expected[2:5, :3] = IMAGE.mean((0, 1))
    # The second box lies between two columns.
    expected[7, 24] = IMAGE.mean((0, 1))
    np.testing.assert_allclose(cutout(IMAGE, boxes), expected, atol=1e-6)


def test_cutout_draws_number_size_and_place():
    boxes = np.asarray(jax.vmap(lambda key: intensity.draw_boxes(key, (50, 80), 3, (0.1, 0.4)))(KEYS))
    assert boxes.shape == (128, 3, 2, 2)
    parts, centres = np.ptp(boxes, axis=-1) / (50, 80), (boxes.mean(-1) + 0.5) / (50, 80)
    for drawn, low, high in ((parts, 0.1, 0.4), (centres, 0.0, 1.0)):
        assert low - 1e-5 <= drawn.min() < low + 0.05
        assert high - 0.05 < drawn.max() <= high + 1e-5
    hidden = (many(cutout=2, cutout_size=(0.2, 0.2)) != IMAGE).all(-1).mean((1, 2))
    # Two rectangles, each 4 % of the image, rounded to pixels.
    assert 0.05 < hidden.max() <= 0.11
    assert hidden.min() > 0


def test_multiply_and_inverted_gamma():
    factor = many(multiply=0.4) / IMAGE
    np.testing.assert_allclose(factor, np.broadcast_to(factor[:, :1, :1, :1], factor.shape), rtol=1e-4)
    assert 0.6 - 1e-4 <= factor.min() < 0.65
    assert 1.35 < factor.max() <= 1.4 + 1e-4

    changed = many(inverted_gamma=0.7)
    low, high = IMAGE.min(), IMAGE.max()
    np.testing.assert_allclose(changed.min((1, 2, 3)), low, atol=1e-5)
    part, middle = (high - IMAGE) / (high - low), (high - changed) / (high - low)
    inner = (part > 0.2) & (part < 0.8)
    exponents = np.log(middle[:, inner]) / np.log(part[inner])
    np.testing.assert_allclose(exponents, np.broadcast_to(exponents[:, :1], exponents.shape), rtol=1e-3)
    assert np.ptp(np.log(exponents)) > 1.2


def test_chances():
    """Each change has its own chance, and a change that does not take place changes nothing."""
    every = {"multiply": 0.3, "brightness": 0.3, "noise": 0.1, "cutout": 2, "low_resolution": (0.5, 0.7)}
    rare = {"multiply": 0.2, "brightness": 0.2, "noise": 0.2, "cutout": 0.2, "low_resolution": 0.2}
    still = (many(**every, probability=rare) == IMAGE).all((1, 2, 3))
    # The expected mean is 0.8^5 = 0.33.
    assert 0.2 < still.mean() < 0.48

    options = AugmentOptions(
        **every, rotate=10.0, probability={"rotate": 0.1, "noise": 0.5, "cutout": 0.9, "gamma": 0.5}
    )
    drawn = jax.jit(jax.vmap(lambda key: draw_chances(key, options)))(jax.random.split(jax.random.key(1), 2000))
    # Gamma is off, and the others always take place.
    assert set(drawn) == {"rotate", "noise", "cutout"}
    for name, chance in (("rotate", 0.1), ("noise", 0.5), ("cutout", 0.9)):
        assert abs(np.mean(drawn[name]) - chance) < 0.04
    assert abs(np.corrcoef(np.stack(list(drawn.values())).astype(float)) - np.eye(3)).max() < 0.1


def test_one_that_never_takes_place_is_off():
    both = {"brightness": 0.3, "contrast": 0.3}
    never = dict.fromkeys(("blur", "cutout", "rotate"), 0.0)
    off = many(**both, blur=(1.0, 2.0), cutout=3, rotate=90.0, probability=never)
    np.testing.assert_array_equal(off, many(**both))
    sometimes = many(**both, probability={"contrast": 0.5})
    alike = np.isclose(sometimes, many(**both), atol=1e-5).all((1, 2, 3))
    # Where the contrast changes, contrast and brightness are the same as with a probability of 1.
    assert 0.3 < alike.mean() < 0.7


CHANGES = {"multiply": 0.3, "contrast": 0.3, "brightness": 0.5, "gamma": 0.4, "inverted_gamma": 0.4, "blur": (0.2, 1.0)}


def test_each_channel_is_changed_on_its_own_or_all_alike():
    """Two equal channels tell: they stay equal where all change alike."""
    image = np.repeat(IMAGE[..., :1], 2, -1)
    alike, own = (many(image, per_channel=per_channel, **CHANGES) for per_channel in (False, True))
    np.testing.assert_allclose(alike[..., 0], alike[..., 1], atol=1e-5)
    assert np.abs(own[..., 0] - own[..., 1]).max((1, 2)).min() > 1e-3
    # What one channel holds does not change another.
    other = image.copy()
    other[..., 1] = 100 * IMAGE[..., 1]
    np.testing.assert_array_equal(many(other, per_channel=True, **CHANGES)[..., 0], own[..., 0])


def test_chances_and_rectangles_are_those_of_the_window():
    image = np.repeat(IMAGE[..., :1], 2, -1)
    changed = many(image, per_channel=True, brightness=0.5, probability={"brightness": 0.5})
    same = (changed == image).all((1, 2))
    np.testing.assert_array_equal(same[:, 0], same[:, 1])
    assert 0 < same[:, 0].sum() < len(KEYS)
    hidden = many(image, per_channel=True, cutout=2) != image
    np.testing.assert_array_equal(hidden[..., 0], hidden[..., 1])
