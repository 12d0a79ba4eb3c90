"""The loop of a prediction of files: reads images, runs the network, writes the results, all at the same time."""

import contextlib
import itertools
import math
import sys
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from etils.epath import Path
from PIL import Image
from tqdm import tqdm

from unet_jax.data.batch_size import balanced_batch_size
from unet_jax.data.datasets.image_rows import ArrayRows
from unet_jax.errors import UserError
from unet_jax.inference import record
from unet_jax.inference.inputs import Input
from unet_jax.inference.large.scratch import band_rows
from unet_jax.inference.overlap import ReadAhead, overlap
from unet_jax.inference.result_folder import ResultFolder
from unet_jax.inference.segmenter import Segmenter
from unet_jax.inference.throughput import ThroughputMeter
from unet_jax.inference.uncertainty import estimate
from unet_jax.segmentation import to_masks
from unet_jax.storage.paths import in_bucket

# An image of more pixels is predicted by itself, in bands: it need not fit into memory.
LARGE = 2**22

# Height and width.
Size = tuple[int, int]


class Band(NamedTuple):
    """Some rows of what the network gives for an image.

    Attributes:
      start: the first row.
      masks: the masks of all classes, bool `[h, W, K]`.
      ids: class ids, uint8 `[h, W]`.
      probabilities: float32 `[h, W, K]`; None where they are not written, and stay on the device.
    """

    start: int
    masks: np.ndarray
    ids: np.ndarray
    probabilities: np.ndarray | None = None


class Batch(NamedTuple):
    """Images that the network predicts together, and the number of rows of the batch, which is filled up."""

    images: list[Input]
    rows: int


