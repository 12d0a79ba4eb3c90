"""Scores of a split: every image is scored once, and whole."""

import contextlib
import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from unet_jax import segmentation
from unet_jax.data.dataset import ExampleSource
from unet_jax.data.datasets.image_rows import ArrayRows
from unet_jax.data.loading import eval_pipeline
from unet_jax.data.nan_pixels import unknown_pixels
from unet_jax.data.store.sources import size_of
from unet_jax.errors import UserError
from unet_jax.evaluation import metrics
from unet_jax.evaluation.group import Group
from unet_jax.inference.forward import forward, forward_masks, leave_out
from unet_jax.inference.large.scratch import Scratch, band_rows
from unet_jax.inference.predictor import Predictor
from unet_jax.inference.segmenter import Segmenter
from unet_jax.inference.throughput import ThroughputMeter
from unet_jax.inference.uncertainty import MEASURES, Uncertainty, estimate
from unet_jax.models.network import Network
from unet_jax.runtime import processes
from unet_jax.runtime.out_of_memory import OutOfMemory
from unet_jax.segmentation import to_masks

# The part of the memory that batches may take; the network has the rest.
BATCH_SHARE = 0.25
# Batches that exist at the same time: that which is scored, those that were read ahead, and those that are being made.
BATCHES_AT_ONCE = 1 + eval_pipeline.READ_AHEAD + eval_pipeline.NUM_THREADS


@dataclasses.dataclass(frozen=True)
class _Counted:
    """The images of a batch that were scored.

    Attributes:
      index: position of each in the source.
      size: height and width of each, `[B, 2]`.
      counts: `metrics.counts` of each, and where they are asked for, `masks`, `ids`, `probabilities` and `MEASURES`.
      num_compiles: the number of shapes that were compiled for the batch.
    """

    index: np.ndarray
    size: np.ndarray
    counts: Mapping[str, Any]
    num_compiles: int


