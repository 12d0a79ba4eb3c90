"""Makes evaluation batches on the host. Whole images are padded to a few sizes, so that few programs are compiled."""

import math
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

import grain
import numpy as np

from unet_jax.data.batch_size import balanced_batch_size
from unet_jax.data.dataset import ExampleSource
from unet_jax.data.loading.windows import cut_window, rows_per_process
from unet_jax.data.normalization import statistics
from unet_jax.data.padding import padded_size
from unet_jax.data.store.sources import size_of
from unet_jax.segmentation import VOID_ID

# The batches that wait until they are needed, and the threads that make them.
READ_AHEAD = NUM_THREADS = 2


def eval_plan(
    source: ExampleSource,
    *,
    batch_size: int,
    pad_multiple: int = 64,
    input_size: Callable[[int], int] = lambda n: n,
    multiple: int = 1,
    most_pixels: float = math.inf,
    leave_out: Collection[int] = (),
) -> list[tuple[tuple[int, int], list[int]]]:
    """Returns the padded size of each batch and the positions of its images in `source`.

    Images of the same padded size share batches, in their order. All batches of one size have `balanced_batch_size` rows;
    the last one is filled up with positions of -1. An evaluation compiles one program per size.

    Args:
      source: the examples.
      batch_size: largest number of rows of a batch.
      pad_multiple: heights and widths are rounded up to a multiple of this.
      input_size: gives the network's input size for a size of its output.
      multiple: the number of rows of a batch is a multiple of this.
      most_pixels: largest number of padded pixels of a batch; a batch of `multiple` rows may have more.
      leave_out: the positions of images that are in no batch.
    """
    groups: dict[tuple[int, int], list[int]] = {}
    for index in sorted({*range(len(source))} - {*leave_out}):
        groups.setdefault(padded_size(*size_of(source, index), pad_multiple, input_size), []).append(index)
    plan = []
    for size, group in sorted(groups.items()):
        fitting = most_pixels / math.prod(size)
        most_rows = batch_size if fitting >= batch_size else max(int(fitting) // multiple, 1) * multiple
        rows = balanced_batch_size(len(group), most_rows, multiple)
        group += [-1] * (-len(group) % rows)
        plan += [(size, group[i : i + rows]) for i in range(0, len(group), rows)]
    return plan


def eval_batches(
    source: ExampleSource,
    *,
    batch_size: int,
    normalize: str = "image",
    value_range: Sequence[float] = (),
    pad_multiple: int = 64,
    input_size: Callable[[int], int] = lambda n: n,
    margin: int = 0,
    multiple: int = 1,
    process_index: int = 0,
    process_count: int = 1,
    num_threads: int = NUM_THREADS,
    most_pixels: float = math.inf,
    leave_out: Collection[int] = (),
) -> Iterator[dict[str, np.ndarray]]:
    """Yields every image of `source` exactly once and whole, in batches, but for those that are left out.

    Each image is padded to `padded_size` by mirroring, with its first pixel at (`margin`, `margin`). So its surroundings
    depend on that image alone, never on the other images of the batch. Batches of the same padded size have the same number
    of rows. The last of them is filled up with rows of index -1, size 0 and no valid pixel. All processes yield the same
    number of batches; each process yields its rows of every batch.

    Args:
      source: the examples.
      batch_size: largest number of rows of a batch, over all processes.
      normalize: see `normalization.normalize`.
      value_range: see `normalization.normalize`.
      pad_multiple: heights and widths are rounded up to a multiple of this.
      input_size: gives the network's input size for a size of its output.
      margin: pixels that the network loses at each border.
      multiple: the number of rows of a batch, over all processes, is a multiple of this.
      process_index: index of this process.
      process_count: number of processes.
      num_threads: number of threads that make batches.
      most_pixels: see `eval_plan`.
      leave_out: see `eval_plan`.

    Yields:
      Batches as those of `train_pipeline.train_dataset`, without weight. In addition, index int32 `[B]` is the position in
      `source`, and size int32 `[B, 2]` the height and width of the image.

    Raises:
      UserError: the batch size is not a multiple of the number of processes.
    """
    rows_per_process(batch_size, process_count)
    if len(leave_out) == len(source):
        return iter(())
    multiple = math.lcm(multiple, process_count)
    plan = eval_plan(
        source,
        batch_size=batch_size,
        pad_multiple=pad_multiple,
        input_size=input_size,
        multiple=multiple,
        most_pixels=most_pixels,
        leave_out=leave_out,
    )

    def load(batch: tuple[tuple[int, int], list[int]]) -> dict[str, np.ndarray]:
        size, indices = batch
        rows = len(indices) // process_count
        indices = indices[process_index * rows : (process_index + 1) * rows]
        examples = [source[index] if index >= 0 else None for index in indices]
        # A process may have empty rows only. The first example of the source then gives the shapes.
        template = next((example for example in examples if example), None) or source[0]
        made = [_padded(e or template, size, margin, normalize, value_range, filling=e is None) for e in examples]
        return {key: np.stack([m[key] for m in made]) for key in made[0]} | {"index": np.array(indices, np.int32)}

    read_ahead = grain.ReadOptions(num_threads=num_threads, prefetch_buffer_size=READ_AHEAD)
    return iter(grain.MapDataset.source(plan).map(load).to_iter_dataset(read_ahead))


def _padded(
    example: dict[str, Any],
    size: tuple[int, int],
    margin: int,
    mode: str,
    value_range: Sequence[float],
    filling: bool,
) -> dict[str, np.ndarray]:
    """Returns one row of a batch; with `filling`, a row of the same shapes without a valid pixel."""
    made = cut_window(example, (-margin, -margin), size, mode, statistics(example["image"], mode, value_range))
    made["size"] = np.array(example["mask"].shape[:2], np.int32)
    if filling:
        made = {key: np.zeros_like(value) for key, value in made.items()}
        made["mask"] += VOID_ID if example["mask"].ndim == 2 else 0
    return made