class PredictionLoop:
    """Predicts images and writes their results.

    Args:
      predictor: the network, or an ensemble.
      folder: writes the results.
      stamps: of the files, by the name of the image, as they were found at the beginning; see `record.stamp`.
      begin: is called once, when the first image is computed and before anything is written.
      note_parts: is called before the results of an image that is predicted in parts are written, with its name and
        `Segmenter.parts`.
      batch_size: the largest number of images in a batch.
    """

    def __init__(
        self,
        predictor: Segmenter,
        folder: ResultFolder,
        stamps: Mapping[str, Mapping[str, Any]],
        begin: Callable[[], None],
        note_parts: Callable[[Mapping[str, Sequence[Mapping[str, Any]]]], None],
        batch_size: int,
    ):
        self._predictor = predictor
        self._folder = folder
        self._stamps = stamps
        self._begin = begin
        self._note_parts = note_parts
        self._begun = False
        self._num_approximate = 0
        self._batch_size = batch_size
        self._throughput = ThroughputMeter()

    def run(
        self, images: Sequence[Input], finished: Collection[str], sizes: Mapping[str, Size], show_progress: bool
    ) -> dict[str, Any]:
        """Predicts images, the largest first: if they do not fit into the memory, nothing has been written.

        Args:
          images: finished and others: they share the batches.
          finished: the names of the images whose results are there.
          sizes: of all images, by name.
          show_progress: shows a bar with the time left.

        Returns:
          `num_images`, `num_approximate` (blended tiles), `num_compiles`, `seconds` and `images_per_s`.

        Raises:
          UserError: an image does not fit the network or the memory, a file cannot be read or written, or changes meanwhile.
        """
        left = {image.name for image in images} - set(finished)
        is_large = {name: math.prod(size) > LARGE for name, size in sizes.items()}
        large = [image for image in images if is_large[image.name]]
        small = [image for image in images if not is_large[image.name]]
        batches = plan_batches(small, sizes, self._predictor, self._batch_size)
        num_compiled = self._predictor.num_compiled
        with Bar({name: math.prod(sizes[name]) for name in left}, show_progress) as bar:
            for image in sorted(large, key=lambda image: (-math.prod(sizes[image.name]), image.name)):
                if image.name in left:
                    self._predict_large(image, bar)
            self._predict_batches(
                [batch for batch in batches if any(image.name in left for image in batch.images)], left, bar
            )
        return {
            "num_images": len(left),
            "num_approximate": self._num_approximate,
            "num_compiles": self._predictor.num_compiled - num_compiled,
        } | self._throughput.read()

    def _predict_batches(self, batches: Sequence[Batch], left: Collection[str], bar: "Bar") -> None:
        def read(batch: Batch) -> list[np.ndarray]:
            arrays = [image.read() for image in batch.images]
            for image in batch.images:
                self._check_unchanged(image)
            return arrays

        def compute(batch: Batch, arrays: list[np.ndarray]) -> list[tuple[Band, dict[str, float]]]:
            num_compiled = self._predictor.num_compiled
            with naming(batch.images[0].path):
                predicted = self._predict(arrays, batch.rows)
            self._throughput.tick(len(batch.images), self._predictor.num_compiled == num_compiled)
            self._begin_once()
            sizes = {image.name: array.shape[:2] for image, array in zip(batch.images, arrays, strict=True)}
            self._note({name: size for name, size in sizes.items() if name in left})
            return predicted

        def write(batch: Batch, arrays: list[np.ndarray], predicted: list[tuple[Band, dict[str, float]]]) -> None:
            for image, array, (band, measures) in zip(batch.images, arrays, predicted, strict=True):
                if image.name in left:
                    self._folder.write(image.name, band.masks, band.ids, array, band.probabilities, measures)
                    bar.add(band.ids.size, num_images=1)

        overlap(batches, read, compute, write)

    def _predict(self, arrays: list[np.ndarray], rows: int) -> list[tuple[Band, dict[str, float]]]:
        """Returns what the network gives for each image of a batch, as one band, and the measures of its uncertainty."""
        if self._folder.needs.uncertainty:
            of_each = [estimate(self._predictor, ArrayRows(array)) for array in arrays]
            bands = self._masked((0, uncertainty.probabilities) for uncertainty in of_each)
            return [(band, uncertainty.measures()) for band, uncertainty in zip(bands, of_each, strict=True)]
        if self._folder.needs.probabilities:
            predicted = self._predictor.predict_images(arrays, rows)
            return [(band, {}) for band in self._masked((0, probabilities) for probabilities in predicted)]
        return [(Band(0, *masks_and_ids), {}) for masks_and_ids in self._predictor.predict_masks(arrays, rows)]

    def _predict_large(self, image: Input, bar: "Bar") -> None:
        """Predicts an image in bands; its results appear when they are whole."""
        num_compiled = self._predictor.num_compiled
        rows = image.open()
        # Read again by the thread that writes, which is behind the one that reads for the network.
        pixels = image.open() if self._folder.needs.pixels else None
        with ReadAhead(rows) as ahead:
            measures: dict[str, float] = {}
            if self._folder.needs.uncertainty:
                with naming(image.path):
                    uncertainty = estimate(self._predictor, ahead)
                measures, probabilities = uncertainty.measures(), uncertainty.probabilities
                cuts = band_rows(len(probabilities), probabilities[0].nbytes)
                bands = self._masked((start, probabilities[start:stop]) for start, stop in cuts)
            elif self._folder.needs.probabilities:
                bands = self._masked(self._predictor.bands(ahead))
            else:
                bands = (Band(*band) for band in self._predictor.mask_bands(ahead))
            bands = _naming_each(image.path, bands)
            first = next(bands)
            self._begin_once()
            self._note({image.name: rows.shape[:2]})
            with self._folder.open(image.name, rows.shape[:2], measures) as result:

                def write(band: Band, *_: None) -> None:
                    stop = band.start + len(band.ids)
                    shown = pixels.read(band.start, stop) if pixels else None
                    result.write(band.start, band.masks, band.ids, shown, band.probabilities)
                    bar.add(band.ids.size, num_images=int(stop == rows.shape[0]))

                overlap(itertools.chain([first], bands), lambda band: None, lambda band, _: None, write)
                self._check_unchanged(image)
        self._throughput.tick(1, self._predictor.num_compiled == num_compiled)

    def _masked(self, bands: Iterable[tuple[int, np.ndarray]]) -> Iterator[Band]:
        for start, probabilities in bands:
            yield Band(start, *to_masks(probabilities, self._predictor.activation), probabilities)

    def _begin_once(self) -> None:
        if not self._begun:
            self._begin()
            self._begun = True

    def _note(self, sizes: Mapping[str, Size]) -> None:
        """Notes those images that were predicted in parts."""
        known = self._predictor.parts
        # A quarter turn swaps height and width.
        parts = {
            name: [part for part in known if sorted((part["height"], part["width"])) == sorted(size)]
            for name, size in sizes.items()
        }
        parts = {name: of_image for name, of_image in parts.items() if of_image}
        self._num_approximate += sum(any(part["approximate"] for part in of_image) for of_image in parts.values())
        if parts:
            self._note_parts(parts)

    def _check_unchanged(self, image: Input) -> None:
        """Raises UserError if the file of an image is not the one that was found at the beginning."""
        try:
            unchanged = record.stamp(image.path) == self._stamps[image.name]
        except FileNotFoundError:
            unchanged = False
        if not unchanged:
            raise UserError(
                f"{image.path}: has changed since the prediction began; start the command again when nothing writes to it"
            )