def evaluate(
    predictor: Segmenter,
    source: ExampleSource,
    *,
    batch_size: int,
    process_index: int | None = None,
    process_count: int | None = None,
    all_reduce: Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]] | None = None,
    on_image: Callable[[str, np.ndarray, np.ndarray], None] | None = None,
    on_uncertainty: Callable[[str, Uncertainty], None] | None = None,
    groups: Sequence[Group] = (),
    progress: Callable[[int], None] = lambda num_images: None,
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Scores every example of `source`, in one forward pass of each network and view.

    The result does not depend on the batch size, nor on the number of devices and processes. With an `Ensemble`, with
    `on_uncertainty`, and for a group that needs probabilities, images are predicted one by one. Batches are made smaller where they would take more than the predictor's
    memory, and larger images are predicted in bands.

    Args:
      predictor: the network, or an ensemble.
      source: random access to Examples.
      batch_size: the largest number of images in a batch of all processes, rounded up to fill the devices.
      process_index: the number of this process; by default that of the job.
      process_count: the number of processes that call this together, each for its rows of the batches; by default those of
        the job.
      all_reduce: adds the arrays of a dict over all processes; by default over those of the job.
      on_image: is called once for each image with what was scored: id, masks bool `[H, W, K]`, ids uint8 `[H, W]`.
      on_uncertainty: is called once for each image: id, and how far the members of the prediction agree on it.
      groups: further scores. The examples are read a second time for them.
      progress: is called after each batch with its number of images.

    Returns:
      A summary, and one row per image, in the order of `source`.

      The summary holds the names of `metrics` and of the groups, `num_images`, `num_compiles` (the number of shapes of batches that had to be
      compiled), `seconds`, and `images_per_s` of this process. Batches that compiled do not count in the latter, unless
      there are no others.

      A row holds `index`, `id`, `group` (images of one group are alike, such as those of one field of view), `height`, `width`, `pixel_accuracy`, `iou/<class>`, `dice/<class>` and `.../mean` of its
      image, and the pixel counts `tp/<class>`, `fp/<class>`, `fn/<class>`. With `on_uncertainty`, also the `MEASURES` of
      `uncertainty.Uncertainty`. The groups add their scores.

    Raises:
      UserError: the source is empty, or its images or masks do not fit the network.
      OutOfMemory: the predictor's memory is too small for the smallest part of an image.
    """
    if not len(source):
        raise UserError("nothing to evaluate: the split has no image; give one that has images")
    process_index = processes.process_index() if process_index is None else process_index
    process_count = processes.process_count() if process_count is None else process_count
    num_images, num_classes = len(source), len(predictor.class_names)
    of_classes, of_images = ("tp", "fp", "fn"), ("correct", "total", "height", "width", "seen")
    table: dict[str, np.ndarray] = {name: np.zeros((num_images, num_classes), np.int64) for name in of_classes}
    table |= {name: np.zeros(num_images, np.int64) for name in of_images}
    measures = MEASURES if on_uncertainty else ()
    table |= {name: np.zeros(num_images) for name in measures}
    table |= {
        _key(group, name): np.zeros((num_images, *shape)) for group in groups for name, shape in group.shapes().items()
    }
    with_masks = on_image is not None or bool(groups)
    with_probabilities = any(group.needs_probabilities for group in groups)
    recorder, throughput, num_compiles = _NameRecorder(source), ThroughputMeter(), 0
    share = {"process_index": process_index, "process_count": process_count}
    if isinstance(predictor, Predictor) and on_uncertainty is None and not with_probabilities:
        # All processes make the same batches, so they work with the smallest budget.
        budget = min(processes.gather(predictor.budget))
        counted = _in_batches(predictor, recorder, batch_size, budget, with_masks, **share)
    else:
        counted = _one_by_one(predictor, recorder, with_masks, with_probabilities, on_uncertainty, **share)
    for batch in counted:
        index, counts = batch.index, batch.counts
        for name in (*metrics.COUNTS, *measures):
            table[name][index] += counts[name]
        table["height"][index], table["width"][index] = batch.size.T
        table["seen"][index] += 1
        _leave_out(batch, recorder)
        if on_image is not None:
            _pass_on(batch, recorder, on_image)
        if groups:
            _count_groups(batch, source, groups, table)
        num_compiles += batch.num_compiles
        throughput.tick(len(index), batch.num_compiles == 0)
        progress(len(index))
        # Masks of a large image would stay until the next one is predicted.
        del batch, counts
    table = (all_reduce or _sum_over_processes)(table)
    recorder.gather()
    if (table["seen"] != 1).any():
        raise RuntimeError(f"images not seen exactly once: {np.flatnonzero(table['seen'] != 1)[:10].tolist()}")
    summary = metrics.summarize(table, predictor.class_names, predictor.report_classes)
    summary |= {"num_images": num_images, "num_compiles": num_compiles, **throughput.read()}
    rows = _rows(table, predictor, [recorder.names(i) for i in range(num_images)])
    for group in groups:
        counts = {name: table[_key(group, name)] for name in group.shapes()}
        summary |= group.summarize(counts)
        for row, further in zip(rows, group.rows(counts), strict=True):
            row |= further
    return summary, rows


def _key(group: Group, name: str) -> str:
    """Returns the name that a count of a group has among the counts of all."""
    return f"{group.name} {name}"


def _count_groups(
    batch: _Counted, source: ExampleSource, groups: Sequence[Group], table: Mapping[str, np.ndarray]
) -> None:
    """Adds what each group counts in the images of a batch to the table."""
    for row, (height, width) in enumerate(batch.size):
        index = int(batch.index[row])
        example, masks = source[index], batch.counts["masks"][row, :height, :width]
        probabilities = batch.counts["probabilities"][row] if "probabilities" in batch.counts else None
        for group in groups:
            for name, value in group.count(example, masks, probabilities).items():
                table[_key(group, name)][index] += value


def _leave_out(batch: _Counted, recorder: "_NameRecorder") -> None:
    """Takes the pixels that an image does not know out of its masks; see `nan_pixels`. They do not count: their truth is void."""
    for row, (height, width) in enumerate(batch.size):
        unknown = recorder.pop_unknown(int(batch.index[row]))
        if unknown is not None and "masks" in batch.counts:
            seen = {name: batch.counts[name][row, :height, :width] for name in ("masks", "ids")}
            for name, values in leave_out(seen, unknown).items():
                np.copyto(seen[name], values)


def _pass_on(
    batch: _Counted, recorder: "_NameRecorder", on_image: Callable[[str, np.ndarray, np.ndarray], None]
) -> None:
    for row, (height, width) in enumerate(batch.size):
        masks, ids = (batch.counts[name][row, :height, :width] for name in ("masks", "ids"))
        on_image(recorder.id(int(batch.index[row])), masks, ids)


def _in_batches(
    predictor: Predictor,
    source: "_NameRecorder",
    batch_size: int,
    budget: int,
    with_masks: bool,
    process_index: int,
    process_count: int,
) -> Iterator[_Counted]:
    """Yields the images of a source: first those that are too large for a batch, in bands, then the others in batches.

    The budget is that of each process.
    """
    fn = count_and_predict if with_masks else count_pixels
    program, num_devices = predictor.program(fn, 1 - BATCH_SHARE), predictor.num_devices * process_count
    # Of all processes.
    most_pixels = BATCH_SHARE * budget / _bytes_per_pixel(predictor, with_masks) * process_count
    large = [
        index
        for index in range(len(source))
        if num_devices * math.prod(predictor.padded_size(*size_of(source, index))) > most_pixels
    ]
    for index in large[process_index::process_count]:
        yield _in_bands(predictor, source, index, with_masks)
    batches = eval_pipeline.eval_batches(
        source,
        batch_size=-(-max(batch_size, 1) // num_devices) * num_devices,
        most_pixels=most_pixels,
        leave_out=large,
        normalize=predictor.normalize,
        value_range=predictor.value_range,
        pad_multiple=predictor.pad_multiple,
        input_size=predictor.network.input_size,
        margin=predictor.margin,
        multiple=num_devices,
        process_index=process_index,
        process_count=process_count,
    )
    for batch in batches:
        _check(batch["image"], batch["mask"], predictor)
        inputs = {name: batch[name] for name in ("image", "mask", "valid")}
        num_compiled, real = predictor.num_compiled + len(program.shapes), batch["index"] >= 0
        height, width = batch["image"].shape[1:3]
        counts: Any = None
        if predictor.may_fit(height, width) and not program.is_too_large(height * width):
            with contextlib.suppress(OutOfMemory):
                ran = predictor.run(fn, inputs, 1 - BATCH_SHARE)
                counts = {name: values[real] for name, values in ran.items()}
        if counts is None:
            for index in batch["index"][real]:
                yield _in_bands(predictor, source, int(index), with_masks, held=BATCH_SHARE * budget)
            continue
        num_compiled = predictor.num_compiled + len(program.shapes) - num_compiled
        yield _Counted(batch["index"][real], batch["size"][real], counts, num_compiled)


def _bytes_per_pixel(predictor: Predictor, with_masks: bool) -> int:
    """Returns the bytes that batches take for each pixel of one: image, mask and valid of all that are read ahead, and outputs."""
    num_classes = len(predictor.class_names)
    # With overlapping classes a mask has a channel for each.
    masks = num_classes if predictor.activation == "sigmoid" else 1
    # On the device, and copied from it.
    outputs = 2 * (num_classes + 1) if with_masks else 0
    return BATCHES_AT_ONCE * (4 * predictor.channels + 4 * masks + 1) + outputs


def _in_bands(predictor: Predictor, source: "_NameRecorder", index: int, with_masks: bool, held: float = 0) -> _Counted:
    """Predicts and counts an image that does not fit into the memory as a whole.

    Args:
      predictor: the network.
      source: the examples.
      index: of the image.
      with_masks: True also returns masks and ids.
      held: the bytes that are held by others.
    """
    example, num_compiled = source[index], predictor.num_compiled
    image, mask = np.asarray(example["image"]), np.asarray(example["mask"])
    _check(image[None], mask[None, :1], predictor)
    predicted = _Predicted(mask.shape[:2], len(predictor.class_names)) if with_masks else None
    held += image.nbytes + mask.nbytes + (predicted.memory if predicted else 0)
    try:
        bands = predictor.in_bands(forward_masks, ArrayRows(image), held)
        counts = _count_bands(predictor, ((start, *band) for start, band in bands), image, mask, predicted)
    except OutOfMemory as error:
        raise OutOfMemory(f"image {source.id(index)}: {error}") from error
    return _Counted(np.array([index]), np.array([mask.shape[:2]]), counts, predictor.num_compiled - num_compiled)


class _Predicted:
    """Masks and ids of an image, collected from bands; in a file where they are large.

    Args:
      size: height and width of the image.
      num_classes: the number of classes.
    """

    def __init__(self, size: Sequence[int], num_classes: int):
        self._masks, self._ids = Scratch((1, *size, num_classes), bool), Scratch((1, *size), np.uint8)

    @property
    def memory(self) -> int:
        """The bytes of memory that they take."""
        return self._masks.memory + self._ids.memory

    def add(self, start: int, masks: np.ndarray, ids: np.ndarray) -> None:
        """Adds a band, whose first row is `start`."""
        for kept, band in ((self._masks, masks), (self._ids, ids)):
            kept.array[0, start : start + len(band)] = band
            kept.release()

    def arrays(self) -> dict[str, np.ndarray]:
        """Returns `masks` `[1, H, W, K]` and `ids` `[1, H, W]`."""
        return {"masks": self._masks.array, "ids": self._ids.array}


def _count_bands(
    predictor: Segmenter,
    bands: Iterable[tuple[int, np.ndarray, np.ndarray]],
    image: np.ndarray,
    mask: np.ndarray,
    predicted: _Predicted | None,
) -> dict[str, np.ndarray]:
    """Returns what `count_pixels` returns for an image, or with `predicted` what `count_and_predict` does.

    Args:
      predictor: what has predicted the image.
      bands: the first row, masks `[b, W, K]` and ids `[b, W]` of each.
      image: the image, `[H, W, C]`.
      mask: the truth, `[H, W]` or `[H, W, K]`.
      predicted: collects masks and ids.

    Raises:
      UserError: the mask does not fit the network.
    """
    totals: dict[str, Any] = dict.fromkeys(metrics.COUNTS, 0)
    for start, masks, ids in bands:
        truth = mask[None, start : start + len(ids)]
        _check(image[None], truth, predictor)
        counted = metrics.counts(masks[None], truth, np.ones(truth.shape[:3], bool))
        # An image may have more pixels than int32 holds.
        totals = {name: total + np.asarray(counted[name], np.int64) for name, total in totals.items()}
        if predicted:
            predicted.add(start, masks, ids)
    return totals | (predicted.arrays() if predicted else {})


def _one_by_one(
    predictor: Segmenter,
    source: "_NameRecorder",
    with_masks: bool,
    with_probabilities: bool,
    on_uncertainty: Callable[[str, Uncertainty], None] | None,
    process_index: int,
    process_count: int,
) -> Iterator[_Counted]:
    """Yields the images of a source, predicted one by one and counted on the host."""
    for index in range(process_index, len(source), process_count):
        example = source[index]
        image, mask = np.asarray(example["image"]), np.asarray(example["mask"])
        _check(image[None], mask[None, :1], predictor)
        num_compiled, measured = predictor.num_compiled, {}
        bands: Iterable[tuple[int, np.ndarray, np.ndarray]]
        probabilities = None
        if on_uncertainty is not None:
            uncertainty = estimate(predictor, ArrayRows(image))
            probabilities = uncertainty.probabilities
            measured = {name: np.array([getattr(uncertainty, name)]) for name in MEASURES}
            on_uncertainty(source.id(index), uncertainty)
        elif with_probabilities:
            probabilities = _probabilities(predictor, image)
        if probabilities is None:
            bands = predictor.mask_bands(ArrayRows(image))
        else:
            bands = _masks_of(probabilities, predictor.activation)
            if with_probabilities:
                measured |= {"probabilities": probabilities[None]}
        predicted = _Predicted(mask.shape[:2], len(predictor.class_names)) if with_masks else None
        counts = _count_bands(predictor, bands, image, mask, predicted) | measured
        yield _Counted(np.array([index]), np.array([mask.shape[:2]]), counts, predictor.num_compiled - num_compiled)


def _probabilities(predictor: Segmenter, image: np.ndarray) -> np.ndarray:
    """Returns the probabilities of an image, float32 `[H, W, K]`; in a file where they are large."""
    kept = Scratch((*image.shape[:2], len(predictor.class_names)), np.float32)
    for start, band in predictor.bands(ArrayRows(image)):
        kept.array[start : start + len(band)] = band
        kept.release()
    return kept.array


def _masks_of(probabilities: np.ndarray, activation: str) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Yields the first row, masks and ids of bands of an image."""
    for start, stop in band_rows(len(probabilities), probabilities[0].nbytes):
        yield start, *to_masks(probabilities[start:stop], activation)


