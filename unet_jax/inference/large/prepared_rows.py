"""An image as a network takes it, read in bands: with its channels, normalised and padded."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from unet_jax.data.datasets.image_rows import ConvertedRows, ImageRows, bands
from unet_jax.data.nan_pixels import refuse_unknown, unknown_pixels
from unet_jax.data.normalization import normalize, statistics_of_bands
from unet_jax.data.padding import mirrored
from unet_jax.inference.large.scratch import Scratch


class PreparedRows:
    """An image, normalised as a whole and padded by mirroring, as `ImageRows`.

    What it reads is what `Predictor.prepare` gives for the whole image.

    Args:
      rows: the image, at the size of the source.
      check: returns a band with the network's channels; see `Segmenter.check_band`.
      mode: see `data.normalization`.
      size: height and width of the padded image.
      margin: the rows that are added above, and the columns that are added on the left.
      multiple: after mirroring, the last row and column are repeated up to a multiple of it, as the network does.
      value_range: see `data.normalization`.
      nan: "error" refuses an image with pixels that are NaN or infinite, "void" takes it; see `data.nan_pixels`.

    Raises:
      UserError: the image does not fit the network. It is read to find its statistics: once, or twice for percentiles of floats.
    """

    def __init__(
        self,
        rows: ImageRows,
        check: Callable[[np.ndarray], np.ndarray],
        mode: str,
        size: tuple[int, int],
        margin: int = 0,
        multiple: int = 1,
        value_range: Sequence[float] = (),
        nan: str = "error",
    ):
        self._rows = ConvertedRows(rows, check)
        self._mode = mode
        self._bands = JudgedBands(self._rows, nan)
        self._stats = statistics_of_bands(self._bands, mode, value_range)
        self._bands.finish()
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

    def unknown(self, start: int, stop: int) -> np.ndarray | None:
        """Returns which pixels of rows of the source are NaN or infinite, bool `[stop - start, W]`; None if the image has none."""
        return self._bands.unknown(start, stop)


class JudgedBands:
    """The bands of an image, from the first row to the last, as often as they are asked for; notes the unknown pixels.

    Args:
      rows: the image.
      nan: see `PreparedRows`.
    """

    def __init__(self, rows: ImageRows, nan: str):
        self._rows, self._nan = rows, nan
        self._finished = rows.dtype != np.float32
        # One bit for each pixel; None while every pixel is known.
        self._bits: Scratch | None = None

    def __iter__(self) -> Iterator[np.ndarray]:
        start = 0
        for band in refuse_unknown(bands(self._rows)) if self._nan == "error" else bands(self._rows):
            if not self._finished:
                self._note(start, unknown_pixels(band))
            start += len(band)
            yield band
        self._finished = True

    def _note(self, start: int, unknown: np.ndarray | None) -> None:
        if unknown is None:
            return
        height, width, _ = self._rows.shape
        if self._bits is None:
            self._bits = Scratch((height, -(-width // 8)), np.uint8)
        self._bits.array[start : start + len(unknown)] = np.packbits(unknown, axis=-1)
        self._bits.release()

    def finish(self) -> None:
        """Reads all bands, if that was not done yet and there may be unknown pixels.

        Raises:
          UserError: there are such pixels, and they are refused.
        """
        if not self._finished:
            for _ in self:
                pass

    def unknown(self, start: int, stop: int) -> np.ndarray | None:
        """Returns which pixels of some rows are unknown; see `PreparedRows.unknown`."""
        if self._bits is None:
            return None
        return np.unpackbits(self._bits.array[start:stop], axis=-1, count=self._rows.shape[1]).astype(bool)