def _naming_each(path: Path, bands: Iterable[Band]) -> Iterator[Band]:
    with naming(path):
        yield from bands


class Bar:
    """A bar on stderr with the number of images and the time left, which is estimated from the pixels.

    Args:
      pixels: of each image that is predicted, by name.
      shown: False shows nothing.
    """

    def __init__(self, pixels: Mapping[str, int], shown: bool):
        self._num, self._total = 0, len(pixels)
        self._bar = tqdm(
            total=sum(pixels.values()),
            disable=not shown or not pixels,
            dynamic_ncols=True,
            # Seconds between two updates; a log file needs fewer lines.
            mininterval=0.5 if sys.stderr.isatty() else 10,
            bar_format="{desc} |{bar}| {percentage:.0f}%, {remaining} left",
        )
        self.add(0)

    def add(self, pixels: int, num_images: int = 0) -> None:
        """Counts pixels that are written, and images that are finished by them."""
        self._num += num_images
        self._bar.set_description_str(f"{self._num}/{self._total} images", refresh=False)
        self._bar.update(pixels)

    def __enter__(self) -> "Bar":
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()


def plan_batches(
    images: Sequence[Input], sizes: Mapping[str, Size], predictor: Segmenter, batch_size: int
) -> list[Batch]:
    """Returns batches of images of one padded size, those of the largest images first.

    The batches depend on the images alone. So an image shares its batch with the same images when an interrupted prediction
    goes on, and its result is the same to the bit.

    Args:
      images: to predict.
      sizes: by name.
      predictor: the network.
      batch_size: the largest number of images in a batch.
    """
    padded = {image.name: predictor.padded_size(*sizes[image.name]) for image in images}
    ordered = sorted(images, key=lambda image: (-math.prod(padded[image.name]), padded[image.name], image.name))
    batches = []
    for group in (list(group) for _, group in itertools.groupby(ordered, lambda image: padded[image.name])):
        rows = balanced_batch_size(len(group), max(batch_size, 1))
        batches += [Batch(group[start : start + rows], rows) for start in range(0, len(group), rows)]
    return batches


def image_sizes(images: Sequence[Input], finished: Collection[str], predictor: Segmenter) -> dict[str, Size]:
    """Returns height and width of every image by name; checks those that are not finished.

    Of those, it reads each file that is not `LARGE` in full, so that a file that is cut short is found before the network
    has run.

    Raises:
      UserError: names the first file that cannot be predicted.
    """
    sizes, broken = {}, []
    for image in images:
        try:
            sizes[image.name] = _header_size(image) if image.name in finished else _checked_size(image, predictor)
        except UserError as error:
            broken.append(error)
    if broken:
        more = f" (and {len(broken) - 1} more files)" if len(broken) > 1 else ""
        raise UserError(f"{broken[0]}{more}; nothing was written")
    return sizes


def _checked_size(image: Input, predictor: Segmenter) -> Size:
    rows = image.open()
    height, width, _ = rows.shape
    pixels = rows.read(0, height if height * width <= LARGE else 1)
    with naming(image.path):
        # Of whole numbers, a corner shows the depth and the channels.
        predictor.check(pixels if pixels.dtype == np.float32 else pixels[:1, :1])
    return height, width


def _header_size(image: Input) -> Size:
    """Returns the size of an image that was read before, if possible without decoding it."""
    if not in_bucket(image.path) and image.path.is_file() and image.page is None:
        with contextlib.suppress(Exception), warnings.catch_warnings():
            # That it is large.
            warnings.simplefilter("ignore")
            with Image.open(image.path) as picture:
                return picture.height, picture.width
    return image.open().shape[:2]


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Adds the path of the image to a `UserError` that is raised inside the context and does not name it."""
    try:
        yield
    except UserError as error:
        if str(path) in str(error):
            raise
        raise UserError(f"{path}: {error}") from error
