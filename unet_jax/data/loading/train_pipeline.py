"""Makes training batches on the host: shuffles the images, cuts random windows and normalises them.

The batch of step s is a pure function of (seed, s), for any number of processes. There is no iterator state to save: a
resumed run requests the batches from its step on.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import grain
import numpy as np

from unet_jax.checks import is_whole
from unet_jax.data.dataset import ExampleSource
from unet_jax.data.loading import foreground
from unet_jax.data.loading.options import FOREGROUND_FRACTION
from unet_jax.data.loading.windows import cut_weight, cut_window, rows_per_process
from unet_jax.data.normalization import NORMALIZATIONS, statistics
from unet_jax.data.store.sources import InMemory, ShuffledEpochs
from unet_jax.errors import UserError


def train_dataset(
    source: ExampleSource,
    *,
    batch_size: int,
    patch: Sequence[int],
    seed: int,
    normalize: str = "image",
    value_range: Sequence[float] = (),
    margin: int = 0,
    foreground_fraction: float = 0.0,
    process_index: int = 0,
    process_count: int = 1,
    cache_bytes: int = 1 << 30,
) -> grain.MapDataset:
    """Returns the training batches by step: item s holds this process's rows of the batch of step s.

    Each epoch takes all images in a new order and cuts one random window of `patch` pixels from each. A batch may hold the
    end of one epoch and the beginning of the next. The network's output covers the window without `margin` pixels at each
    border. This part lies inside the image; where the image is smaller, the image lies inside this part. Beyond the image
    the window is mirrored and `valid` is False. The rows of all processes, in order, are the rows of the batch that a
    single process would make.

    Args:
      source: the examples.
      batch_size: rows of a batch, over all processes.
      patch: (height, width) of a window in pixels.
      seed: seed of the order and of the windows.
      normalize: one of `NORMALIZATIONS`, see `normalization.normalize`.
      value_range: see `normalization.normalize`.
      margin: pixels that the network loses at each border; 0 with same padding. Windows reach this far beyond the image, so
        that the network also learns the image's rim.
      foreground_fraction: fraction of the windows, spread evenly over a batch, that show a random pixel of a random
        foreground class (see `foreground`). An image without foreground gives an ordinary window. The other windows are
        the same as with a fraction of 0.
      process_index: index of this process.
      process_count: number of processes.
      cache_bytes: decoded images are kept in memory up to this many bytes; 0 keeps none.

    Returns:
      A data set of dicts: image float32 `[B, h, w, C]`, mask int32 `[B, h, w]` or `[B, h, w, K]`, valid bool `[B, h, w]`.
      If the examples have a `weight` (see `weight_map`), also weight float32 `[B, h, w]`.

    Raises:
      UserError: the batch size is not a multiple of the number of processes, or `patch`, `margin`, `seed`, `normalize` or
        `foreground_fraction` is outside its domain.
    """
    rows = rows_per_process(batch_size, process_count)
    patch = tuple(patch) if np.iterable(patch) else (patch,)
    if len(patch) != 2 or not all(is_whole(n) and n >= 1 for n in patch):
        raise UserError(f"patch={patch}: give (height, width) in pixels, whole numbers of at least 1")
    if not is_whole(margin) or not 0 <= 2 * margin < min(patch):
        raise UserError(
            f"margin={margin!r}: give a whole number of at least 0 and below half of each side of patch={patch}"
        )
    if not is_whole(seed) or not 0 <= seed < 2**32:
        raise UserError(f"seed={seed!r}: give a whole number from 0 to 2^32 - 1")
    if normalize not in NORMALIZATIONS:
        raise UserError(f"normalize={normalize!r} is unknown; choose one of {', '.join(NORMALIZATIONS)}")
    FOREGROUND_FRACTION.check("data.foreground_fraction", foreground_fraction)
    output_shape = [p - 2 * margin for p in patch]

    def random_window(element, rng: np.random.Generator):
        position, example, stats = element
        slack = [n - p for n, p in zip(example["image"].shape, output_shape, strict=False)]
        wanted = foreground.wants_foreground(position, foreground_fraction)
        pixel = foreground.random_pixel(example["mask"], rng) if wanted else None
        if pixel:
            start = foreground.centred(pixel, output_shape, slack)
        else:
            start = [int(rng.integers(min(s, 0), max(s, 0) + 1)) for s in slack]
        start = [s - margin for s in start]
        return cut_window(example, start, patch, normalize, stats) | cut_weight(example, start, patch)

    kept = source if isinstance(source, InMemory) else InMemory(source, cache_bytes, ("image", "mask", "weight"))
    epochs = ShuffledEpochs(kept, lambda image: statistics(image, normalize, value_range), seed)
    dataset = grain.MapDataset.source(epochs).seed(seed)
    # The slice comes last. Before the draws, it would give every process the same random numbers.
    return dataset.random_map(random_window).batch(rows)[process_index::process_count]


def train_batches(
    source: ExampleSource, *, start_step: int = 0, num_threads: int = 2, prefetch: int = 4, **options: Any
) -> Iterator[dict[str, np.ndarray]]:
    """Returns an endless iterator over the batches, which threads make ahead.

    Args:
      source: the examples.
      start_step: step of the first batch.
      num_threads: number of threads that make batches.
      prefetch: number of batches that are made ahead.
      **options: the options of `train_dataset`.
    """
    dataset = train_dataset(source, **options)[start_step:]
    read_ahead = grain.ReadOptions(num_threads=num_threads, prefetch_buffer_size=prefetch)
    return iter(dataset.to_iter_dataset(read_ahead))
