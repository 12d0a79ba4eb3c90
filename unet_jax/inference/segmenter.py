"""The interface that one network and an ensemble share: images in, masks and probabilities out."""

import abc
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from unet_jax.data.datasets.image_rows import ImageRows
from unet_jax.errors import UserError
from unet_jax.inference.images import as_array, as_pixels, check_image, to_channels
from unet_jax.inference.views import View
from unet_jax.segmentation import to_masks


class MemberBand(NamedTuple):
    """Rows of the probabilities of one member: one head of one network for one view of the image.

    Attributes:
      member: the number of the member, from 0.
      weight: the share of the member in the probabilities of the whole; the weights of all members add up to 1.
      view: how the member saw the image; `start` counts the rows of that view.
      start: the first row.
      probabilities: float32 `[b, w, K]`.
    """

    member: int
    weight: float
    view: View
    start: int
    probabilities: np.ndarray


class Segmenter(abc.ABC):
    """Turns images into masks: a `Predictor` with one network, an `Ensemble` with several networks or views.

    Attributes:
      class_names: one per output channel.
      channels: the channels of the images that it was trained on.
      report_classes: the classes that `predict` returns masks of.
      normalize: see `data.normalization`.
      dtype: the pixel type of the images that it was trained on; "" if it is not known.
      value_range: see `data.normalization`.
      nan: "error" or "void"; see `data.nan_pixels`.
    """

    class_names: tuple[str, ...]
    channels: int
    report_classes: tuple[str, ...]
    normalize: str
    dtype: str
    value_range: tuple[float, ...] = ()
    nan: str = "error"

    @property
    @abc.abstractmethod
    def activation(self) -> str:
        """How logits become probabilities: "softmax" or "sigmoid"."""

    @property
    @abc.abstractmethod
    def num_compiled(self) -> int:
        """The number of shapes of batches that were compiled."""

    @property
    @abc.abstractmethod
    def num_members(self) -> int:
        """The number of predictions that are averaged: networks x views x heads."""

    @property
    @abc.abstractmethod
    def parts(self) -> list[dict[str, Any]]:
        """How images that did not fit into the memory were predicted, in the types of JSON; one for each network and size.

        Each has the `height` and `width` of the images, and `approximate`, True for tiles that are blended. Bands have
        `band_rows` (rows of a band), `strip_width` and `strips`; tiles have `tile`, their largest side. All are in pixels.
        """

    @abc.abstractmethod
    def padded_size(self, height: int, width: int) -> tuple[int, int]:
        """Returns the height and width to which an image of this size is padded."""

    @abc.abstractmethod
    def predict_images(self, images: Sequence[np.ndarray], batch_size: int = 0) -> list[np.ndarray]:
        """Returns the probabilities of each image, float32 `[h, w, K]`.

        Images of one padded size share batches.

        Args:
          images: each `[h, w]` or `[h, w, C]`, of any size; types and channels: see `predict`.
          batch_size: the number of images in a batch, rounded up to fill the devices; 0 for one image per device.

        Raises:
          UserError: an image does not fit; see `check`.
        """

    def predict_masks(self, images: Sequence[np.ndarray], batch_size: int = 0) -> list[tuple[np.ndarray, np.ndarray]]:
        """Returns masks bool `[h, w, K]` of all classes and ids uint8 `[h, w]` of each image; see `predict_images`."""
        return [to_masks(probabilities, self.activation) for probabilities in self.predict_images(images, batch_size)]

    @abc.abstractmethod
    def bands(self, rows: ImageRows) -> Iterator[tuple[int, np.ndarray]]:
        """Yields (first row, probabilities float32 `[b, W, K]`) of an image, from row 0 to the last, without gaps.

        Args:
          rows: the image, at the size of the source.
        """

    def mask_bands(self, rows: ImageRows) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """Yields (first row, masks bool `[b, W, K]` of all classes, ids uint8 `[b, W]`) of an image; see `bands`.

        Args:
          rows: the image, at the size of the source.
        """
        for start, probabilities in self.bands(rows):
            yield start, *to_masks(probabilities, self.activation)

    @abc.abstractmethod
    def member_bands(self, rows: ImageRows) -> Iterator[MemberBand]:
        """Yields the probabilities of every member, one member after the other or in turns.

        Args:
          rows: the image, at the size of the source.
        """

    @property
    def report_channels(self) -> list[int]:
        """The output channels of the reported classes."""
        return [self.class_names.index(name) for name in self.report_classes]

    def predict(self, array: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns the masks of the reported classes and the probabilities of all classes, at the size of the source.

        Args:
          array: `[H, W]`, `[H, W, C]` or `[B, H, W, C]`, uint8, uint16 or float (for `normalize="range"` in 0..1), as
            `unet_jax.read_image` returns it. Colours are in the order RGB; `cv2.imread` returns BGR. Where the network was
            trained on RGB images, a grey one is repeated; where it was trained on grey ones, an RGB image is reduced to
            its luminance. An alpha channel is dropped. Other channels are as many as in training, in the same order. A pixel
            that is NaN or infinite is refused or, where `nan` is "void", in no mask, and its probabilities are NaN.

        Returns:
          Masks bool `[..., H, W, K']`, one channel per name in `report_classes`, and probabilities float32 `[..., H, W, K]`.

        Raises:
          UserError: the array is None or no array, has another rank, type or number of channels, is empty, holds NaN or
            Inf and `nan` is "error", or, for `normalize="range"`, has another depth than the images that the network was trained on.
          OutOfMemory: the image is too large for the memory.
        """
        array = as_array(array)
        if array.ndim not in (2, 3, 4) or array.size == 0:
            raise UserError(f"image of shape {array.shape}: give [H, W], [H, W, C] or [B, H, W, C], with no size 0")
        of_each = self.predict_images(list(array) if array.ndim == 4 else [array])
        probabilities = np.stack(of_each) if array.ndim == 4 else of_each[0]
        masks, _ = to_masks(probabilities, self.activation)
        return masks[..., self.report_channels], probabilities

    def check(self, image: np.ndarray) -> np.ndarray:
        """Returns an image with the network's channels: uint8, uint16 or float32 `[H, W, C]`.

        Args:
          image: `[H, W]` or `[H, W, C]`; see `predict`.

        Raises:
          UserError: the image does not fit; see `images.check_image` and `images.to_channels`.
        """
        checked = check_image(image, self.normalize, self.dtype, self.value_range, self.nan)
        return to_channels(checked, self.channels)

    def check_band(self, band: np.ndarray) -> np.ndarray:
        """Returns some rows of an image as `check` does; NaN, Inf and the range of floats are left to a look at all rows.

        Args:
          band: `[h, W, C]`.

        Raises:
          UserError: the rows do not fit; see `images.as_pixels` and `images.to_channels`.
        """
        pixels = as_pixels(band, self.normalize, self.dtype, self.value_range)
        return to_channels(pixels, self.channels)