def _sum_over_processes(table: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Adds the tables of all processes; one process alone has counted an image, so the sum is exact in any order."""
    tables = processes.gather_arrays(table)
    return {name: np.sum([part[name] for part in tables], axis=0) for name in table}


def count_pixels(
    module: Network, mode: str, variables: Mapping[str, Any], batch: Mapping[str, jax.Array]
) -> dict[str, jax.Array]:
    """Predicts a batch and counts its pixels, as `metrics.counts` does.

    Args:
      module: see `predictor.forward`.
      mode: see `predictor.forward`.
      variables: see `predictor.forward`.
      batch: `image`, `mask` and `valid`.
    """
    masks, _ = to_masks(forward(module, mode, variables, batch), module.activation)
    return metrics.counts(masks, batch["mask"], batch["valid"])


def count_and_predict(
    module: Network, mode: str, variables: Mapping[str, Any], batch: Mapping[str, jax.Array]
) -> dict[str, jax.Array]:
    """Returns the counts of `count_pixels`, and the `masks` `[B, h, w, K]` and `ids` `[B, h, w]` that were counted."""
    masks, ids = to_masks(forward(module, mode, variables, batch), module.activation)
    return metrics.counts(masks, batch["mask"], batch["valid"]) | {"masks": masks, "ids": ids}


class _NameRecorder:
    """Passes on the examples of a source and records their ids and groups, so that no example is decoded again for them."""

    def __init__(self, source):
        self._source, self._names = source, {}
        # Where the images that were read and not yet counted are unknown, bool `[H, W]`.
        self._unknown: dict[int, np.ndarray] = {}

    def __len__(self):
        return len(self._source)

    # This passes on `size`, where the source has it.
    def __getattr__(self, name):
        return getattr(self._source, name)

    def __getitem__(self, index):
        example = self._source[index]
        id_ = str(example.get("id", index))
        unknown = unknown_pixels(np.asarray(example["image"]))
        if unknown is not None:
            self._unknown[index] = unknown
        # Of data without groups every image is a group of its own.
        self._names[index] = id_, str(example.get("group") or id_)
        return example

    def pop_unknown(self, index: int) -> np.ndarray | None:
        """Returns where an image that was read is unknown, once; None if nowhere. See `nan_pixels`."""
        return self._unknown.pop(index, None)

    def gather(self) -> None:
        """Adds the names of the examples that the other processes have read."""
        read: list[list[Any]] = [[int(index), *names] for index, names in self._names.items()]
        for of_process in processes.gather(read):
            self._names |= {index: (id_, group) for index, id_, group in of_process}

    def names(self, index: int) -> tuple[str, str]:
        """Returns id and group of an example; reads the example if it was not read before."""
        if index not in self._names:
            self.__getitem__(index)
        return self._names[index]

    def id(self, index: int) -> str:
        """Returns the id of an example; see `names`."""
        return self.names(index)[0]


def _check(image: np.ndarray, mask: np.ndarray, predictor: Segmenter) -> None:
    """Raises UserError if a batch does not fit the network."""
    if image.shape[-1] != predictor.channels:
        raise UserError(
            f"images of {image.shape[-1]} channels for a network that was trained on {predictor.channels}; give images of "
            "the same kind"
        )
    num_classes, activation = len(predictor.class_names), predictor.activation
    if mask.ndim == 4:
        if activation != "sigmoid":
            raise UserError(f"model.activation is {activation!r}; masks of overlapping classes need 'sigmoid'")
        if mask.shape[-1] != num_classes:
            raise UserError(
                f"masks of {mask.shape[-1]} channels for a network of {num_classes} classes; give one channel per class"
            )
        return
    largest = mask[mask != segmentation.VOID_ID].max(initial=0)
    if largest >= max(num_classes, 2):
        raise UserError(f"a mask holds class id {largest}, the network has {num_classes} classes; correct the mask")


def _rows(table: dict, predictor: Segmenter, names_of_images: Sequence[tuple[str, str]]) -> list[dict]:
    names = predictor.class_names
    ratios, accuracy = metrics.ratios(table), metrics.accuracy(table)
    rows = []
    for i, (id_, group) in enumerate(names_of_images):
        row = {"index": i, "id": id_, "group": group}
        row |= {"height": int(table["height"][i]), "width": int(table["width"][i])}
        for metric, values in ratios.items():
            row |= {f"{metric}/{name}": float(value) for name, value in zip(names, values[i], strict=True)}
            row[f"{metric}/mean"] = float(metrics.nanmean(values[i][predictor.report_channels]))
        for count in ("tp", "fp", "fn"):
            row |= {f"{count}/{name}": int(value) for name, value in zip(names, table[count][i], strict=True)}
        row |= {name: float(table[name][i]) for name in MEASURES if name in table}
        rows.append(row | {"pixel_accuracy": float(accuracy[i])})
    return rows
