"""From examples to batches, on the host: normalise, cut windows for training, pad whole images for evaluation.

The batch of step s is a pure function of (seed, s), however many processes share it, and there is no iterator state to
save: a resumed run asks for the batches from its step on.
"""

import functools
import math
from collections.abc import Callable, Iterator, Sequence

import grain
import numpy as np

from unet_jax.data.loading import foreground
from unet_jax.data.normalization import NORMALIZATIONS, normalize, statistics
from unet_jax.data.padding import mirrored_window, padded_size
from unet_jax.data.store.sources import InMemory, ShuffledEpochs, size_of
from unet_jax.data.store.weight_map import UNIT
from unet_jax.errors import UserError
from unet_jax.segmentation import VOID_ID


def _example(example, start, size, how, of) -> dict[str, np.ndarray]:
    """Image, mask and valid of one window; outside the image ids are void, and overlapping masks 0."""
    image, mask = example["image"], example["mask"]
    (y, x), (h, w), (rows, columns) = start, size, mask.shape[:2]
    valid = np.zeros((h, w), bool)
    valid[max(-y, 0) : max(rows - y, 0), max(-x, 0) : max(columns - x, 0)] = True
    window = mirrored_window(mask, start, size).astype(np.int32)
    if window.ndim == 2:
        window[~valid] = VOID_ID
        valid = window != VOID_ID
    else:
        window[~valid] = 0
    return {"image": normalize(mirrored_window(image, start, size), how, of), "mask": window, "valid": valid}


def _weight(example, start, size) -> dict[str, np.ndarray]:
    """The window of the weight map, 0 to 1, mirrored beyond the image, if the example has one."""
    return (
        {"weight": mirrored_window(example["weight"], start, size).astype(np.float32) / UNIT}
        if "weight" in example
        else {}
    )


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
    """Training batches by step: item s holds this process's rows of the batch of step s, a pure function of (seed, s).

    Each epoch is a new order of all images, one random window of `patch` = (h, w) pixels from each; batches run across
    the ends of epochs. What the network answers for, the window less `margin` at each border, lies inside the image, or
    the image inside it where that is smaller; beyond the image the window is mirrored and `valid` is False. The rows of
    the processes, in order, are the rows of the batch that one process would make.

    Args:
      source: random access to Examples.
      batch_size: of all processes together.
      margin: pixels that the network loses at each border (0 with same padding), so that it learns the image's rim, too.
      foreground_fraction: of the windows, spread evenly over a batch, that show a random pixel of a random foreground class
        (`foreground`); an image without any gives an ordinary window. The others are those of a share of 0.
      cache_bytes: decoded images are kept in memory up to this many bytes (0: none).

    Returns dicts of image float32 `[B, h, w, C]`, mask int32 `[B, h, w]` or `[B, h, w, K]`, valid bool `[B, h, w]` and,
    where the examples have a `weight` (`weight_map`), weight float32 `[B, h, w]`.
    Raises `UserError` where the batch does not divide over the processes, or `patch`, `margin`, `seed`, `normalize` or
    `foreground_fraction` is outside its domain.
    """
    rows = _rows(batch_size, process_count)
    patch = tuple(patch) if np.iterable(patch) else (patch,)
    if len(patch) != 2 or not all(_is_whole(n) and n >= 1 for n in patch):
        raise UserError(f"patch={patch}: give (height, width) in pixels, whole numbers of at least 1")
    if not _is_whole(margin) or not 0 <= 2 * margin < min(patch):
        raise UserError(f"margin={margin!r}: give a whole number, 0 or more, that leaves something of patch={patch}")
    if not _is_whole(seed) or not 0 <= seed < 2**32:
        raise UserError(f"seed={seed!r}: give a whole number from 0 to 2^32 - 1")
    if normalize not in NORMALIZATIONS:
        raise UserError(f"normalize={normalize!r} is unknown; use one of {', '.join(NORMALIZATIONS)}")

    foreground.check_fraction(foreground_fraction)
    shown = [p - 2 * margin for p in patch]  # what the network answers for

    def random_window(element, rng: np.random.Generator):
        position, example, of = element
        spare = [n - p for n, p in zip(example["image"].shape, shown, strict=False)]
        due = foreground.wants_foreground(position, foreground_fraction)
        pixel = foreground.random_pixel(example["mask"], rng) if due else None
        if pixel:
            start = foreground.centred(pixel, shown, spare)
        else:
            start = [int(rng.integers(min(s, 0), max(s, 0) + 1)) for s in spare]
        start = [s - margin for s in start]
        return _example(example, start, patch, normalize, of) | _weight(example, start, patch)

    kept = source if isinstance(source, InMemory) else InMemory(source, cache_bytes, ("image", "mask", "weight"))
    dataset = grain.MapDataset.source(ShuffledEpochs(kept, functools.partial(statistics, mode=normalize), seed)).seed(
        seed
    )
    # Sliced last: drawn after a slice, the random numbers would be the same in every process.
    return dataset.random_map(random_window).batch(rows)[process_index::process_count]


