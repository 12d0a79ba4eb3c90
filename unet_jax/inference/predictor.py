"""Prediction with a trained network on images of any size: heads -> probabilities -> masks.

Evaluation and prediction both run `forward` on every local device. Images are normalised as a whole, and padded by mirroring
to multiples of a size. The result is cropped to the size of the source.
"""

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from unet_jax.data import padding
from unet_jax.data.datasets.image_rows import ArrayRows, ImageRows
from unet_jax.data.nan_pixels import unknown_pixels
from unet_jax.data.normalization import normalize
from unet_jax.errors import UserError
from unet_jax.inference.forward import Forward, forward, forward_heads, forward_masks, leave_out, select_heads
from unet_jax.inference.large.blended import Blended
from unet_jax.inference.large.prepared_rows import PreparedRows
from unet_jax.inference.large.streamed import Streamed, in_parts
from unet_jax.inference.program import REMEDY, Program, shared_program
from unet_jax.inference.segmenter import MemberBand, Segmenter
from unet_jax.inference.views import IDENTITY
from unet_jax.models.fold_batch_norm import fold_batch_norm
from unet_jax.models.network import Network
from unet_jax.runtime import parallel
from unet_jax.runtime.memory import prediction_budget, to_bytes
from unet_jax.runtime.out_of_memory import OutOfMemory, check_free, report_out_of_memory
from unet_jax.segmentation import ACTIVATIONS, resolve_report_classes

# The bytes that normalising and padding take for each value of an image.
PREPARED_BYTES = 8
# An image of fewer pixels is not looked at before the network is compiled for it.
SMALL = 2**20


def _crop(batch: Any, row: int, shape: Sequence[int]) -> Any:
    """Returns one image of arrays `[B, h, w, ...]`, cut to the size of the source."""
    return jax.tree.map(lambda x: x[row, : shape[0], : shape[1]], batch)


