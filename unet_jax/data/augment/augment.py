"""Changes one training window at random, in JAX on the device: first its geometry, then its grey values.

The result is a pure function of the key. The step folds the key from (seed, step, example), so nothing random is saved.
`augment_batch` gives each row of a batch its own key; all other functions take a single example.
"""

import jax
import jax.numpy as jnp

from unet_jax.data.augment import spatial
from unet_jax.data.augment.intensity import change_grey_values
from unet_jax.data.augment.options import BY_CHANCE, AugmentOptions


def augment(key: jax.Array, example: dict[str, jax.Array], **options) -> dict[str, jax.Array]:
    """Changes one example at random; an option that is off does not change the random draws of the others.

    Flips and quarter turns alone move pixels. With a warp (`elastic`, `rotate`, `scale`, `shear`, `shift`) they are a part
    of one sampling map: the image is interpolated once, arrays of floats (weight) linearly, all others (mask, valid,
    instances) take the nearest pixel, so that ids stay ids. The window keeps its size. Outside the window a warp reads the
    mirrored window; with fill_mode="void" such pixels are not valid: mask `VOID_ID` (0 where masks overlap), valid False,
    instances 0.

    Args:
      key: a PRNG key.
      example: `image` float32 `[h, w, c]`, normalised (unit variance), and any arrays that start with the axes
        `[h, w]` (mask, valid, weight, instances): these move with the image. Arrays of other shapes are passed on.
      **options: those of `options.AugmentOptions`.

    Raises:
      UserError: an option's value is outside its domain.
    """
    options = AugmentOptions(**options)
    geometry_key, grey_key = jax.random.split(key)
    chances = draw_chances(key, options)
    example = change_geometry(geometry_key, example, options, chances)
    return example | {"image": change_grey_values(grey_key, example["image"], options, chances)}


def augment_batch(key: jax.Array, batch: dict[str, jax.Array], first=0, **options) -> dict[str, jax.Array]:
    """Augments every row of a batch; row i uses `key` folded with `first` + i."""
    keys = jax.vmap(lambda position: jax.random.fold_in(key, position))(first + jnp.arange(batch["image"].shape[0]))
    return jax.vmap(lambda key, example: augment(key, example, **options))(keys, batch)


def draw_chances(key: jax.Array, options: AugmentOptions) -> dict[str, jax.Array]:
    """Draws which of the changes happen, for those that have a probability below 1."""
    # 0 and 1 are the keys of geometry and grey values.
    return {
        name: jax.random.bernoulli(jax.random.fold_in(key, 2 + position), options.probability[name])
        for position, name in enumerate(BY_CHANCE)
        if options.on(name) and options.probability.get(name, 1) < 1
    }


def change_geometry(key, example, options: AugmentOptions, chances) -> dict[str, jax.Array]:
    """Moves the image and all per-pixel arrays alike; see `augment`."""
    size = example["image"].shape[:2]
    flip_key, turn_key = jax.random.split(key)
    up_down, left_right = jax.random.bernoulli(flip_key, shape=(2,)) & options.flip
    turns = jax.random.randint(turn_key, (), 0, 4) * options.quarter_turns
    if size[0] != size[1]:
        turns = turns // 2 * 2

    if options.warps:
        places = spatial.draw(jax.random.fold_in(key, 2), size, options, chances)
        return spatial.warp(example, turn_and_flip(places, size, up_down, left_right, turns), options)

    def move(x):
        if x.shape[:2] != size:
            return x
        x = jnp.where(up_down, x[::-1], x)
        x = jnp.where(left_right, x[:, ::-1], x)
        if size[0] == size[1]:
            x = jnp.where(turns % 2 == 1, jnp.rot90(x), x)
        return jnp.where(turns >= 2, x[::-1, ::-1], x)

    return jax.tree.map(move, example) if options.flip or options.quarter_turns else example


def turn_and_flip(places, size, up_down, left_right, turns):
    """Returns the map `[2, h, w]` that reads the flipped and turned window at `places`."""
    bottom, right = (n - 1 for n in size)
    y, x = places
    y, x = jnp.where(turns >= 2, bottom - y, y), jnp.where(turns >= 2, right - x, x)
    if bottom == right:
        y, x = jnp.where(turns % 2 == 1, x, y), jnp.where(turns % 2 == 1, right - y, x)
    return jnp.stack([jnp.where(up_down, bottom - y, y), jnp.where(left_right, right - x, x)])
