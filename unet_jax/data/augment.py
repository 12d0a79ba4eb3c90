"""Random changes of one training window, in JAX on the device: first its geometry, then its grey values.

The result is a pure function of the key, so the step folds it from (seed, step, example) and nothing random is kept.
All functions take a single example and are meant for `jax.vmap` over the batch.
"""

import jax
import jax.numpy as jnp

from unet_jax.errors import UserError


def augment(
    key: jax.Array,
    example: dict[str, jax.Array],
    *,
    flip: bool = False,
    quarter_turns: bool = False,
    brightness: float = 0.0,
    contrast: float = 0.0,
    gamma: float = 0.0,
    noise: float = 0.0,
) -> dict[str, jax.Array]:
    """One example, changed at random; whatever is False or 0 is off and leaves the draws of the others as they are.

    Args:
      key: a PRNG key.
      example: `image` float32 `[h, w, c]`, normalised (unit variance), and any arrays that start with the axes
        `[h, w]` (mask, valid, weight): these move with the image. Arrays of other shapes are passed on.
      flip: mirrors up-down and left-right, each with probability 1/2.
      quarter_turns: turns by 0, 90, 180 or 270 degrees, each with probability 1/4; a window that is not square by 0 or
        180 degrees, each with probability 1/2.
      brightness: adds b ~ U(-brightness, brightness), in units of the image's standard deviation.
      contrast: x -> m + f (x - m), m the window's mean, f ~ U(1 - contrast, 1 + contrast); below 1.
      gamma: x -> lo + r ((x - lo) / r)^g over the window's range r = hi - lo, log g ~ U(-gamma, gamma).
      noise: adds normal noise to each pixel, its standard deviation ~ U(0, noise).

    Raises `UserError` on a negative strength or a contrast of 1 or more.
    """
    for name, value in {"brightness": brightness, "contrast": contrast, "gamma": gamma, "noise": noise}.items():
        if value < 0 or (name == "contrast" and value >= 1):
            limits = "at least 0 and below 1" if name == "contrast" else "at least 0"
            raise UserError(f"augment.{name}={value}: choose {limits}")
    geometry_key, grey_key = jax.random.split(key)
    example = change_geometry(geometry_key, example, flip=flip, quarter_turns=quarter_turns)
    image = change_grey_values(
        grey_key, example["image"], brightness=brightness, contrast=contrast, gamma=gamma, noise=noise
    )
    return example | {"image": image}


def change_geometry(key, example, *, flip: bool, quarter_turns: bool) -> dict[str, jax.Array]:
    """Moves the image and all per-pixel arrays alike, pixel by pixel: ids stay ids; see `augment`."""
    size = example["image"].shape[:2]
    flip_key, turn_key = jax.random.split(key)
    up_down, left_right = jax.random.bernoulli(flip_key, shape=(2,)) & flip
    turns = jax.random.randint(turn_key, (), 0, 4) * quarter_turns
    if size[0] != size[1]:
        turns = turns // 2 * 2

    def move(x):
        if x.shape[:2] != size:
            return x
        x = jnp.where(up_down, x[::-1], x)
        x = jnp.where(left_right, x[:, ::-1], x)
        if size[0] == size[1]:
            x = jnp.where(turns % 2 == 1, jnp.rot90(x), x)
        return jnp.where(turns >= 2, x[::-1, ::-1], x)

    return jax.tree.map(move, example) if flip or quarter_turns else example


def change_grey_values(key, image, *, brightness: float, contrast: float, gamma: float, noise: float) -> jax.Array:
    """Contrast, brightness, gamma and noise, in this order, on `[h, w, c]`; see `augment`."""
    contrast_key, brightness_key, gamma_key, sigma_key, noise_key = jax.random.split(key, 5)
    if contrast:
        mean = image.mean()
        image = mean + jax.random.uniform(contrast_key, (), minval=1 - contrast, maxval=1 + contrast) * (image - mean)
    if brightness:
        image = image + jax.random.uniform(brightness_key, (), minval=-brightness, maxval=brightness)
    if gamma:
        low = image.min()
        extent = jnp.maximum(image.max() - low, 1e-6)  # a constant window stays as it is
        exponent = jnp.exp(jax.random.uniform(gamma_key, (), minval=-gamma, maxval=gamma))
        image = low + extent * ((image - low) / extent) ** exponent
    if noise:
        sigma = jax.random.uniform(sigma_key, (), maxval=noise)
        image = image + sigma * jax.random.normal(noise_key, image.shape, image.dtype)
    return image
