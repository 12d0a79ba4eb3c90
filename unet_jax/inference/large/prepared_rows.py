"""An image as a network takes it, read in bands: with its channels, normalised and padded."""

from collections.abc import Callable

import numpy as np

from unet_jax.data.datasets.image_rows import ConvertedRows, ImageRows, bands
from unet_jax.data.normalization import normalize, statistics_of_bands
from unet_jax.data.padding import mirrored


class PreparedRows:
    """An image, normalised as a whole and padded by mirroring, as `ImageRows`.

    What it reads is what `Predictor.prepare` gives for the whole image.

    Args:
      rows: the image, at the size of the source.
      check: returns a band with the network's channels; see `Predictor.check`.
      mode: see `data.normalization`.
      size: height and width of the padded image.
      margin: the rows that are added above, and the columns that are added on the left.
      multiple: after mirroring, the last row and column are repeated up to a multiple of it, as the network does.

    Raises:
      UserError: the image does not fit the network. It is read once to find its mean and standard deviation.
    """

    def __init__(
        self,
        rows: ImageRows,
        check: Callable[[np.ndarray], np.ndarray],
        mode: str,
        size: tuple[int, int],
        margin: int = 0,
        multiple: int = 1,
    ):
        self._rows = ConvertedRows(rows, check)
        self._mode = mode
        self._stats = statistics_of_bands(bands(self._rows), mode)
        height, width, channels = self._rows.shape
        self._of_row, self._of_column = (
            np.pad(mirrored(-margin, padded - margin, pixels), (0, -padded % multiple), mode="edge")
            for padded, pixels in zip(size, (height, width), strict=True)
        )
        self.shape = (len(self._of_row), len(self._of_column), channels)
        self.dtype = np.dtype(np.float32)

    def read(self, start: int, stop: int) -> np.ndarray:
        """Returns the rows `start` to `stop - 1` of the padded image, float32; see `ImageRows`."""
        of_row = self._of_row[start:stop]
        first = int(of_row.min())
        band = self._rows.read(first, int(of_row.max()) + 1)
        band = normalize(band, self._mode, self._stats)
        return band[of_row - first][:, self._of_column]
