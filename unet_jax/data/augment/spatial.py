"""Draws one sampling map for elastic deformation, rotation, scale, shear and shift, and reads arrays through it.

Places are (y, x) in pixels; pixel centres lie at whole numbers. A map gives, for each pixel of the new window, its place in
the old window. Mask and image are read at the same places, and each is interpolated once.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from unet_jax.data.augment.cubic import cubic_weights
from unet_jax.data.augment.options import AugmentOptions
from unet_jax.segmentation import VOID_ID


def draw(key: jax.Array, size: tuple[int, ...], options: AugmentOptions, chances: dict[str, jax.Array]) -> jax.Array:
    """Draws a random map float32 `[2, h, w]`.

    Args:
      key: a PRNG key.
      size: (height, width) of the window.
      options: the options of augmentation.
      chances: for each change, True where it happens; a change that is not named always happens.
    """
    elastic_key, rotate_key, scale_key, shear_key, shift_key = jax.random.split(key, 5)

    def drawn(key, name, low, high, shape=()):
        if not options.on(name):
            return jnp.zeros(shape)
        return jax.random.uniform(key, shape, minval=low, maxval=high) * chances.get(name, True)

    angle = drawn(rotate_key, "rotate", -np.radians(options.rotate), np.radians(options.rotate))
    factor = jnp.exp(drawn(scale_key, "scale", *np.log(options.scale)))
    lean = jnp.tan(drawn(shear_key, "shear", -np.radians(options.shear), np.radians(options.shear)))
    shift = drawn(shift_key, "shift", -options.shift, options.shift, (2,))
    places = affine(size, angle, factor, lean, shift)
    if options.on("elastic"):
        points = jax.random.normal(elastic_key, (2, int(options.elastic_grid), int(options.elastic_grid)))
        places += displacements(options.elastic * points * chances.get("elastic", True), size)
    return places


def affine(
    size: tuple[int, ...],
    angle: float | jax.Array,
    factor: float | jax.Array,
    lean: float | jax.Array,
    shift: Sequence[float] | jax.Array,
) -> jax.Array:
    """Returns the map `[2, h, w]` that scales, shears and rotates about the window's centre, and then shifts.

    Args:
      size: (height, width) of the window.
      angle: angle of the rotation in radians, counter-clockwise as `rot90`.
      factor: factor of the scale; above 1 enlarges.
      lean: tangent of the shear: pixels to the right for each pixel down.
      shift: (down, right) in pixels.
    """
    height, width = size
    y = jnp.arange(height)[:, None] - (height - 1) / 2 - shift[0]
    x = jnp.arange(width)[None, :] - (width - 1) / 2 - shift[1]
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    # A map runs backwards, so the last change comes first.
    y, x = cos * y + sin * x, cos * x - sin * y
    y, x = y / factor, (x - lean * y) / factor
    return jnp.stack([y + (height - 1) / 2, x + (width - 1) / 2])


def displacements(points: jax.Array, size: tuple[int, ...]) -> jax.Array:
    """Interpolates the displacements of a coarse grid at every pixel, by bicubic interpolation.

    This is the elastic deformation of Ronneberger et al., "U-Net" (MICCAI 2015), section 3.1. The outer points of the grid
    lie on the outer pixels of the window; beyond them the outer points are repeated.

    Args:
      points: displacements (down, right) in pixels, `[2, g, g]`.
      size: (height, width) of the window.

    Returns:
      Displacements in pixels, `[2, h, w]`.
    """
    rows, columns = (_grid_weights(n, points.shape[-1]) for n in size)
    return jnp.einsum("hi,dij,wj->dhw", rows, points, columns, precision="highest")


def _grid_weights(num_pixels: int, num_points: int) -> np.ndarray:
    """Returns the weight of each grid point at each pixel of an axis, float32 `[num_pixels, num_points]`."""
    place = np.linspace(0, num_points - 1, num_pixels)
    before = np.minimum(place.astype(int), num_points - 2)
    weights = np.zeros((num_pixels, num_points), np.float32)
    for offset, weight in zip((-1, 0, 1, 2), cubic_weights(place - before), strict=True):
        np.add.at(weights, (np.arange(num_pixels), np.clip(before + offset, 0, num_points - 1)), weight)
    return weights


def inside(places: jax.Array, size: tuple[int, ...]) -> jax.Array:
    """Returns True where a place lies on a pixel of the window, bool `[h, w]`.

    Args:
      places: a map `[2, h, w]`.
      size: (height, width) of the window.
    """
    y, x = places
    return (y >= -0.5) & (y <= size[0] - 0.5) & (x >= -0.5) & (x <= size[1] - 0.5)


def sample(array: jax.Array, places: jax.Array, interpolation: str) -> jax.Array:
    """Reads an array at places; beyond its border the array is mirrored about its end pixels.

    Args:
      array: `[H, W, ...]`.
      places: a map `[2, h, w]`.
      interpolation: "nearest", which keeps values as they are and takes any dtype, "linear", or "cubic" (Keys).

    Returns:
      `[h, w, ...]` of the array's dtype.
    """
    height, width, *rest = array.shape
    flat = jnp.reshape(array, (height * width, *rest))

    def read(y, x):
        return flat.at[y * width + x].get(mode="promise_in_bounds")

    rows, columns = (_taps(_mirror(p, n), n, interpolation) for p, n in zip(places, (height, width), strict=True))
    if interpolation == "nearest":
        return read(rows[0][0], columns[0][0])
    total: float | jax.Array = 0.0
    for y, weight_y in rows:
        for x, weight_x in columns:
            weight = weight_y * weight_x
            total += weight.reshape(weight.shape + (1,) * len(rest)) * read(y, x)
    return jnp.asarray(total, array.dtype)


def _mirror(place, n):
    """Folds a place on an endless axis into 0..n-1, mirrored about the end pixels."""
    if n == 1:
        return jnp.zeros_like(place)
    return (n - 1) - jnp.abs(place % (2 * (n - 1)) - (n - 1))


def _taps(place, n, interpolation):
    """Returns (pixel, weight) of the pixels around a place in 0..n-1."""
    if interpolation == "nearest":
        return [(jnp.floor(place + 0.5).astype(jnp.int32), 1.0)]
    before = jnp.floor(place)
    fraction, before = place - before, before.astype(jnp.int32)
    if interpolation == "linear":
        return [(before, 1 - fraction), (jnp.minimum(before + 1, n - 1), fraction)]
    # The axis is mirrored, because a place near its end has fewer than four pixels around it.
    offsets = zip((-1, 0, 1, 2), cubic_weights(fraction), strict=True)
    return [(_mirror(before + offset, n), weight) for offset, weight in offsets]


def warp(example: dict[str, jax.Array], places: jax.Array, options: AugmentOptions) -> dict[str, jax.Array]:
    """Reads all per-pixel arrays of an example at the places; see `augment`.

    Args:
      example: as in `augment`.
      places: a map `[2, h, w]`.
      options: the options of augmentation; `interpolation` and `fill_mode` are used.
    """
    size = example["image"].shape[:2]

    def read(name, x):
        if x.shape[:2] != size:
            return x
        if name == "image":
            return sample(x, places, options.interpolation)
        return sample(x, places, "linear" if jnp.issubdtype(x.dtype, jnp.floating) else "nearest")

    warped = {name: read(name, x) for name, x in example.items()}
    if options.fill_mode == "void":
        in_window = inside(places, size)
        for name in ("mask", "valid", "instances"):
            if name in warped:
                x = warped[name]
                fill = VOID_ID if name == "mask" and x.ndim == 2 else 0
                warped[name] = jnp.where(in_window.reshape(in_window.shape + (1,) * (x.ndim - 2)), x, fill)
    return warped
