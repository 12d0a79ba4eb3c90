"""A map moves every array as stated, and each kind of array is read with its interpolation."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.interpolate import CubicHermiteSpline
from scipy.ndimage import map_coordinates

from unet_jax.data.augment import spatial
from unet_jax.data.augment.augment import augment
from unet_jax.data.augment.options import AugmentOptions
from unet_jax.segmentation import VOID_ID

RNG = np.random.default_rng(0)
STILL = {"angle": 0.0, "factor": 1.0, "lean": 0.0, "shift": (0.0, 0.0)}
sample = jax.jit(spatial.sample, static_argnums=2)
_affine = jax.jit(spatial.affine, static_argnums=0)
HOW = ("nearest", "linear", "cubic")
STRONG = {"elastic": 2.0, "rotate": 180.0, "scale": (0.7, 1.4), "shear": 20.0, "shift": 6.0}


def grid(size):
    return np.stack(np.meshgrid(*map(np.arange, size), indexing="ij")).astype(np.float32)


def affine(size, **changes):
    return _affine(size, **(STILL | changes))


@pytest.mark.parametrize("how", HOW)
def test_a_map_that_does_nothing_changes_no_bit(how):
    image = RNG.normal(size=(6, 9, 2)).astype(np.float32)
    places = affine((6, 9))
    np.testing.assert_array_equal(places, grid((6, 9)))
    np.testing.assert_array_equal(sample(image, places, how), image)


@pytest.mark.parametrize("how", HOW)
def test_a_quarter_turn_and_a_whole_shift(how):
    image = RNG.normal(size=(7, 7, 2)).astype(np.float32)
    turned = sample(image, affine((7, 7), angle=np.pi / 2), how)
    np.testing.assert_allclose(turned, np.rot90(image), atol=1e-5)
    # Down and to the left.
    shifted = sample(image, affine((7, 7), shift=(3.0, -2.0)), how)
    padded = np.pad(image, ((3, 3), (2, 2), (0, 0)), mode="reflect")
    np.testing.assert_array_equal(shifted, np.roll(padded, (3, -2), (0, 1))[3:-3, 2:-2])


def test_an_affine_map_is_the_inverse_of_the_motion():
    angle, factor, lean, shift = 0.4, 1.3, 0.2, np.array([2.5, -1.25])
    # It acts on (down, right).
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    motion = rotation @ np.array([[1, 0], [lean, 1]]) * factor
    centre = np.array([2.0, 3.5])
    from_there = np.linalg.solve(motion, grid((5, 8)).reshape(2, -1) - (centre + shift)[:, None]) + centre[:, None]
    places = affine((5, 8), angle=angle, factor=factor, lean=lean, shift=shift)
    np.testing.assert_allclose(places.reshape(2, -1), from_there, atol=1e-5)


def test_interpolations_beyond_every_border():
    image = RNG.normal(size=(6, 5)).astype(np.float32)
    places = RNG.uniform(-11, 16, (2, 8, 9)).astype(np.float32)
    for how, order in (("nearest", 0), ("linear", 1)):
        expected = map_coordinates(image, places.astype(np.float64), order=order, mode="mirror")
        np.testing.assert_allclose(sample(image, places, how), expected, atol=1e-4)

    # The form in Keys' paper, with a = -1/2.
    def kernel(x):
        x = abs(x)
        return 1.5 * x**3 - 2.5 * x**2 + 1 if x <= 1 else -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x < 2 else 0.0

    wide = np.pad(image.astype(np.float64), 20, mode="reflect")
    around = range(-1, 3)
    expected = [
        sum(
            kernel(y - np.floor(y) - i)
            * kernel(x - np.floor(x) - j)
            * wide[int(np.floor(y)) + i + 20, int(np.floor(x)) + j + 20]
            for i, j in itertools.product(around, around)
        )
        for y, x in places.reshape(2, -1).T.astype(np.float64)
    ]
    np.testing.assert_allclose(sample(image, places, "cubic").ravel(), expected, atol=1e-4)


@pytest.mark.parametrize("size", [(1, 1), (2, 1), (2, 3)])
def test_windows_of_few_pixels(size):
    image = RNG.normal(size=size).astype(np.float32)
    places = jnp.array(RNG.uniform(-9, 9, (2, 4, 4)), jnp.float32)
    for how in HOW:
        np.testing.assert_array_equal(jnp.isfinite(sample(image, places, how)), True)
        np.testing.assert_allclose(sample(np.ones(size, np.float32), places, how), 1, atol=1e-5)
    assert spatial.displacements(jnp.ones((2, 3, 3)), size).shape == (2, *size)


@pytest.mark.parametrize("points", [2, 3, 5])
def test_displacements_are_bicubic_between_the_points(points):
    """Keys' interpolation is Hermite's with central differences as slopes; beyond the border the outer points are repeated."""
    nodes = RNG.normal(size=(2, points, points))

    def along_last(values, n):
        padded = np.concatenate([values[..., :1], values, values[..., -1:]], -1)
        slopes = (padded[..., 2:] - padded[..., :-2]) / 2
        return CubicHermiteSpline(np.arange(points), values, slopes, axis=-1)(np.linspace(0, points - 1, n))

    expected = along_last(along_last(nodes, 17).swapaxes(1, 2), 13).swapaxes(1, 2)
    made = spatial.displacements(jnp.asarray(nodes, jnp.float32), (13, 17))
    np.testing.assert_allclose(made, expected, atol=1e-5)


def test_elastic_displacements_have_their_strength_at_the_points():
    options = AugmentOptions(elastic=10.0)
    places = jax.jit(jax.vmap(lambda key: spatial.draw(key, (33, 65), options, {})))(
        jax.random.split(jax.random.key(0), 512)
    )
    moved = (np.asarray(places) - grid((33, 65)))[:, :, ::16, ::32].reshape(512, 18)
    np.testing.assert_allclose(moved.std(0), 10, rtol=0.15)
    assert abs(moved.std() - 10) < 0.3
    assert abs(moved.mean()) < 0.4
    # Each point and each direction has a different draw.
    assert abs(np.corrcoef(moved.T) - np.eye(18)).max() < 0.2


def scene(size=48):
    """Returns a smooth image, its bright pixels as a mask, and other arrays that follow from it."""
    y, x = grid((size, size)) / size
    image = np.sin(7 * y + 3 * x**2) + np.cos(9 * x - 4 * y)
    return {
        "image": jnp.asarray(np.stack([image, -image], -1), jnp.float32),
        "mask": jnp.asarray(image > 0.3, jnp.int32),
        "valid": jnp.asarray(image > -0.9),
        "weight": jnp.asarray(image, jnp.float32),
        "instances": jnp.asarray(np.where(image > 0.3, np.where(x > 0.5, 900, 7), 0), jnp.int32),
        "index": jnp.array([4]),
    }


@pytest.fixture(scope="module", params=["linear", "cubic"])
def warped(request):
    keys = jax.random.split(jax.random.key(1), 16)
    options = {"flip": True, "quarter_turns": True, "interpolation": request.param, **STRONG}
    return (
        jax.tree.map(np.asarray, jax.jit(jax.vmap(lambda key: augment(key, scene(), **options)))(keys)),
        keys,
        options,
    )


def test_every_array_moves_with_the_image(warped):
    made, _, options = warped
    one = scene()
    assert {k: (v.shape[1:], v.dtype) for k, v in made.items()} == {k: (v.shape, v.dtype) for k, v in one.items()}
    image = made["image"][..., 0]
    # Every image was moved.
    assert (image - np.asarray(one["image"])[..., 0]).std((1, 2)).min() > 0.3
    for name, threshold in (("mask", 0.3), ("valid", -0.9)):
        differ = made[name].astype(bool) != (image > threshold)
        # They differ only on the outline.
        assert np.abs(image - threshold)[differ].max() < 0.3
        assert differ.mean() < 0.03
    np.testing.assert_array_equal(made["instances"] > 0, made["mask"] == 1)
    assert set(np.unique(made["instances"])) <= {0, 7, 900}
    np.testing.assert_allclose(made["weight"], image, atol=1e-5 if options["interpolation"] == "linear" else 0.05)
    assert (np.abs(made["weight"] - image) > 1e-4).any() == (options["interpolation"] == "cubic")
    np.testing.assert_array_equal(made["index"], 4)


def test_pure_in_the_key_and_the_same_alone_or_in_a_batch(warped):
    made, keys, options = warped
    assert len({row.tobytes() for row in made["mask"]}) == len(keys)
    alone = jax.jit(lambda key: augment(key, scene(), **options))(keys[5])
    np.testing.assert_allclose(alone["image"], made["image"][5], atol=1e-4)
    assert (np.asarray(alone["mask"]) != made["mask"][5]).mean() < 1e-3


@pytest.mark.parametrize("size", [(6, 6), (4, 6)])
def test_flips_and_turns_are_those_without_a_warp(size):
    """A warp by a millionth of a pixel gives the same draws, and the same pixels to within that distance."""
    one = {"image": jnp.asarray(RNG.normal(size=(*size, 1)), jnp.float32)}
    one["mask"] = jnp.arange(size[0] * size[1]).reshape(size)
    keys = jax.random.split(jax.random.key(2), 64)
    still, moved = (
        jax.jit(jax.vmap(lambda key, shift=shift: augment(key, one, flip=True, quarter_turns=True, shift=shift)))(keys)
        for shift in (0.0, 1e-6)
    )
    np.testing.assert_array_equal(still["mask"], moved["mask"])
    np.testing.assert_allclose(still["image"], moved["image"], atol=1e-4)
    assert len({row.tobytes() for row in np.asarray(moved["mask"])}) == (8 if size[0] == size[1] else 4)


def test_what_the_window_does_not_hold_is_void():
    one = scene(12)
    places = affine((12, 12), shift=(3.0, -2.0))
    outside = np.ones((12, 12), bool)
    outside[3:, :-2] = False
    mirrored, made = (spatial.warp(one, places, AugmentOptions(fill_mode=how)) for how in ("mirror", "void"))
    for name in one:
        kept = outside & (name in ("mask", "valid", "instances"))
        nothing = VOID_ID if name == "mask" else 0
        if name != "index":
            shape = kept.reshape(12, 12, *[1] * (one[name].ndim - 2))
            np.testing.assert_array_equal(made[name], np.where(shape, nothing, mirrored[name]), err_msg=name)
    np.testing.assert_array_equal(mirrored["mask"][:3], mirrored["mask"][6:3:-1])
    overlapping = spatial.warp(
        one | {"mask": jnp.ones((12, 12, 2), jnp.int32)}, places, AugmentOptions(fill_mode="void")
    )["mask"]
    np.testing.assert_array_equal(overlapping, np.where(outside, 0, 1)[..., None].repeat(2, -1))
    # Half a pixel is still on a pixel.
    np.testing.assert_array_equal(spatial.inside(affine((3, 3), shift=(0.5, 0.0)), (3, 3)), True)
