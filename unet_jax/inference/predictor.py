"""Prediction with a trained network on images of any size: heads -> probabilities -> masks.

Evaluation and prediction both run `forward` on every local device. Images are normalised as a whole and mirror-padded to
multiples; the result is cropped to the size of the source.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from flax import linen as nn

from unet_jax.data import padding
from unet_jax.data.normalization import normalize
from unet_jax.errors import UserError
from unet_jax.inference.images import check_image, to_channels
from unet_jax.inference.options import MODES
from unet_jax.runtime import parallel
from unet_jax.segmentation import ACTIVATIONS, resolve_report_classes, to_masks, to_probabilities


def select_heads(module: nn.Module, mode: str = "accurate", level: int = 0) -> nn.Module:
    """Returns the part of a trained network that `mode` and `level` need, to be applied to the same variables.

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


def mean_probabilities(heads: Sequence, activation: str, mode: str = "accurate"):
    """Returns probabilities `[B, H, W, K]` from the heads' logits: their mean ("accurate") or the deepest head's ("fast")."""
    if mode == "fast":
        return to_probabilities(heads[-1], activation)
    return sum(to_probabilities(logits, activation) for logits in heads) / len(heads)


def forward(module: nn.Module, mode: str, variables, batch):
    """Returns probabilities `[B, h', w', K]` of normalised images `[B, h, w, C]`; every prediction runs this."""
    return mean_probabilities(module.apply(variables, batch["image"], train=False), module.activation, mode)


class Program:
    """Runs `fn(module, mode, variables, batch)` on every local device.

    Attributes:
      shapes: the `key` of each batch that it was compiled for.
    """

    def __init__(self, fn: Callable, module: nn.Module, mode: str, devices: Sequence[jax.Device]):
        self._p_fn = parallel.pmap_predict(functools.partial(fn, module, mode), devices)
        self.shapes: set = set()

    def __call__(self, variables, batch):
        self.shapes.add(self.key(batch))
        return self._p_fn(variables, batch)

    @staticmethod
    def key(batch) -> tuple:
        """Returns the names, shapes and types of a batch; batches of one key share a compiled program."""
        return tuple(sorted((name, x.shape, str(x.dtype)) for name, x in batch.items()))


# Cached, so that all evaluations of a training run compile once. Bounded, because programs hold memory.
_program = functools.lru_cache(maxsize=16)(Program)