def train_batches(source, *, start_step: int = 0, num_threads: int = 2, prefetch: int = 4, **options) -> Iterator[dict]:
    """The batches from step `start_step` on, without end, made ahead by threads; `options` are those of `train_dataset`."""
    dataset = train_dataset(source, **options)[start_step:]
    read_ahead = grain.ReadOptions(num_threads=num_threads, prefetch_buffer_size=prefetch)
    return iter(dataset.to_iter_dataset(read_ahead))


def balanced_batch_size(num: int, batch_size: int, multiple: int = 1) -> int:
    """Rows of a batch, a multiple of `multiple`, that spread `num` images over the fewest batches of `batch_size`.

    All batches then have one shape and little filling: 9 images by 8 are two batches of 5, and 1 image is one of 1.
    """
    batches = -(-num // batch_size)
    return -(-num // (batches * multiple)) * multiple


def eval_plan(
    source,
    *,
    batch_size: int,
    pad_multiple: int = 64,
    input_size: Callable[[int], int] = lambda n: n,
    multiple: int = 1,
) -> list[tuple[tuple[int, int], list[int]]]:
    """(padded size, positions in `source`) of each batch: images of one padded size share batches, in order.

    The rows of a size's batches are `even_rows`; positions of -1 fill the last up. The number of different sizes is the
    number of compiles that an evaluation costs.
    """
    groups: dict[tuple[int, int], list[int]] = {}
    for index in range(len(source)):
        groups.setdefault(padded_size(*size_of(source, index), pad_multiple, input_size), []).append(index)
    plan = []
    for size, group in sorted(groups.items()):
        rows = balanced_batch_size(len(group), batch_size, multiple)
        group += [-1] * (-len(group) % rows)
        plan += [(size, group[i : i + rows]) for i in range(0, len(group), rows)]
    return plan


def eval_batches(
    source,
    *,
    batch_size: int,
    normalize: str = "image",
    pad_multiple: int = 64,
    input_size: Callable[[int], int] = lambda n: n,
    margin: int = 0,
    multiple: int = 1,
    process_index: int = 0,
    process_count: int = 1,
    num_threads: int = 2,
) -> Iterator[dict]:
    """Every image of `source` exactly once and whole, in batches of at most `batch_size` (of all processes together).

    Each image is mirrored out to `padded_size`, its origin at `margin`: what surrounds an image depends on that image alone, never on its batch mates.

    Yields the batch of `train_dataset` and in it also index int32 `[B]` (position in `source`) and size int32 `[B, 2]`
    (height, width of the image). Batches of one padded size are equally large, by a multiple of `multiple`, and the
    last is filled up with rows of index -1, size 0 and nothing valid. All processes yield the same number of batches,
    each its rows of them.
    """
    _rows(batch_size, process_count)
    multiple = math.lcm(multiple, process_count)
    plan = eval_plan(source, batch_size=batch_size, pad_multiple=pad_multiple, input_size=input_size, multiple=multiple)

    def load(batch):
        size, indices = batch
        rows = len(indices) // process_count
        indices = indices[process_index * rows : (process_index + 1) * rows]
        examples = [source[index] if index >= 0 else None for index in indices]
        like = next((e for e in examples if e), None) or source[0]  # a process may have nothing but filling
        made = [_padded(e or like, size, margin, normalize, filling=e is None) for e in examples]
        return {key: np.stack([m[key] for m in made]) for key in made[0]} | {"index": np.array(indices, np.int32)}

    read_ahead = grain.ReadOptions(num_threads=num_threads, prefetch_buffer_size=2)
    return iter(grain.MapDataset.source(plan).map(load).to_iter_dataset(read_ahead))


def _padded(example, size, margin, how, filling):
    made = _example(example, (-margin, -margin), size, how, statistics(example["image"], how))
    made["size"] = np.array(example["mask"].shape[:2], np.int32)
    if filling:
        made = {key: np.zeros_like(value) for key, value in made.items()}
        made["mask"] += VOID_ID if example["mask"].ndim == 2 else 0
    return made


def _is_whole(value) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def _rows(batch_size: int, process_count: int) -> int:
    if batch_size < 1 or batch_size % process_count:
        raise UserError(f"batch_size={batch_size} does not divide over {process_count} processes; choose a multiple")
    return batch_size // process_count