@dataclasses.dataclass
class Predictor(Segmenter):
    """A trained network, and what it needs to turn images into masks.

    `unet_jax.load` makes one of a trained network. Here zeros stand in for the variables:

    >>> from unet_jax import models
    >>> module = models.build("unet", num_classes=3, widths=(2, 2))
    >>> shapes = jax.eval_shape(module.init, jax.random.key(0), np.zeros((1, 8, 8, 1)))
    >>> variables = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), shapes)
    >>> predictor = Predictor(module, variables, ("background", "anode", "cathode"))
    >>> masks, probabilities = predictor.predict(np.zeros((50, 70), np.uint8))
    >>> masks.shape, probabilities.shape
    ((50, 70, 2), (50, 70, 3))

    Attributes:
      module: the network as trained.
      variables: its variables, or the subset that `mode` and `level` need.
      class_names: one per output channel. For a single channel, the two names of a two-class data set may be given; the
        second is that of the channel.
      channels: the channels of the images that the network was trained on.
      report_classes: the classes that `predict` returns masks of; all but the background by default.
      normalize: see `data.normalization`.
      dtype: the pixel type of the images that it was trained on, "uint8" or "uint16"; "" if it is not known. With
        `normalize="range"`, images of the other type are refused.
      value_range: see `data.normalization`.
      nan: "error" refuses images with pixels that are NaN or infinite; "void" leaves these pixels out: their probabilities are
        NaN, their id is 255, and they are in no mask. See `data.nan_pixels`.
      mode: "accurate" or "fast"; see `select_heads`.
      level: U-Net++'s pruning level; see `select_heads`.
      pad_multiple: images are padded to multiples of this size in pixels.
      devices: to run on; all local ones by default.
      memory: the memory that a prediction may add to the process, in bytes or as "300MiB" or "2GiB"; "" for a quarter of the
        memory of the device or, on a CPU, of the machine. An image that does not fit as a whole is predicted in bands.
      budget: the bytes of `memory`.
      network: the part of `module` that `mode` and `level` need, for `variables`. This part runs, with BatchNorm folded into
        its convolutions; see `models.fold_batch_norm`.

    Raises:
      UserError: mode, level, activation, class names or report_classes do not fit the network, `devices` is empty, or `memory`
        is no size.
    """

    module: Network
    variables: Any
    class_names: tuple[str, ...]
    channels: int = 1
    report_classes: tuple[str, ...] = ()
    normalize: str = "image"
    dtype: str = ""
    value_range: tuple[float, ...] = ()
    nan: str = "error"
    mode: str = "accurate"
    level: int = 0
    pad_multiple: int = 64
    devices: Sequence[jax.Device] | None = None
    memory: int | str = ""

    def __post_init__(self) -> None:
        num_classes, activation = self.module.num_classes, self.module.activation
        if activation not in ACTIVATIONS:
            raise UserError(f"model.activation {activation!r} is unknown; known: {', '.join(ACTIVATIONS)}")
        if num_classes == 1 and activation != "sigmoid":
            raise UserError(f"model.activation {activation!r} of one class is 1 everywhere; use 'sigmoid'")
        names = tuple(self.class_names)
        self.class_names = names[1:] if num_classes == 1 and len(names) == 2 else names
        if len(self.class_names) != num_classes:
            raise UserError(
                f"{len(names)} class names ({', '.join(names)}) for a network of {num_classes} classes; give one name per class"
            )
        self.report_classes = resolve_report_classes(self.class_names, self.report_classes)
        self.network = select_heads(self.module, self.mode, self.level)
        self.devices = tuple(parallel.local_devices(self.devices))
        if not self.devices:
            raise UserError("devices is empty; give at least one device, or None for all local ones")
        self.budget = prediction_budget(self.devices) if self.memory == "" else to_bytes(self.memory)
        self._running, variables = fold_batch_norm(self.network, self.variables)
        self._variables = parallel.replicate(variables, self.devices)
        self._parts: dict[tuple[int, int], dict[str, Any]] = {}

    @property
    def num_devices(self) -> int:
        """The number of devices that share a batch; batch sizes are multiples of it."""
        return len(self.devices or ())

    @property
    def margin(self) -> int:
        """The pixels that the network loses at each border; 0 with same padding."""
        size = self.network.input_size(self.pad_multiple)
        return (size - self.network.output_size(size)) // 2

    def padded_size(self, height: int, width: int) -> tuple[int, int]:
        """Returns the height and width to which an image of this size is padded."""
        return padding.padded_size(height, width, self.pad_multiple, self.network.input_size)

    @property
    def activation(self) -> str:
        """How logits become probabilities: "softmax" or "sigmoid"."""
        return self.module.activation

    @property
    def num_compiled(self) -> int:
        """The number of shapes of batches that were compiled."""
        parts = self.__dict__.get("_in_parts")
        return sum(len(program.shapes) for program in self.programs) + (parts.num_compiled if parts else 0)

    @property
    def parts(self) -> list[dict[str, Any]]:
        """How images that did not fit into the memory were predicted, one for each size; see `Segmenter.parts`."""
        return [{"height": height, "width": width, **part} for (height, width), part in self._parts.items()]

    @property
    def programs(self) -> set[Program]:
        """The programs that predict; those of equal networks are the same."""
        return {self.program(fn) for fn in (forward, forward_heads, forward_masks)}

    @property
    def num_members(self) -> int:
        """The number of heads that are averaged."""
        return self.network.num_heads if self.mode == "accurate" else 1

    def program(self, fn: Callable, share: float = 1.0) -> Program:
        """Returns the `Program` that runs `fn(module, mode, variables, batch)`, where `module` is the network that runs.

        Equal networks share one program, which is compiled once for each shape of a batch.

        Args:
          fn: such as `forward`.
          share: the part of the memory that it may take.
        """
        return shared_program(fn, self._running, self.mode, self.devices, share * self.budget)

    @functools.cached_property
    def _in_parts(self) -> Streamed | Blended:
        return in_parts(self._running, self.mode, self.channels, tuple(self.devices or ()))

    def run(self, fn: Callable, batch: Mapping[str, np.ndarray], share: float = 1.0) -> Any:
        """Runs `fn` on a batch of arrays `[B, ...]`, B a multiple of `num_devices`; returns its NumPy arrays `[B, ...]`.

        Args:
          fn: see `program`.
          batch: the arrays.
          share: see `program`.

        Raises:
          OutOfMemory: one image per device does not fit into the memory; see `Program`.
        """
        return self.program(fn, share)(self._variables, batch)

    def probabilities(self, image: np.ndarray) -> np.ndarray:
        """Returns the probabilities of images that are normalised and padded.

        Args:
          image: `[B, h, w, C]`, B a multiple of `num_devices`.

        Returns:
          float32 `[B, output_size(h), output_size(w), K]`.
        """
        return self.run(forward, {"image": np.asarray(image, np.float32)})

    def predict_images(self, images: Sequence[np.ndarray], batch_size: int = 0) -> list[np.ndarray]:
        """Returns the probabilities of each image, float32 `[h, w, K]`; see `Segmenter.predict_images`."""
        return self._in_batches(forward, images, batch_size)

    def predict_masks(self, images: Sequence[np.ndarray], batch_size: int = 0) -> list[tuple[np.ndarray, np.ndarray]]:
        """Returns masks and ids of each image; see `Segmenter.predict_masks`. The probabilities stay on the device."""
        return self._in_batches(forward_masks, images, batch_size)

    def _in_batches(self, fn: Forward, images: Sequence[np.ndarray], batch_size: int) -> list:
        """Returns the arrays `[h, w, ...]` that `fn` gives for each image; see `predict_images`."""
        batch_size = -(-max(batch_size, 1) // self.num_devices) * self.num_devices
        images = [self.check(image) for image in images]
        results: list = [None] * len(images)
        by_size: dict[tuple[int, int], list[int]] = {}
        large: list[int] = []
        for i, image in enumerate(images):
            size = image.shape[0], image.shape[1]
            (by_size.setdefault(self.padded_size(*size), []) if self.may_fit(*size) else large).append(i)
        for indices in by_size.values():
            for start in range(0, len(indices), batch_size):
                chunk = indices[start : start + batch_size]
                try:
                    prepared = [self._prepare(images[i]) for i in chunk]
                    batch = np.stack(prepared + [prepared[0]] * (batch_size - len(chunk)))
                    del prepared
                    predicted = self.run(fn, {"image": batch})
                except OutOfMemory:
                    large += chunk
                    continue
                for row, i in enumerate(chunk):
                    results[i] = leave_out(_crop(predicted, row, images[i].shape), unknown_pixels(images[i]))
        for i in large:
            results[i] = self._joined(fn, images[i])
        return results

    def _joined(self, fn: Forward, image: np.ndarray) -> Any:
        """Returns the arrays that `fn` gives for an image that is predicted in bands."""
        height, width, _ = image.shape
        num_classes = len(self.class_names)
        bytes_per_pixel = 4 * num_classes if fn is forward else num_classes + 1
        result: Any = None
        for start, band in self.in_bands(fn, ArrayRows(image), height * width * bytes_per_pixel):
            if result is None:
                result = jax.tree.map(lambda x: np.empty((height, *x.shape[1:]), x.dtype), band)
            jax.tree.map(lambda whole, x, start=start: np.copyto(whole[start : start + len(x)], x), result, band)
        return result

    def bands(self, rows: ImageRows) -> Iterator[tuple[int, np.ndarray]]:
        """Yields (first row, probabilities float32 `[b, W, K]`) of an image; see `Segmenter.bands`."""
        return self._bands(forward, rows)

    def mask_bands(self, rows: ImageRows) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """Yields (first row, masks bool `[b, W, K]`, ids uint8 `[b, W]`) of an image; see `Segmenter.mask_bands`.

        The probabilities stay on the device.
        """
        for start, (masks, ids) in self._bands(forward_masks, rows):
            yield start, masks, ids

    def member_bands(self, rows: ImageRows) -> Iterator[MemberBand]:
        """Yields the probabilities of every head, all of one forward pass; see `Segmenter.member_bands`."""
        for start, heads in self._bands(forward_heads, rows):
            number = heads.shape[2]
            for member in range(number):
                yield MemberBand(member, 1 / number, IDENTITY, start, heads[:, :, member])

    def _bands(self, fn: Forward, rows: ImageRows) -> Iterator[tuple[int, Any]]:
        """Yields (first row, the arrays `[b, W, ...]` of `fn`) of an image: whole, if it fits into the memory, or in bands."""
        height, width, _ = rows.shape
        if self.may_fit(height, width):
            with contextlib.suppress(OutOfMemory):
                image = self.check(rows.read(0, height))
                batch = np.stack([self._prepare(image)] * self.num_devices)
                whole = self.run(fn, {"image": batch})
                yield 0, leave_out(_crop(whole, 0, (height, width)), unknown_pixels(image))
                return
        yield from self.in_bands(fn, rows)

    def in_bands(self, fn: Forward, rows: ImageRows, held: float = 0) -> Iterator[tuple[int, Any]]:
        """Yields (first row, the arrays `[b, W, ...]` of `fn`) of an image that does not fit into the memory as a whole.

        Args:
          fn: one of `forward`, `forward_heads` and `forward_masks`.
          rows: the image, at the size of the source.
          held: the bytes of the results that the caller keeps.

        Raises:
          UserError: the image does not fit the network.
          OutOfMemory: the memory is too small for the smallest part of the image.
        """
        height, width, _ = rows.shape
        size, parts = self.padded_size(height, width), self._in_parts
        prepared = PreparedRows(
            rows, self.check_band, self.normalize, size, self.margin, parts.multiple, self.value_range, self.nan
        )
        for start, band in parts.bands(fn, self._variables, prepared, self.budget, held):
            if start >= height:
                return
            if (height, width) not in self._parts:
                described = parts.describe(fn, self._variables, prepared.shape, self.budget, held)
                self._parts[height, width] = described
            cropped = jax.tree.map(lambda x: np.asarray(x)[: height - start, :width], band)  # noqa: B023
            stop = min(start + len(jax.tree.leaves(cropped)[0]), height)
            yield start, leave_out(cropped, prepared.unknown(start, stop))

    def may_fit(self, height: int, width: int) -> bool:
        """Returns False for an image of a size that is known not to fit into the memory as a whole.

        Args:
          height: of the image in pixels.
          width: of the image in pixels.
        """
        height, width = self.padded_size(height, width)
        pixels = height * width
        if pixels < SMALL:
            return True
        least = (PREPARED_BYTES * self.channels + self._in_parts.map_bytes) * pixels * self.num_devices
        return least <= self.budget and not any(program.is_too_large(pixels) for program in self.programs)

    def prepare(self, image: np.ndarray) -> np.ndarray:
        """Returns an image as the network takes it: with its channels, normalised and padded.

        Args:
          image: `[H, W]` or `[H, W, C]`; see `predict`.

        Returns:
          float32 `[h, w, C]`, where (h, w) is the `padded_size`.

        Raises:
          UserError: the image does not fit the network; see `images.check_image` and `images.to_channels`.
          OutOfMemory: the image does not fit into the memory.
        """
        return self._prepare(self.check(image))

    def _prepare(self, image: np.ndarray) -> np.ndarray:
        """Normalises and pads what `check` returned; see `prepare`."""
        height, width = image.shape[:2]
        with report_out_of_memory(f"an image of {height} x {width} pixels", REMEDY, self.devices):
            check_free(PREPARED_BYTES * image.size)
            image = normalize(image, self.normalize, value_range=self.value_range)
            return padding.pad_image(image, self.padded_size(height, width), (self.margin, self.margin))
