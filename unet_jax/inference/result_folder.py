"""The files that are written for images in a folder: which there may be, which are there, and how one image's are written."""

import abc
import contextlib
import itertools
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

import numpy as np
from etils.epath import Path

from unet_jax.errors import UserError
from unet_jax.inference import record
from unet_jax.storage.paths import remove, to_path
from unet_jax.storage.write_errors import report_write_errors

# The longest name of a file in bytes, on every file system in common use.
LONGEST_NAME = 255


class Needs(NamedTuple):
    """What a folder is given of each image, beside masks and ids.

    Attributes:
      pixels: the image.
      probabilities: of all classes.
      uncertainty: the measures of `inference.uncertainty`.
    """

    pixels: bool
    probabilities: bool
    uncertainty: bool


class Writer(Protocol):
    """Writes the results of one image."""

    def write(
        self,
        start: int,
        masks: np.ndarray,
        ids: np.ndarray,
        image: np.ndarray | None = None,
        probabilities: np.ndarray | None = None,
    ) -> None:
        """Adds a band that begins at the row `start`; the arrays are those of `ResultFolder.write`."""

    def close(self) -> None:
        """Gives the files their names."""

    def discard(self) -> None:
        """Removes files that do not have their names yet."""


class ResultFolder(abc.ABC):
    """A folder with results of images. The name of an image may have slashes; then its files lie in subfolders.

    Attributes:
      out: the folder.
      kinds: the names of its subfolders, whatever is written now.
      folders: the paths of those that are written.
      summaries: the names of the files that all images share.
      comparisons: the names of files that compare these results with others; they go when a result changes.
      needs: what is given of each image.
    """

    out: Path
    kinds: Sequence[str]
    folders: list[Path]
    summaries: Sequence[str] = ()
    comparisons: Sequence[str] = ()

    @property
    @abc.abstractmethod
    def needs(self) -> Needs:
        """What is given of each image."""

    @abc.abstractmethod
    def files(self, name: str) -> list[tuple[str, list[str]]]:
        """Returns, for each result of an image, its folder and the names that it may have: the format may depend on the size."""

    @abc.abstractmethod
    def possible_files(self, name: str) -> list[tuple[str, list[str]]]:
        """Returns folders, and the names of what any choice writes there for an image."""

    @abc.abstractmethod
    def writer(self, name: str, size: Sequence[int], measures: Mapping[str, float]) -> Writer:
        """Returns what writes the results of an image; see `open`.

        Raises:
          UserError, OSError: a file cannot be written.
        """

    @abc.abstractmethod
    def check(self, overwrite: bool) -> None:
        """Checks that what lies in the folder does not mix with what is to be written.

        Raises:
          UserError: it does.
        """

    @abc.abstractmethod
    def check_size(self, name: str, size: Sequence[int]) -> None:
        """Checks that the results of an image of this height and width can be made.

        Raises:
          UserError: they cannot.
        """

    @abc.abstractmethod
    def finish(self) -> None:
        """Writes what all images share, from the results that are there."""

    def check_tables(self, overwrite: bool) -> None:
        """Checks that no file of another origin would be replaced by what all images share.

        Raises:
          UserError: one would, and `overwrite` is False.
        """
        files = [self.out / name for name in (*self.summaries, *self.comparisons)]
        strange = next((path for path in files if path.exists()), None)
        if strange is not None and not overwrite and record.read(self.out) is None:
            raise UserError(f"{strange} exists, and no {record.NAME} says how it was made; {record.REMEDY}")

    def listing(self) -> "Listing":
        """Returns the results that lie in the folders now."""
        return Listing(self)

    def check_names(self, names: Iterable[str]) -> None:
        """Checks that the names of the results are not too long for a file system.

        Raises:
          UserError: one is.
        """
        for name in names:
            longest = max((file for _, files in self.files(name) for file in files), key=len)
            if len(os.fsencode(longest)) > LONGEST_NAME:
                raise UserError(
                    f"{longest}: a result would have this name, of more than {LONGEST_NAME} bytes; rename the image"
                )

    def write(
        self,
        name: str,
        masks: np.ndarray,
        ids: np.ndarray,
        image: np.ndarray | None = None,
        probabilities: np.ndarray | None = None,
        measures: Mapping[str, float] | None = None,
    ) -> None:
        """Writes the results of an image.

        Args:
          name: of the files, without a suffix.
          masks: the masks of all classes, bool `[H, W, K]`.
          ids: class ids, uint8 `[H, W]`.
          image: the image, if the folder needs pixels.
          probabilities: float32 `[H, W, K]`, if it needs them or the uncertainty.
          measures: of the uncertainty of the image, if it needs them.

        Raises:
          UserError: a file cannot be written.
        """
        with self.open(name, ids.shape, measures) as result:
            result.write(0, masks, ids, image, probabilities)

    @contextlib.contextmanager
    def open(self, name: str, size: Sequence[int], measures: Mapping[str, float] | None = None) -> Iterator[Writer]:
        """Yields the results of an image, which gets them in bands. They appear at the end, and not after an error.

        Args:
          name: of the files, without a suffix.
          size: height and width of the image.
          measures: of the uncertainty of the image, if it is needed.

        Raises:
          UserError: a file cannot be written.
        """
        with report_write_errors():
            result = self.writer(name, size, measures or {})
            try:
                yield result
                result.close()
            finally:
                result.discard()


def named(folder: str, name: str, suffixes: Sequence[str]) -> tuple[str, list[str]]:
    """Returns the folder of an image's files, which may be a subfolder, and their names."""
    below, slash, last = name.rpartition("/")
    return f"{folder}{slash}{below}", [last + suffix for suffix in suffixes]


class Listing:
    """The results that lie in a `ResultFolder`. Each of its folders is listed once, when it is first asked for.

    Args:
      folder: the folders.
    """

    def __init__(self, folder: ResultFolder):
        self._folder = folder
        self._names: dict[str, set[str]] = {}

    def _has(self, folder: str, name: str) -> bool:
        if folder not in self._names:
            path = to_path(folder)
            self._names[folder] = {found.name for found in path.iterdir()} if path.is_dir() else set()
        return name in self._names[folder]

    def results(self, name: str) -> list[Path]:
        """Returns the results of an image that are there, whatever is saved now."""
        return [
            to_path(folder) / file
            for folder, files in self._folder.possible_files(name)
            for file in files
            if self._has(folder, file)
        ]

    def has_all(self, name: str) -> bool:
        """Returns True if every result of an image is there."""
        return all(any(self._has(folder, file) for file in files) for folder, files in self._folder.files(name))

    def remove(self, names: Iterable[str]) -> None:
        """Removes all results of images.

        Raises:
          OSError: a file cannot be removed.
        """
        for path in itertools.chain.from_iterable(map(self.results, names)):
            if path.is_dir():
                remove(path)
            else:
                path.unlink(missing_ok=True)
