"""Prediction with a trained network on images of any size: heads -> probabilities -> masks.

Evaluation and prediction both run `forward` on every local device. Images are normalised as a whole, and padded by mirroring
to multiples of a size. The result is cropped to the size of the source.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from unet_jax.data import padding
from unet_jax.data.datasets.image_rows import ImageRows
from unet_jax.data.normalization import normalize
from unet_jax.errors import UserError
from unet_jax.inference.options import MODES
from unet_jax.inference.segmenter import MemberBand, Segmenter
from unet_jax.inference.views import IDENTITY
from unet_jax.models.fold_batch_norm import fold_batch_norm
from unet_jax.models.network import Network
from unet_jax.runtime import compilation_cache, parallel
from unet_jax.runtime.compile_notice import compile_notice, print_above_bar
from unet_jax.runtime.out_of_memory import OutOfMemory, check_fits, check_free, report_out_of_memory
from unet_jax.segmentation import ACTIVATIONS, resolve_report_classes, to_probabilities

# Seconds that the first batch of a size may take before a line says that the network is being compiled.
NOTICE_AFTER_S = 3.0
# Kernels of a CPU use scratch memory that the compiler's plan leaves out: up to this many times the plan in all.
SCRATCH = 1.5
# The bytes that normalising and padding take for each value of an image.
PREPARED_BYTES = 8
REMEDY = "cut the image into smaller ones, predict with fewer heads (mode 'fast'), or use a machine or a device with more memory"


def select_heads(module: Network, mode: str = "accurate", level: int = 0) -> Network:
    """Returns the part of a trained network that `mode` and `level` need; it is applied to the same variables.

    >>> from unet_jax import models
    >>> module = models.build("unet_pp", num_classes=3, widths=(4, 8, 16), deep_supervision=True)
    >>> [select_heads(module, mode, level).levels for mode, level in (("accurate", 0), ("fast", 0), ("fast", 1))]
    [(1, 2), (2,), (1,)]

    Args:
      module: the network as trained.
      mode: "accurate" for the mean over the heads 1 to L, "fast" for head L alone. With a single head (U-Net, or trained
        without deep supervision) the two are the same.
      level: U-Net++'s pruning level L, which builds only the nodes with i + j <= L; 0 for the network as trained.

    Raises:
      UserError: the mode is unknown, or the network has no trained head at the level.
    """
    if mode not in MODES:
        raise UserError(f"mode {mode!r} is unknown; known: {', '.join(MODES)}")
    return module.at_level(level, one_head=mode == "fast")


def mean_probabilities(heads: Sequence[jax.Array], activation: str, mode: str = "accurate") -> jax.Array:
    """Returns the probabilities `[B, H, W, K]` of a network.

    Args:
      heads: the logits of each head, `[B, H, W, K]`, shallow to deep.
      activation: "softmax" or "sigmoid".
      mode: "accurate" for the mean over the heads, "fast" for the deepest head alone.
    """
    if mode == "fast":
        return to_probabilities(heads[-1], activation)
    total: Any = sum(to_probabilities(logits, activation) for logits in heads)
    return total / len(heads)


def forward(module: Network, mode: str, variables: Mapping[str, Any], batch: Mapping[str, jax.Array]) -> jax.Array:
    """Returns the probabilities of a batch; every prediction runs this function.

    Args:
      module: the part of the network that `mode` needs; see `select_heads`.
      mode: "accurate" or "fast".
      variables: of the network.
      batch: its `image` holds normalised, padded images `[B, h, w, C]`.

    Returns:
      `[B, output_size(h), output_size(w), K]`.
    """
    heads: Any = module.apply(variables, batch["image"], train=False)
    return mean_probabilities(heads, module.activation, mode)


def forward_heads(
    module: Network, mode: str, variables: Mapping[str, Any], batch: Mapping[str, jax.Array]
) -> jax.Array:
    """Returns the probabilities of each head that `forward` takes the mean of, `[B, M, output_size(h), output_size(w), K]`.

    Args:
      module: see `forward`.
      mode: see `forward`.
      variables: see `forward`.
      batch: see `forward`.
    """
    heads: Any = module.apply(variables, batch["image"], train=False)
    heads = heads if mode == "accurate" else heads[-1:]
    return jnp.stack([to_probabilities(logits, module.activation) for logits in heads], 1)


class Program:
    """Runs `fn(module, mode, variables, batch)` on several devices, with as many images at once as fit into the memory.

    A batch that does not fit is run in parts: in halves, in quarters, down to one image per device. A line on stderr says so
    once. Later batches of as many pixels are run in parts at once.

    Args:
      fn: such as `forward`.
      module: see `forward`.
      mode: see `forward`.
      devices: share each batch.
    """

    def __init__(self, fn: Callable, module: Network, mode: str, devices: Sequence[jax.Device]):
        self._devices = tuple(devices)
        self._p_fn = parallel.HostForward(functools.partial(fn, module, mode), devices)
        # By the key of the batch and the tree of the variables: a level of a U-Net++ may be given all variables, or its own.
        self._compiled: dict[tuple, jax.stages.Compiled] = {}
        # The smallest number of pixels per device that did not fit.
        self._too_many = math.inf

    @property
    def shapes(self) -> Set[tuple]:
        """The `key` of each batch that the program was compiled for."""
        return {batch for batch, _ in self._compiled}

    def __call__(self, variables: Any, batch: Mapping[str, np.ndarray]) -> Any:
        """Returns what `fn` returns, as NumPy arrays `[B, ...]`.

        Args:
          variables: replicated over the devices.
          batch: arrays `[B, ...]`, B a multiple of the number of devices.

        Raises:
          OutOfMemory: one image per device does not fit.
        """
        rows, height, width = batch["image"].shape[:3]
        per_device = rows // len(self._devices)
        while per_device > 1 and per_device * height * width >= self._too_many:
            per_device = -(-per_device // 2)
        while True:
            try:
                return self._run_in_parts(variables, batch, per_device * len(self._devices))
            except OutOfMemory:
                if per_device == 1:
                    raise
            # After the error is forgotten, and with it what its frames hold.
            if self._too_many == math.inf:
                print_above_bar(
                    f"note: {rows} images of {height} x {width} pixels do not fit into the memory at once; fewer are "
                    "predicted at a time. A smaller eval.batch_size leaves this attempt out"
                )
            self._too_many = min(self._too_many, per_device * height * width)
            per_device = -(-per_device // 2)

    def _run_in_parts(self, variables: Any, batch: Mapping[str, np.ndarray], rows: int) -> Any:
        """Runs `rows` images at a time; the last part is filled up, so that all parts share one compiled program."""
        total = len(batch["image"])
        if rows == total:
            return self._run(variables, batch)
        parts = []
        for start in range(0, total, rows):
            index = np.minimum(np.arange(start, start + rows), total - 1)
            parts.append(self._run(variables, {name: x[index] for name, x in batch.items()}))
        return jax.tree.map(lambda *leaves: np.concatenate(leaves)[:total], *parts)

    def _run(self, variables: Any, batch: Mapping[str, np.ndarray]) -> Any:
        key = self.key(batch), jax.tree.structure(variables)
        rows, height, width = batch["image"].shape[:3]
        size = f"{height} x {width} pixels"
        what = f"an image of {size}" if rows == len(self._devices) else f"a batch of {rows} images of {size}"
        with report_out_of_memory(what, REMEDY, self._devices):
            if key not in self._compiled:
                # A small network compiles within these seconds; then nothing is printed.
                notice = compile_notice(f"the network for images of {height} x {width} pixels", after_s=NOTICE_AFTER_S)
                with compilation_cache.shared(), notice:
                    compiled = self._p_fn.compile(variables, batch)
                # A batch can be halved, so it is halved in time; a single image is refused where it cannot fit.
                check_fits(compiled, self._devices, scale=SCRATCH if rows > len(self._devices) else 1.0)
                self._compiled[key] = compiled
            return self._p_fn.run(self._compiled[key], variables, batch)

    @staticmethod
    def key(batch: Mapping[str, np.ndarray]) -> tuple:
        """Returns the names, shapes and types of the arrays of a batch; batches of one key share a compiled program."""
        return tuple(sorted((name, x.shape, str(x.dtype)) for name, x in batch.items()))


# Cached, so that all evaluations of a training compile once. Bounded, because programs hold memory.
_program = functools.lru_cache(maxsize=16)(Program)


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
      mode: "accurate" or "fast"; see `select_heads`.
      level: U-Net++'s pruning level; see `select_heads`.
      pad_multiple: images are padded to multiples of this size in pixels.
      devices: to run on; all local ones by default.
      network: the part of `module` that `mode` and `level` need, for `variables`. This part runs, with BatchNorm folded into
        its convolutions; see `models.fold_batch_norm`.

    Raises:
      UserError: mode, level, activation, class names or report_classes do not fit the network, or `devices` is empty.
    """

    module: Network
    variables: Any
    class_names: tuple[str, ...]
    channels: int = 1
    report_classes: tuple[str, ...] = ()
    normalize: str = "image"
    dtype: str = ""
    mode: str = "accurate"
    level: int = 0
    pad_multiple: int = 64
    devices: Sequence[jax.Device] | None = None

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
        self._running, variables = fold_batch_norm(self.network, self.variables)
        self._variables = parallel.replicate(variables, self.devices)

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
        return sum(len(program.shapes) for program in self.programs)

    @property
    def programs(self) -> set[Program]:
        """The programs that predict; those of equal networks are the same."""
        return {self.program(fn) for fn in (forward, forward_heads)}

    @property
    def num_members(self) -> int:
        """The number of heads that are averaged."""
        return self.network.num_heads if self.mode == "accurate" else 1

    def program(self, fn: Callable) -> Program:
        """Returns the `Program` that runs `fn(module, mode, variables, batch)`, where `module` is the network that runs.

        Equal networks share one program, which is compiled once for each shape of a batch.
        """
        return _program(fn, self._running, self.mode, self.devices)

    def run(self, fn: Callable, batch: Mapping[str, np.ndarray]) -> Any:
        """Runs `fn` on a batch of arrays `[B, ...]`, B a multiple of `num_devices`; returns its NumPy arrays `[B, ...]`.

        Raises:
          OutOfMemory: one image per device does not fit into the memory; see `Program`.
        """
        return self.program(fn)(self._variables, batch)

    def probabilities(self, image: np.ndarray) -> np.ndarray:
        """Returns the probabilities of images that are normalised and padded.

        Args:
          image: `[B, h, w, C]`, B a multiple of `num_devices`.

        Returns:
          float32 `[B, output_size(h), output_size(w), K]`.
        """
        return self.run(forward, {"image": np.asarray(image, np.float32)})

    def predict_images(self, images: Sequence[np.ndarray], batch_size: int = 0) -> list[np.ndarray]:
        """Returns the probabilities of each image, float32 `[h, w, K]`.

        Images of one padded size share batches.

        Args:
          images: each `[h, w]` or `[h, w, C]`, of any size; types and channels: see `predict`.
          batch_size: the number of images in a batch, rounded up to fill the devices; 0 for one image per device.

        Raises:
          UserError: an image does not fit; see `prepare`.
        """
        batch_size = -(-max(batch_size, 1) // self.num_devices) * self.num_devices
        prepared = [self.prepare(image) for image in images]
        by_size: dict[tuple, list[int]] = {}
        for i, image in enumerate(prepared):
            by_size.setdefault(image.shape, []).append(i)
        results: list = [None] * len(images)
        for indices in by_size.values():
            for start in range(0, len(indices), batch_size):
                chunk = indices[start : start + batch_size]
                batch = np.stack([prepared[i] for i in chunk] + [prepared[chunk[0]]] * (batch_size - len(chunk)))
                for i, probabilities in zip(chunk, self.probabilities(batch), strict=False):
                    height, width = np.shape(images[i])[:2]
                    results[i] = probabilities[:height, :width]
        return results

    def bands(self, rows: ImageRows) -> Iterator[tuple[int, np.ndarray]]:
        """Yields (first row, probabilities float32 `[b, W, K]`) of an image; see `Segmenter.bands`."""
        yield 0, self.predict_images([rows.read(0, rows.shape[0])])[0]

    def member_bands(self, rows: ImageRows) -> Iterator[MemberBand]:
        """Yields the probabilities of every head, all of one forward pass; see `Segmenter.member_bands`."""
        image = rows.read(0, rows.shape[0])
        batch = np.stack([self.prepare(image)] * self.num_devices)
        heads = self.run(forward_heads, {"image": batch})[0]
        height, width = image.shape[:2]
        for member, probabilities in enumerate(heads):
            yield MemberBand(member, 1 / len(heads), IDENTITY, 0, probabilities[:height, :width])

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
        image = self.check(image)
        height, width = image.shape[:2]
        with report_out_of_memory(f"an image of {height} x {width} pixels", REMEDY, self.devices):
            check_free(PREPARED_BYTES * image.size)
            image = normalize(image, self.normalize)
            return padding.pad_image(image, self.padded_size(height, width), (self.margin, self.margin))
