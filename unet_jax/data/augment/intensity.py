"""Changes a window's grey values, as a lens, a detector and an exposure change the same scene."""

import math

import jax
import jax.numpy as jnp
import numpy as np

from unet_jax.data.augment.cubic import cubic_weights
from unet_jax.data.augment.options import AugmentOptions
from unet_jax.data.padding import mirrored

# Changes that were added after the first five; they do not alter the keys of those. A new one goes to the end.
LATE = ("blur", "low_resolution", "multiply", "inverted_gamma", "cutout")


def change_grey_values(
    key: jax.Array, image: jax.Array, options: AugmentOptions, chances: dict[str, jax.Array]
) -> jax.Array:
    """Applies the changes that are on, in the order of `options`; all channels alike, except noise.

    Args:
      key: a PRNG key.
      image: float32 `[h, w, c]`.
      options: the options of augmentation.
      chances: bool by change: whether it happens; changes that it does not name always happen.
    """
    contrast_key, brightness_key, gamma_key, sigma_key, noise_key = jax.random.split(key, 5)

    def late_key(name):
        return jax.random.fold_in(key, 5 + LATE.index(name))

    def chosen(name, changed):
        return jnp.where(chances[name], changed, image) if name in chances else changed

    if options.on("blur"):
        low, high = options.blur
        sigma = jax.random.uniform(late_key("blur"), (), minval=low, maxval=high)
        image = chosen("blur", blur(image, sigma, radius=math.ceil(4 * high)))
    if options.on("low_resolution"):
        low, high = options.low_resolution
        zoom = jax.random.uniform(late_key("low_resolution"), (), minval=low, maxval=high)
        image = chosen("low_resolution", low_resolution(image, zoom))
    if options.on("multiply"):
        factor = jax.random.uniform(late_key("multiply"), (), minval=1 - options.multiply, maxval=1 + options.multiply)
        image = chosen("multiply", factor * image)
    if options.on("contrast"):
        mean = image.mean()
        factor = jax.random.uniform(contrast_key, (), minval=1 - options.contrast, maxval=1 + options.contrast)
        image = chosen("contrast", mean + factor * (image - mean))
    if options.on("brightness"):
        added = jax.random.uniform(brightness_key, (), minval=-options.brightness, maxval=options.brightness)
        image = chosen("brightness", image + added)
    if options.on("inverted_gamma"):
        image = chosen("inverted_gamma", -gamma(late_key("inverted_gamma"), -image, options.inverted_gamma))
    if options.on("gamma"):
        image = chosen("gamma", gamma(gamma_key, image, options.gamma))
    if options.on("noise"):
        sigma = jax.random.uniform(sigma_key, (), maxval=options.noise)
        image = chosen("noise", image + sigma * jax.random.normal(noise_key, image.shape, image.dtype))
    if options.on("cutout"):
        boxes = draw_boxes(late_key("cutout"), image.shape[:2], int(options.cutout), options.cutout_size)
        image = chosen("cutout", cutout(image, boxes))
    return image


def gamma(key: jax.Array, image: jax.Array, strength: float) -> jax.Array:
    """Raises the window, scaled to 0..1, to the power exp(U(-strength, strength)); its least and largest values stay."""
    low = image.min()
    extent = jnp.maximum(image.max() - low, 1e-6)
    exponent = jnp.exp(jax.random.uniform(key, (), minval=-strength, maxval=strength))
    return low + extent * ((image - low) / extent) ** exponent


def blur(image: jax.Array, sigma, radius: int) -> jax.Array:
    """Blurs by a Gaussian of standard deviation `sigma` >= 0 pixels, cut off beyond `radius`; mirrored at the border."""
    rows, columns = (_gaussian(n, sigma, radius) for n in image.shape[:2])
    mirrored_rows, mirrored_columns = (mirrored(-radius, n + radius, n) for n in image.shape[:2])
    wide = image[mirrored_rows][:, mirrored_columns]
    return jnp.einsum("hi,wj,ijc->hwc", rows, columns, wide, precision="highest")


def _gaussian(n, sigma, radius):
    """Returns the weights `[n, n + 2 radius]` of the pixels of an axis, and of `radius` beyond its ends, in each pixel."""
    distance = np.arange(-radius, n + radius)[None] - np.arange(n)[:, None]
    squares = np.where(abs(distance) <= radius, distance.astype(np.float32) ** 2, np.inf)
    # A sigma below 1e-3 changes nothing.
    weights = jnp.exp(-squares / (2 * jnp.maximum(sigma, 1e-3) ** 2))
    return weights / weights.sum(1, keepdims=True)


def low_resolution(image: jax.Array, zoom) -> jax.Array:
    """Reduces the image to round(zoom * size) pixels by nearest, 0 < zoom <= 1, and enlarges it again by cubic (Keys).

    Isensee et al., "nnU-Net" (Nature Methods, 2021), supplementary note 4: simulation of low resolution.
    """
    rows, columns = (_low_resolution_weights(n, zoom) for n in image.shape[:2])
    return jnp.einsum("hi,wj,ijc->hwc", rows, columns, image, precision="highest")


def _low_resolution_weights(n, zoom):
    """Returns the weights `[n, n]` of the pixels of an axis in each pixel of the result."""
    small = jnp.maximum(jnp.round(zoom * n), 1).astype(jnp.int32)
    # Position among the small image's pixels, in units of 1 / 2n pixels: a whole number, so it is exact.
    position = (2 * jnp.arange(n) + 1) * small - n
    before, fraction = position // (2 * n), position % (2 * n) / (2 * n)
    weights = jnp.zeros((n, n))
    for offset, weight in zip((-1, 0, 1, 2), cubic_weights(fraction), strict=True):
        pixel = jnp.clip(before + offset, 0, small - 1)
        source = (2 * pixel + 1) * n // (2 * small)
        weights += weight[:, None] * (source[:, None] == jnp.arange(n)[None])
    return weights


def draw_boxes(key: jax.Array, size: tuple[int, int], number: int, fractions: tuple[float, float]) -> jax.Array:
    """Draws rectangles `[number, 2, 2]`: (first, last) position on each axis, centres anywhere in the window.

    Height and width are between these `fractions` of the window's.
    """
    centre_key, size_key = jax.random.split(key)
    sides = jnp.array(size, jnp.float32)[None]
    centre = jax.random.uniform(centre_key, (number, 2)) * sides - 0.5
    half = jax.random.uniform(size_key, (number, 2), minval=fractions[0], maxval=fractions[1]) * sides / 2
    return jnp.stack([centre - half, centre + half], -1)


def cutout(image: jax.Array, boxes: jax.Array) -> jax.Array:
    """Sets the pixels whose centres lie in one of the boxes to the image's mean, channel by channel.

    After DeVries and Taylor, "Improved Regularization of Convolutional Neural Networks with Cutout" (2017).
    """
    rows, columns = (
        (jnp.arange(n)[None] >= boxes[:, axis, :1]) & (jnp.arange(n)[None] <= boxes[:, axis, 1:])
        for axis, n in enumerate(image.shape[:2])
    )
    hidden = (rows[:, :, None] & columns[:, None, :]).any(0)
    return jnp.where(hidden[..., None], image.mean((0, 1), keepdims=True), image)
