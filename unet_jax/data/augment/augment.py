"""Changes one training window at random, in JAX on the device: first its geometry, then its grey values.

The result is a pure function of the key. The training step folds the key from (seed, step, example), so nothing random is
saved. `augment_batch` gives each row of a batch a different key; all other functions take a single example.
"""

from typing import Any

import jax
import jax.numpy as jnp

from unet_jax.data.augment import spatial
from unet_jax.data.augment.intensity import change_grey_values
from unet_jax.data.augment.options import BY_CHANCE, AugmentOptions


def augment(key: jax.Array, example: dict[str, jax.Array], **options: Any) -> dict[str, jax.Array]:
    """Changes one example at random.

    Flips and quarter turns only move pixels. If a warp is on (`elastic`, `rotate`, `scale`, `shear`, `shift`), flips and
    turns are part of one sampling map. The image is then interpolated once, as `interpolation` says. Float arrays (weight)
    are interpolated linearly; all other arrays (mask, valid, instances) take the nearest pixel, so that ids stay ids.

    The window keeps its size. Outside the window a warp reads the mirrored window. With fill_mode="void" such pixels are
    not valid: mask `VOID_ID` (0 where masks overlap), valid False, instances 0.

    An option that is off does not change the random draws of the others.

    Args:
      key: a PRNG key.
      example: `image` float32 `[h, w, c]`, normalised to unit variance. All arrays of the shape `[h, w, ...]` (mask, valid,
        weight, instances) move with the image. Arrays of other shapes stay as they are.
      **options: the fields of `options.AugmentOptions`.

    Raises:
      UserError: an option's value is outside its domain.
    """
    chosen = AugmentOptions(**options)
    geometry_key, grey_key = jax.random.split(key)
    chances = draw_chances(key, chosen)
    example = change_geometry(geometry_key, example, chosen, chances)
    return example | {"image": change_grey_values(grey_key, example["image"], chosen, chances)}


def augment_batch(
    key: jax.Array, batch: dict[str, jax.Array], first: int | jax.Array = 0, **options: Any
) -> dict[str, jax.Array]:
    """Augments every row of a batch; row i uses `key` folded with `first` + i.

    >>> batch = {"image": jnp.zeros((2, 4, 4, 1)), "mask": jnp.arange(32).reshape(2, 4, 4)}
    >>> run = jax.jit(lambda key, batch: augment_batch(key, batch, flip=True, brightness=0.2))
    >>> changed = run(jax.random.key(0), batch)
    >>> {name: array.shape for name, array in changed.items()}
    {'image': (2, 4, 4, 1), 'mask': (2, 4, 4)}
    >>> sorted(changed["mask"].ravel().tolist()) == list(range(32))
    True

    Args:
      key: a PRNG key.
      batch: arrays `[B, ...]`: examples as `augment` takes them, stacked.
      first: position of row 0 in the whole batch, if `batch` is a part of it.
      **options: the fields of `options.AugmentOptions`.

    Raises:
      UserError: an option's value is outside its domain.
    """
    keys = jax.vmap(lambda position: jax.random.fold_in(key, position))(first + jnp.arange(batch["image"].shape[0]))
    return jax.vmap(lambda key, example: augment(key, example, **options))(keys, batch)


def draw_chances(key: jax.Array, options: AugmentOptions) -> dict[str, jax.Array]:
    """Draws which changes happen.

    Returns:
      A bool for each change that is on and has a probability below 1; all other changes always happen.
    """
    # From 2 on: `augment` splits the same key in two, which are the keys folded with 0 and 1.
    return {
        name: jax.random.bernoulli(jax.random.fold_in(key, 2 + position), options.probability[name])
        for position, name in enumerate(BY_CHANCE)
        if options.on(name) and options.probability.get(name, 1) < 1
    }


def change_geometry(
    key: jax.Array, example: dict[str, jax.Array], options: AugmentOptions, chances: dict[str, jax.Array]
) -> dict[str, jax.Array]:
    """Moves the image and all per-pixel arrays in the same way; see `augment`.

    Args:
      key: a PRNG key.
      example: as in `augment`.
      options: the options of augmentation.
      chances: the result of `draw_chances`.
    """
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


def turn_and_flip(
    places: jax.Array, size: tuple[int, ...], up_down: jax.Array, left_right: jax.Array, turns: jax.Array
) -> jax.Array:
    """Returns the map `[2, h, w]` that reads the flipped and turned window at `places`.

    Args:
      places: a map `[2, h, w]`, see `spatial`.
      size: (height, width) of the window.
      up_down: bool, True to mirror the window up-down.
      left_right: bool, True to mirror the window left-right.
      turns: number of quarter turns, 0 to 3; 0 or 2 if the window is not square.
    """
    bottom, right = (n - 1 for n in size)
    y, x = places
    y, x = jnp.where(turns >= 2, bottom - y, y), jnp.where(turns >= 2, right - x, x)
    if bottom == right:
        y, x = jnp.where(turns % 2 == 1, x, y), jnp.where(turns % 2 == 1, right - y, x)
    return jnp.stack([jnp.where(up_down, bottom - y, y), jnp.where(left_right, right - x, x)])
