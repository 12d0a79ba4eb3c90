"""One sampling map for elastic deformation, rotation, scale, shear and shift, and what an array is there.

Places are (y, x) in pixels, pixel centres at whole numbers; a map says for each pixel of the window where in the old window
it comes from, so that a mask and its image are read at the same places and each is interpolated once.
"""

import jax
import jax.numpy as jnp
import numpy as np

from unet_jax.data.augment.cubic import cubic_weights
from unet_jax.data.augment.options import AugmentOptions
from unet_jax.segmentation import VOID_ID


def draw(key: jax.Array, size: tuple[int, int], options: AugmentOptions, chances: dict[str, jax.Array]) -> jax.Array:
    """A random map float32 `[2, h, w]`; `chances` tells which of them take place, those it does not name always do."""
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


def affine(size: tuple[int, int], angle, factor, lean, shift) -> jax.Array:
    """The map `[2, h, w]` that scales, shears, rotates, all about the window's centre, and then shifts what it shows.

    angle: radians, counter-clockwise as `rot90`. factor: above 1 larger. lean: pixels to the right for each down, the
    tangent of the shear. shift: (down, right) in pixels.
    """
    height, width = size
    y = jnp.arange(height)[:, None] - (height - 1) / 2 - shift[0]
    x = jnp.arange(width)[None, :] - (width - 1) / 2 - shift[1]
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    y, x = cos * y + sin * x, cos * x - sin * y  # a map runs backwards: the last first
    y, x = y / factor, (x - lean * y) / factor
    return jnp.stack([y + (height - 1) / 2, x + (width - 1) / 2])


def displacements(points: jax.Array, size: tuple[int, int]) -> jax.Array:
    """Displacements `[2, h, w]` of every pixel from those of a coarse grid `[2, g, g]`, by bicubic interpolation.

    Ronneberger et al., "U-Net" (MICCAI 2015), section 3.1. The grid spans the window, its outer points on the outer pixels,
    and goes on beyond them as they are.
    """
    rows, columns = (_grid_weights(n, points.shape[-1]) for n in size)
    return jnp.einsum("hi,dij,wj->dhw", rows, points, columns, precision="highest")


def _grid_weights(num_pixels: int, num_points: int) -> np.ndarray:
    """What each grid point weighs at each pixel of an axis, float32 `[num_pixels, num_points]`."""
    place = np.linspace(0, num_points - 1, num_pixels)
    before = np.minimum(place.astype(int), num_points - 2)
    weights = np.zeros((num_pixels, num_points), np.float32)
    for offset, weight in zip((-1, 0, 1, 2), cubic_weights(place - before), strict=True):
        np.add.at(weights, (np.arange(num_pixels), np.clip(before + offset, 0, num_points - 1)), weight)
    return weights


def inside(places: jax.Array, size: tuple[int, int]) -> jax.Array:
    """Whether each place lies on a pixel of the window, bool `[h, w]`."""
    y, x = places
    return (y >= -0.5) & (y <= size[0] - 0.5) & (x >= -0.5) & (x <= size[1] - 0.5)


def sample(array: jax.Array, places: jax.Array, how: str) -> jax.Array:
    """What `[H, W, ...]` is at the places `[2, h, w]`: `[h, w, ...]` of its own dtype, mirrored about its end pixels.

    how: nearest (values stay values, of any dtype), linear, or cubic (Keys).
    """
    height, width, *rest = array.shape
    flat = jnp.reshape(array, (height * width, *rest))

    def read(y, x):
        return flat.at[y * width + x].get(mode="promise_in_bounds")

    rows, columns = (_taps(_mirror(p, n), n, how) for p, n in zip(places, (height, width), strict=True))
    if how == "nearest":
        return read(rows[0][0], columns[0][0])
    total = 0.0
    for y, weight_y in rows:
        for x, weight_x in columns:
            weight = weight_y * weight_x
            total += weight.reshape(weight.shape + (1,) * len(rest)) * read(y, x)
    return total.astype(array.dtype)


def _mirror(place, n):
    """The place in 0 .. n - 1 that a place of an endless axis is, mirrored about the end pixels."""
    if n == 1:
        return jnp.zeros_like(place)
    return (n - 1) - jnp.abs(place % (2 * (n - 1)) - (n - 1))


def _taps(place, n, how):
    """(pixel, weight) of those around a place in 0 .. n - 1."""
    if how == "nearest":
        return [(jnp.floor(place + 0.5).astype(jnp.int32), 1.0)]
    before = jnp.floor(place)
    part, before = place - before, before.astype(jnp.int32)
    if how == "linear":
        return [(before, 1 - part), (jnp.minimum(before + 1, n - 1), part)]
    # Beyond either end lies the mirrored pixel; an axis of 1 or 2 pixels has fewer than the four.
    offsets = zip((-1, 0, 1, 2), cubic_weights(part), strict=True)
    return [(_mirror(before + offset, n), weight) for offset, weight in offsets]


def warp(example: dict[str, jax.Array], places: jax.Array, options: AugmentOptions) -> dict[str, jax.Array]:
    """The example read at the places; see `augment`."""
    size = example["image"].shape[:2]

    def read(name, x):
        if x.shape[:2] != size:
            return x
        if name == "image":
            return sample(x, places, options.interpolation)
        return sample(x, places, "linear" if jnp.issubdtype(x.dtype, jnp.floating) else "nearest")

    made = {name: read(name, x) for name, x in example.items()}
    if options.fill_mode == "void":
        here = inside(places, size)
        for name in ("mask", "valid", "instances"):
            if name in made:
                nothing = VOID_ID if name == "mask" and made[name].ndim == 2 else 0
                made[name] = jnp.where(here.reshape(here.shape + (1,) * (made[name].ndim - 2)), made[name], nothing)
    return made
