"""Changes the grey values of a window, as another lens, detector or exposure would."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

from unet_jax.data.augment.cubic import cubic_weights
from unet_jax.data.augment.options import AugmentOptions
from unet_jax.data.padding import mirrored

# Changes that were added after the first five. Their position here sets their key, so a new one goes to the end.
LATE = ("blur", "low_resolution", "multiply", "inverted_gamma", "cutout")

# Sets the keys of the channels; no number that sets another key.
BY_CHANNEL = 1000


def change_grey_values(
    key: jax.Array, image: jax.Array, options: AugmentOptions, chances: dict[str, jax.Array]
) -> jax.Array:
    """Applies the changes that are on, in the order of the fields of `options`.

    Every channel is changed in the same way, but each gets different noise. With `per_channel` each is changed as an image of
    one channel, by a key of its own; `cutout` hides all of them.

    Args:
      key: a PRNG key.
      image: float32 `[h, w, c]`.
      options: the options of augmentation.
      chances: for each change, True where it happens; a change that is not named always happens.
    """
    if options.per_channel:
        keys = jax.random.split(jax.random.fold_in(key, BY_CHANNEL), image.shape[-1])
        change = functools.partial(_change, options=options, chances=chances)
        image = jax.vmap(lambda key, channel: change(key, channel[..., None])[..., 0], (0, 2), 2)(keys, image)
    else:
        image = _change(key, image, options, chances)
    if options.on("cutout"):
        boxes = draw_boxes(_late_key(key, "cutout"), image.shape[:2], int(options.cutout), options.cutout_size)
        hidden = cutout(image, boxes)
        image = jnp.where(chances["cutout"], hidden, image) if "cutout" in chances else hidden
    return image


def _late_key(key: jax.Array, name: str) -> jax.Array:
    return jax.random.fold_in(key, 5 + LATE.index(name))


def _change(key: jax.Array, image: jax.Array, options: AugmentOptions, chances: dict[str, jax.Array]) -> jax.Array:
    """Applies the changes but for `cutout`; see `change_grey_values`."""
    contrast_key, brightness_key, gamma_key, sigma_key, noise_key = jax.random.split(key, 5)

    def chosen(name, changed):
        return jnp.where(chances[name], changed, image) if name in chances else changed

    if options.on("blur"):
        low, high = options.blur
        sigma = jax.random.uniform(_late_key(key, "blur"), (), minval=low, maxval=high)
        image = chosen("blur", blur(image, sigma, radius=math.ceil(4 * high)))
    if options.on("low_resolution"):
        low, high = options.low_resolution
        zoom = jax.random.uniform(_late_key(key, "low_resolution"), (), minval=low, maxval=high)
        image = chosen("low_resolution", low_resolution(image, zoom))
    if options.on("multiply"):
        factor = jax.random.uniform(
            _late_key(key, "multiply"), (), minval=1 - options.multiply, maxval=1 + options.multiply
        )
        image = chosen("multiply", factor * image)
    if options.on("contrast"):
        mean = image.mean()
        factor = jax.random.uniform(contrast_key, (), minval=1 - options.contrast, maxval=1 + options.contrast)
        image = chosen("contrast", mean + factor * (image - mean))
    if options.on("brightness"):
        added = jax.random.uniform(brightness_key, (), minval=-options.brightness, maxval=options.brightness)
        image = chosen("brightness", image + added)
    if options.on("inverted_gamma"):
        image = chosen("inverted_gamma", -gamma(_late_key(key, "inverted_gamma"), -image, options.inverted_gamma))
    if options.on("gamma"):
        image = chosen("gamma", gamma(gamma_key, image, options.gamma))
    if options.on("noise"):
        sigma = jax.random.uniform(sigma_key, (), maxval=options.noise)
        image = chosen("noise", image + sigma * jax.random.normal(noise_key, image.shape, image.dtype))
    return image


def gamma(key: jax.Array, image: jax.Array, strength: float) -> jax.Array:
    """Applies a random gamma curve that keeps the smallest and the largest value.

    The window is scaled to 0..1, raised to the power exp(U(-strength, strength)), and scaled back.

    Args:
      key: a PRNG key.
      image: float32 `[h, w, c]`.
      strength: largest absolute value of the exponent's logarithm.
    """
    low = image.min()
    extent = jnp.maximum(image.max() - low, 1e-6)
    exponent = jnp.exp(jax.random.uniform(key, (), minval=-strength, maxval=strength))
    return low + extent * ((image - low) / extent) ** exponent


def blur(image: jax.Array, sigma: float | jax.Array, radius: int) -> jax.Array:
    """Blurs the image with a Gaussian; beyond its border the image is mirrored.

    Args:
      image: float32 `[h, w, c]`.
      sigma: standard deviation in pixels, at least 0.
      radius: pixels at which the Gaussian is cut off.
    """
    rows, columns = (_gaussian(n, sigma, radius) for n in image.shape[:2])
    mirrored_rows, mirrored_columns = (mirrored(-radius, n + radius, n) for n in image.shape[:2])
    wide = image[mirrored_rows][:, mirrored_columns]
    return jnp.einsum("hi,wj,ijc->hwc", rows, columns, wide, precision="highest")


def _gaussian(n, sigma, radius):
    """Returns the weights `[n, n + 2 radius]`: each row blurs one pixel of an axis that is `radius` longer at each end."""
    distance = np.arange(-radius, n + radius)[None] - np.arange(n)[:, None]
    squares = np.where(abs(distance) <= radius, distance.astype(np.float32) ** 2, np.inf)
    # Any sigma below 1e-3 leaves the image as it is.
    weights = jnp.exp(-squares / (2 * jnp.maximum(sigma, 1e-3) ** 2))
    return weights / weights.sum(1, keepdims=True)


def low_resolution(image: jax.Array, zoom: float | jax.Array) -> jax.Array:
    """Reduces the image to round(zoom * size) pixels and enlarges it again.

    It is reduced by nearest neighbour and enlarged by cubic interpolation (Keys). This is the simulation of low resolution of
    Isensee et al., "nnU-Net" (Nature Methods, 2021), supplementary note 4.

    Args:
      image: float32 `[h, w, c]`.
      zoom: factor of the size, above 0 and at most 1.
    """
    rows, columns = (_low_resolution_weights(n, zoom) for n in image.shape[:2])
    return jnp.einsum("hi,wj,ijc->hwc", rows, columns, image, precision="highest")


def _low_resolution_weights(n, zoom):
    """Returns the weights `[n, n]`: each row makes one pixel of the result from the pixels of an axis."""
    small = jnp.maximum(jnp.round(zoom * n), 1).astype(jnp.int32)
    # Position among the pixels of the small image, in units of 1 / 2n pixels: a whole number, so it is exact.
    position = (2 * jnp.arange(n) + 1) * small - n
    before, fraction = position // (2 * n), position % (2 * n) / (2 * n)
    weights = jnp.zeros((n, n))
    for offset, weight in zip((-1, 0, 1, 2), cubic_weights(fraction), strict=True):
        pixel = jnp.clip(before + offset, 0, small - 1)
        source = (2 * pixel + 1) * n // (2 * small)
        weights += weight[:, None] * (source[:, None] == jnp.arange(n)[None])
    return weights


def draw_boxes(key: jax.Array, size: tuple[int, ...], number: int, fractions: tuple[float, float]) -> jax.Array:
    """Draws rectangles whose centres lie anywhere in the window.

    Args:
      key: a PRNG key.
      size: (height, width) of the window.
      number: number of rectangles.
      fractions: smallest and largest height and width of a rectangle, as fractions of the window's.

    Returns:
      `[number, 2, 2]`: (first, last) position of each rectangle on each axis, in pixels.
    """
    centre_key, size_key = jax.random.split(key)
    sides = jnp.array(size, jnp.float32)[None]
    centre = jax.random.uniform(centre_key, (number, 2)) * sides - 0.5
    half = jax.random.uniform(size_key, (number, 2), minval=fractions[0], maxval=fractions[1]) * sides / 2
    return jnp.stack([centre - half, centre + half], -1)


def cutout(image: jax.Array, boxes: jax.Array) -> jax.Array:
    """Sets the pixels whose centres lie in a box to the mean of the image, for each channel.

    After DeVries and Taylor, "Improved Regularization of Convolutional Neural Networks with Cutout" (2017).

    Args:
      image: float32 `[h, w, c]`.
      boxes: the result of `draw_boxes`.
    """
    rows, columns = (
        (jnp.arange(n)[None] >= boxes[:, axis, :1]) & (jnp.arange(n)[None] <= boxes[:, axis, 1:])
        for axis, n in enumerate(image.shape[:2])
    )
    hidden = (rows[:, :, None] & columns[:, None, :]).any(0)
    return jnp.where(hidden[..., None], image.mean((0, 1), keepdims=True), image)
