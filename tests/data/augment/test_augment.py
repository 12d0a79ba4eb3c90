"""Image, mask and every per-pixel array move in the same way; each change has the stated strength and is off at 0."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from unet_jax.data.augment.augment import augment, augment_batch
from unet_jax.errors import UserError

OFF = {"flip": False, "quarter_turns": False, "brightness": 0.0, "contrast": 0.0, "gamma": 0.0, "noise": 0.0}
GREY = {"brightness": 0.2, "contrast": 0.3, "gamma": 0.3}
N = 128
KEYS = jax.random.split(jax.random.key(0), N)


def example(size=(6, 6)):
    """Returns an example whose grey values encode the ids of the mask, in an order that every symmetry changes."""
    ids = np.random.default_rng(0).permutation(size[0] * size[1]).reshape(size)
    mask = ids % 5
    made = {"image": mask[..., None] / 2 - 1.0, "mask": mask, "valid": ids > 3, "weight": ids, "tags": ids[..., None]}
    dtypes = {"image": jnp.float32, "mask": jnp.int32, "valid": bool, "weight": jnp.float16, "tags": jnp.int32}
    return {key: jnp.asarray(value, dtypes[key]) for key, value in made.items()} | {"index": jnp.array([4])}


@functools.cache
def compiled(**options):
    return jax.jit(jax.vmap(functools.partial(augment, **options), (0, None)))


def many(one, **options):
    """Returns `one` augmented with N keys, by vmap inside jit."""
    made = compiled(**options)(KEYS, one)
    assert {k: (v.shape[1:], v.dtype) for k, v in made.items()} == {k: (v.shape, v.dtype) for k, v in one.items()}
    return jax.tree.map(np.asarray, made)


def orders(made):
    return {row.tobytes() for row in made["weight"]}


@pytest.mark.parametrize(
    ("size", "options", "symmetries"),
    [
        ((6, 6), {"flip": True}, 4),
        ((6, 6), {"quarter_turns": True}, 4),
        ((6, 6), {"flip": True, "quarter_turns": True}, 8),
        ((4, 6), {"quarter_turns": True}, 2),
        ((4, 6), {"flip": True, "quarter_turns": True}, 4),
    ],
)
def test_everything_moves_in_the_same_way(size, options, symmetries):
    one = example(size)
    made = many(one, **options)
    np.testing.assert_array_equal(made["image"][..., 0], made["mask"] / 2 - 1.0)
    np.testing.assert_array_equal(made["mask"], made["weight"] % 5)
    np.testing.assert_array_equal(made["valid"], made["weight"] > 3)
    np.testing.assert_array_equal(made["tags"][..., 0], made["weight"])
    assert (made["index"] == 4).all()
    ids = np.asarray(one["weight"])
    turns = [np.rot90(ids, k).tobytes() for k in range(4)]
    mirrored = [np.rot90(ids[:, ::-1], k).tobytes() for k in range(4)]
    assert len(orders(made)) == symmetries
    assert orders(made) <= {*turns, *(mirrored if "flip" in options else ())}


def test_grey_values_keep_their_order_and_leave_the_mask():
    one = example()
    made = many(one, **GREY)
    for key in ("mask", "valid", "weight"):
        np.testing.assert_array_equal(made[key], np.broadcast_to(one[key], made[key].shape))
    # Equal ids stay equal and larger ones stay larger, so the mask can still be read from the image.
    for image in made["image"]:
        levels = np.unique(np.round(image, 4))
        assert len(levels) == 5
        np.testing.assert_array_equal(np.searchsorted(levels, np.round(image[..., 0], 4)), one["mask"])


def test_stated_distributions():
    image = np.asarray(example()["image"])
    mean, low, high = image.mean(), image.min(), image.max()

    def covers(drawn, least, most):
        assert drawn.min() >= least - 1e-4
        assert drawn.max() <= most + 1e-4
        assert np.ptp(drawn) > 0.9 * (most - least)

    shift = (many(example(), brightness=0.5)["image"] - image).reshape(N, -1)
    assert np.ptp(shift, axis=1).max() < 1e-5
    covers(shift[:, 0], -0.5, 0.5)

    changed = many(example(), contrast=0.4)["image"]
    factor = (changed - mean).std((1, 2, 3)) / image.std()
    np.testing.assert_allclose(changed, mean + factor[:, None, None, None] * (image - mean), atol=1e-5)
    covers(factor, 0.6, 1.4)

    changed = many(example(), gamma=0.7)["image"]
    np.testing.assert_allclose(changed.min((1, 2, 3)), low, atol=1e-5)
    np.testing.assert_allclose(changed.max((1, 2, 3)), high, atol=1e-5)
    middle = np.unravel_index(np.argmin(np.abs(image)), image.shape)
    part = (image[middle] - low) / (high - low)
    covers(np.log(np.log((changed[:, *middle] - low) / (high - low)) / np.log(part)), -0.7, 0.7)

    sigma = (many(example((32, 32)), noise=0.5)["image"] - np.asarray(example((32, 32))["image"])).std((1, 2, 3))
    covers(sigma, 0.0, 0.52)
    assert abs(sigma.mean() - 0.25) < 0.05


def test_pure_in_the_key_and_off_when_zero():
    one = example()
    every = {"flip": True, "quarter_turns": True, "noise": 0.1, **GREY}
    a, b = many(one, **every), many(one, **every)
    jax.tree.map(np.testing.assert_array_equal, a, b)
    assert len({row.tobytes() for row in a["image"]}) == N
    off = many(one, **OFF)
    for key, value in one.items():
        np.testing.assert_array_equal(off[key], np.broadcast_to(value, off[key].shape), err_msg=key)
    # An option that is off does not change the draws of the others.
    np.testing.assert_array_equal(a["mask"], many(one, flip=True, quarter_turns=True)["mask"])


def test_the_draws_of_a_key_never_change():
    """A run can only be repeated with the same draws. These values were computed when there were only six changes."""
    keys = jax.random.split(jax.random.key(3), 16)
    six = {"flip": True, "quarter_turns": True, "brightness": 0.1, "contrast": 0.2, "gamma": 0.2, "noise": 0.05}
    for size, weights, pixels in (
        ((6, 6), (27, 21, 4), (-0.0229451, -0.468885, 1.16945, -0.445241, -0.453206)),
        ((4, 6), (15, 18, 18), (-0.945411, 0.621211, 0.50017, -1.00259, -1.13083)),
    ):
        made = compiled(**six)(keys, example(size))
        np.testing.assert_array_equal(made["weight"][:3, 0, 0], weights)
        np.testing.assert_allclose(made["image"][:5, 0, 0, 0], pixels, atol=1e-5)


def test_a_batch_has_a_key_for_each_place():
    batch = jax.tree.map(lambda x: jnp.stack([x] * 6), example())
    options = {"flip": True, "quarter_turns": True}
    key = jax.random.key(5)
    run = jax.jit(functools.partial(augment_batch, **options))
    whole, half = run(key, batch, 0), run(key, jax.tree.map(lambda x: x[3:], batch), 3)
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a[3:], b), whole, half)
    alone = compiled(**options)(jax.random.fold_in(key, 4)[None], example())
    np.testing.assert_array_equal(alone["weight"][0], whole["weight"][4])
    assert len(orders(jax.tree.map(np.asarray, whole))) > 2


def test_a_constant_window_stays_finite():
    one = example() | {"image": jnp.zeros((6, 6, 1))}
    image = many(one, **GREY)["image"]
    np.testing.assert_allclose(image, np.broadcast_to(image[:, :1, :1], image.shape), atol=1e-6)
    assert (np.abs(image) <= 0.2).all()


@pytest.mark.parametrize(("option", "value"), [("noise", -0.1), ("contrast", 1.0)])
def test_wrong_strengths_are_named(option, value):
    with pytest.raises(UserError, match=rf"augment\.{option} {value}: "):
        augment(KEYS[0], example(), **{option: value})
