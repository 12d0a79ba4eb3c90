"""Makes training batches on the host: shuffles, cuts random windows, normalises them.

The batch of step s is a pure function of (seed, s), however many processes share it. There is no iterator state to save: a
resumed run asks for the batches from its step on.
"""

from collections.abc import Iterator, Sequence

import grain
import numpy as np

from unet_jax.checks import is_whole
from unet_jax.data.loading import foreground
from unet_jax.data.loading.windows import cut_weight, cut_window, rows_per_process
from unet_jax.data.normalization import NORMALIZATIONS, statistics
from unet_jax.data.store.sources import InMemory, ShuffledEpochs
from unet_jax.errors import UserError


def train_dataset(
    source,
    *,
    batch_size: int,
    patch: Sequence[int],
    seed: int,
    normalize: str = "image",
    margin: int = 0,
    foreground_fraction: float = 0.0,
    process_index: int = 0,
    process_count: int = 1,
    cache_bytes: int = 1 << 30,
) -> grain.MapDataset:
    """Returns the training batches by step: item s holds this process's rows of the batch of step s.

    Each epoch is a new order of all images, with one random window of `patch` pixels from each; batches run across the ends
    of epochs. The network's output covers the window less `margin` at each border. That part lies inside the image, or the
    image inside that part where the image is smaller. Beyond the image the window is mirrored and `valid` is False. The
    rows of the processes, in order, are the rows of the batch that one process would make.

    Args:
      source: random access to Examples.
      batch_size: of all processes together.
      patch: (height, width) of a window in pixels.
      seed: seed of the order and of the windows.
      normalize: "image" or "range", see `normalization.normalize`.
      margin: pixels that the network loses at each border (0 with same padding), so that it also learns the image's rim.
      foreground_fraction: fraction of the windows, spread evenly over a batch, that show a random pixel of a random
        foreground class (see `foreground`). An image without foreground gives an ordinary window. The other windows are
        the same as with a fraction of 0.
      process_index: index of this process.
      process_count: number of processes.
      cache_bytes: decoded images are kept in memory up to this many bytes (0: none).

    Returns:
      A dataset of dicts: image float32 `[B, h, w, C]`, mask int32 `[B, h, w]` or `[B, h, w, K]`, valid bool `[B, h, w]`
      and, where the examples have a `weight` (see `weight_map`), weight float32 `[B, h, w]`.

    Raises:
      UserError: the batch does not divide over the processes, or `patch`, `margin`, `seed`, `normalize` or
        `foreground_fraction` is outside its domain.
    """
    rows = rows_per_process(batch_size, process_count)
    patch = tuple(patch) if np.iterable(patch) else (patch,)
    if len(patch) != 2 or not all(is_whole(n) and n >= 1 for n in patch):
        raise UserError(f"patch={patch}: give (height, width) in pixels, whole numbers of at least 1")
    if not is_whole(margin) or not 0 <= 2 * margin < min(patch):
        raise UserError(f"margin={margin!r}: give a whole number, 0 or more, that leaves something of patch={patch}")
    if not is_whole(seed) or not 0 <= seed < 2**32:
        raise UserError(f"seed={seed!r}: give a whole number from 0 to 2^32 - 1")
    if normalize not in NORMALIZATIONS:
        raise UserError(f"normalize={normalize!r} is unknown; use one of {', '.join(NORMALIZATIONS)}")
    foreground.FRACTION.check("data.foreground_fraction", foreground_fraction)
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
    epochs = ShuffledEpochs(kept, lambda image: statistics(image, normalize), seed)
    dataset = grain.MapDataset.source(epochs).seed(seed)
    # Sliced last: drawn after a slice, the random numbers would be the same in every process.
    return dataset.random_map(random_window).batch(rows)[process_index::process_count]


def train_batches(source, *, start_step: int = 0, num_threads: int = 2, prefetch: int = 4, **options) -> Iterator[dict]:
    """Yields the batches from step `start_step` on, without end, made ahead by threads.

    Args:
      source: random access to Examples.
      start_step: step of the first batch.
      num_threads: threads that make batches.
      prefetch: batches that are made ahead.
      **options: those of `train_dataset`.
    """
    dataset = train_dataset(source, **options)[start_step:]
    read_ahead = grain.ReadOptions(num_threads=num_threads, prefetch_buffer_size=prefetch)
    return iter(dataset.to_iter_dataset(read_ahead))
