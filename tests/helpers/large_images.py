"""Small networks whose predictions of a whole image and in parts are compared."""

import functools
import itertools

import jax
import numpy as np

from unet_jax import models
from unet_jax.data.datasets.image_rows import ArrayRows
from unet_jax.inference import predictor
from unet_jax.inference.forward import Forward, forward, head_probabilities
from unet_jax.inference.large import streamed
from unet_jax.inference.large.stream import Stream
from unet_jax.inference.large.streamed import Cut, Streamed
from unet_jax.inference.large.strips import cut

# More are rounding.
ROUNDING = 1e-5


@functools.cache
def trained(name, channels=1, **options):
    """Returns a network and variables that let no operator vanish."""
    module = models.build(name, **{"num_classes": 3, **options})
    image = jax.ShapeDtypeStruct((1, *[module.input_size(2 * module.multiple)] * 2, channels), np.float32)
    shapes = jax.eval_shape(functools.partial(module.init, train=False), jax.random.key(0), image)
    rng = np.random.default_rng(0)

    def draw(path, leaf):
        if leaf.ndim == 1:
            # Variances and scales must be positive.
            around = 1.0 if path[-1].key in ("scale", "var") else 0.0
            return (around + rng.uniform(-0.3, 0.3, leaf.shape)).astype(np.float32)
        return (rng.standard_normal(leaf.shape) * np.sqrt(2 / np.prod(leaf.shape[:-1]))).astype(np.float32)

    return module, jax.tree_util.tree_map_with_path(draw, shapes)


def picture(height, width, channels=1, seed=0):
    """Returns noise, normalised, float32 `[H, W, C]`."""
    return np.random.default_rng(seed).standard_normal((height, width, channels), np.float32)


def whole(module, variables, image):
    """Returns the probabilities of each head, `[H, W, M, K]`, of one pass of the whole image."""
    fn = jax.jit(lambda variables, x: head_probabilities(module.apply(variables, x), module.activation))
    return np.asarray(fn(variables, image[None]))[0]


class Fixed(Streamed):
    """Cuts every image as it is told."""

    rows, width = 0, 0

    def choose(self, fn, variables, shape, budget, held=0):
        """Returns the cut."""
        width = min(self.width or shape[1], shape[1])
        return Cut(self.rows, width, len(cut(shape[1], width, self._graph)))


def in_bands(engine, variables, image, rows, width=0, fn: Forward = forward):
    """Returns what bands of `rows` rows and strips of `width` columns give for a whole image; 0 for one strip."""
    engine.rows, engine.width = rows, width
    (joined,) = join(engine.bands(fn, variables, ArrayRows(image), np.inf))
    return joined


def count_pixels(monkeypatch):
    """Makes `memory` a number of pixels of a band, on all devices: no image is small, and bands of 1024 pixels are usual."""
    monkeypatch.setattr(predictor, "SMALL", 0)
    monkeypatch.setattr(streamed, "BAND_PIXELS", {"cpu": 2**10})
    monkeypatch.setattr(streamed, "LEAST_ROWS", 4)
    monkeypatch.setattr(streamed, "_planned", lambda stream: stream.shape[0] * stream.shape[1])
    monkeypatch.setattr(Stream, "state_bytes", lambda stream: 0)


def join(bands):
    """Joins (first row, arrays) to whole arrays, and checks that the bands follow each other without gaps."""
    starts, parts = [], []
    for start, *arrays in bands:
        starts.append(start)
        parts.append(arrays)
    assert starts == [0, *itertools.accumulate(len(arrays[0]) for arrays in parts)][:-1]
    return [np.concatenate(arrays) for arrays in zip(*parts, strict=True)]