@dataclasses.dataclass
class Predictor:
    """A trained network, with what it needs to turn images into masks.

    Attributes:
      module: the network as trained.
      variables: its variables, or the subset that `mode` and `level` need.
      class_names: one per output channel. For a single channel the two names of a two-class data set may be given; the
        second is the channel's.
      channels: of the images that the network was trained on.
      report_classes: the classes that `predict` returns masks of; all but the background by default.
      normalize: as of `data.normalization`.
      mode: "accurate" or "fast"; see `select_heads`.
      level: U-Net++'s pruning level; see `select_heads`.
      pad_multiple: padded sizes are multiples of it.
      devices: to run on; all local ones by default.
      network: the part of `module` that `mode` and `level` need; it is what runs.

    Raises:
      UserError: mode, level, activation, class names or report_classes do not fit the network.
    """

    module: nn.Module
    variables: Any
    class_names: tuple[str, ...]
    channels: int = 1
    report_classes: tuple[str, ...] = ()
    normalize: str = "image"
    mode: str = "accurate"
    level: int = 0
    pad_multiple: int = 64
    devices: Sequence[jax.Device] | None = None

    def __post_init__(self):
        num_classes, activation = self.module.num_classes, self.module.activation
        if activation not in ACTIVATIONS:
            raise UserError(f"model.activation {activation!r} is unknown; known: {', '.join(ACTIVATIONS)}")
        if num_classes == 1 and activation != "sigmoid":
            raise UserError(f"model.activation {activation!r} has no meaning for one class; use 'sigmoid'")
        names = tuple(self.class_names)
        self.class_names = names[1:] if num_classes == 1 and len(names) == 2 else names
        if len(self.class_names) != num_classes:
            raise UserError(f"{len(names)} class names ({', '.join(names)}) for a network of {num_classes} classes")
        self.report_classes = resolve_report_classes(self.class_names, self.report_classes)
        self.network = select_heads(self.module, self.mode, self.level)
        self.devices = tuple(parallel.local_devices(self.devices))
        self._variables = parallel.replicate(self.variables, self.devices)

    @property
    def num_devices(self) -> int:
        """Number of devices that share a batch; batch sizes are multiples of it."""
        return len(self.devices)

    @property
    def margin(self) -> int:
        """Pixels lost at each border: 0 with same padding."""
        size = self.network.input_size(self.pad_multiple)
        return (size - self.network.output_size(size)) // 2

    def padded_size(self, height: int, width: int) -> tuple[int, int]:
        """Returns the size to which an image of this size is padded."""
        return padding.padded_size(height, width, self.pad_multiple, self.network.input_size)

    @property
    def report_channels(self) -> list[int]:
        """Output channels of the reported classes."""
        return [self.class_names.index(name) for name in self.report_classes]

    def program(self, fn: Callable) -> Program:
        """Returns the `Program` of `fn(module, mode, variables, batch)` for this network; one per process, compiled once per shape."""
        return _program(fn, self.network, self.mode, self.devices)

    def run(self, fn: Callable, batch: dict):
        """Runs `fn` on a batch `[B, ...]`, B a multiple of `num_devices`; returns NumPy outputs `[B, ...]`."""
        return self.program(fn)(self._variables, batch)

    def probabilities(self, image) -> np.ndarray:
        """Returns probabilities `[B, h', w', K]` of normalised, padded images `[B, h, w, C]`, B a multiple of `num_devices`."""
        return self.run(forward, {"image": np.asarray(image, np.float32)})

    def predict_images(self, images: Sequence[np.ndarray], batch_size: int = 0) -> list[np.ndarray]:
        """Returns probabilities float32 `[h, w, K]` of each image.

        Images of one padded size share batches.

        Args:
          images: each `[h, w]` or `[h, w, C]`, of any size; types and channels as of `predict`.
          batch_size: images in a batch, rounded up to fill the devices; 0 for one image per device.
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

    def predict(self, array: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns masks of the reported classes and probabilities of all classes, at the size of the source.

        Args:
          array: `[H, W]`, `[H, W, C]` or `[B, H, W, C]`, uint8, uint16 or float (for `normalize="range"` in 0..1).
            Grey images become RGB by repetition, RGB images grey by luminance, where the network was trained on the other;
            an alpha channel is dropped.

        Returns:
          Masks bool `[..., H, W, K']`, one channel per name in `report_classes`, and probabilities float32 `[..., H, W, K]`.

        Raises:
          UserError: the array has another rank, type or number of channels, is empty, or holds NaN or Inf.
        """
        array = np.asarray(array)
        if array.ndim not in (2, 3, 4) or array.size == 0:
            raise UserError(f"image of shape {array.shape}: want [H, W], [H, W, C] or [B, H, W, C], none of them 0")
        probabilities = self.predict_images(array if array.ndim == 4 else array[None])
        probabilities = np.stack(probabilities) if array.ndim == 4 else probabilities[0]
        masks, _ = to_masks(probabilities, self.module.activation)
        return masks[..., self.report_channels], probabilities

    def prepare(self, image: np.ndarray) -> np.ndarray:
        """Returns an image `[H, W]` or `[H, W, C]` as the network takes it: channels, normalised, padded; float32 `[h, w, C]`."""
        image = to_channels(check_image(image, self.normalize), self.channels)
        image = normalize(image, self.normalize)
        return padding.pad_image(image, self.padded_size(*image.shape[:2]), (self.margin, self.margin))
