"""Temperature scaling: one number that makes the probabilities of a trained network less sure, or surer.

Guo et al.: "On Calibration of Modern Neural Networks" (ICML 2017). A prediction may be the mean of heads, views and networks, so the
temperature T acts on the mean probability: p^(1/T), divided by the sum over the classes, with softmax; logit(p) / T with
sigmoid. With one head this is the logits divided by T. The order of the probabilities stays, and so does p >= 0.5: masks do not
change.

>>> apply_temperature(np.array([[0.9, 0.1], [0.5, 0.5]]), 2.0, "softmax").round(3).tolist()
[[0.75, 0.25], [0.5, 0.5]]
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from unet_jax.data.datasets.image_rows import ImageRows
from unet_jax.errors import UserError
from unet_jax.inference.segmenter import MemberBand, Segmenter
from unet_jax.segmentation import to_masks

# A smaller probability counts as this one, the resolution of float32 near 1.
LEAST = 1e-7


def apply_temperature(probabilities: np.ndarray, temperature: float, activation: str) -> np.ndarray:
    """Returns probabilities at a temperature; their masks and ids are the same.

    Args:
      probabilities: `[..., K]`.
      temperature: above 1 makes them less sure, below 1 surer.
      activation: "softmax" or "sigmoid".

    Returns:
      float32 `[..., K]`.
    """
    scaled = scale(np.asarray(probabilities, np.float64), 1 / temperature, activation).astype(np.float32)
    return _with_the_same_masks(scaled, probabilities, activation)


def scale(p: np.ndarray, power: float, activation: str) -> np.ndarray:
    """Returns probabilities at the temperature 1 / `power`, not rounded.

    Args:
      p: float64 `[..., K]`.
      power: 1 / temperature.
      activation: "softmax" or "sigmoid".
    """
    p = np.clip(p, LEAST, 1 - LEAST) if activation == "sigmoid" else np.maximum(p, LEAST)
    if activation == "sigmoid":
        return 1 / (1 + (1 / p - 1) ** power)
    # Divided by the largest first, so that no power of all of them is 0.
    scaled = (p / p.max(-1, keepdims=True)) ** power
    return scaled / scaled.sum(-1, keepdims=True)


def _with_the_same_masks(scaled: np.ndarray, probabilities: np.ndarray, activation: str) -> np.ndarray:
    """Returns `scaled` without the ties that its rounding makes: two classes that become equal, or a p < 0.5 that becomes 0.5."""
    if activation == "sigmoid":
        below = np.asarray(probabilities) < 0.5
        scaled[below] = np.minimum(scaled[below], np.nextafter(np.float32(0.5), np.float32(0)))
    _, ids = to_masks(np.asarray(probabilities), activation)
    _, other = to_masks(scaled, activation)
    places = np.nonzero(ids != other)
    highest = scaled[(*places, other[places])]
    scaled[(*places, ids[places])] = np.nextafter(highest, np.float32(2))
    return scaled


class Calibrated(Segmenter):
    """A network, or an ensemble, whose probabilities are at a temperature. Its masks are those of the network.

    Args:
      segmenter: the network, or an ensemble.
      temperature: see `apply_temperature`.

    Attributes:
      segmenter: the network, or an ensemble.
      temperature: above 0.
    """

    def __init__(self, segmenter: Segmenter, temperature: float):
        self.segmenter, self.temperature = segmenter, temperature
        self.class_names, self.report_classes = segmenter.class_names, segmenter.report_classes
        self.channels, self.normalize, self.dtype = segmenter.channels, segmenter.normalize, segmenter.dtype
        self.value_range, self.nan = segmenter.value_range, segmenter.nan

    @property
    def activation(self) -> str:
        """How logits become probabilities: "softmax" or "sigmoid"."""
        return self.segmenter.activation

    @property
    def num_compiled(self) -> int:
        """The number of shapes of batches that were compiled."""
        return self.segmenter.num_compiled

    @property
    def num_members(self) -> int:
        """The number of predictions that are averaged."""
        return self.segmenter.num_members

    @property
    def parts(self) -> list[dict[str, Any]]:
        """How images that did not fit into the memory were predicted; see `Segmenter.parts`."""
        return self.segmenter.parts

    def padded_size(self, height: int, width: int) -> tuple[int, int]:
        """Returns the height and width to which an image of this size is padded."""
        return self.segmenter.padded_size(height, width)

    def predict_images(self, images: Sequence[np.ndarray], batch_size: int = 0) -> list[np.ndarray]:
        """Returns the probabilities of each image, float32 `[h, w, K]`; see `Segmenter.predict_images`."""
        return [self._apply(probabilities) for probabilities in self.segmenter.predict_images(images, batch_size)]

    def predict_masks(self, images: Sequence[np.ndarray], batch_size: int = 0) -> list[tuple[np.ndarray, np.ndarray]]:
        """Returns the masks and ids of the segmenter, which the temperature does not change."""
        return self.segmenter.predict_masks(images, batch_size)

    def bands(self, rows: ImageRows) -> Iterator[tuple[int, np.ndarray]]:
        """Yields (first row, probabilities float32 `[b, W, K]`) of an image; see `Segmenter.bands`."""
        for start, probabilities in self.segmenter.bands(rows):
            yield start, self._apply(probabilities)

    def mask_bands(self, rows: ImageRows) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """Yields the masks and ids of the segmenter, which the temperature does not change."""
        return self.segmenter.mask_bands(rows)

    def member_bands(self, rows: ImageRows) -> Iterator[MemberBand]:
        """Raises UserError: a temperature belongs to the mean of the members, not to each of them."""
        raise UserError(
            "--calibrated and --uncertainty do not go together: the temperature is that of the mean; leave one out"
        )

    def _apply(self, probabilities: np.ndarray) -> np.ndarray:
        return apply_temperature(probabilities, self.temperature, self.activation)
