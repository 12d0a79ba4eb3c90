"""Writes what a prediction gives: class ids, masks, probabilities and overlays, each in a folder."""

import dataclasses
import io
import os
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from etils.epath import Path
from PIL import Image

from unet_jax.errors import UserError
from unet_jax.inference import record, uncertainty_files
from unet_jax.inference.result_folder import Needs, ResultFolder, named
from unet_jax.inference.segmenter import Segmenter
from unet_jax.inference.uncertainty import entropy
from unet_jax.inference.writers.band_writers import BandWriter, TiffBands, ZarrBands
from unet_jax.inference.writers.whole_writers import NpzBands, OverlayBands, PngBands
from unet_jax.plotting import drawing, index_page
from unet_jax.storage.paths import glob, in_bucket, to_path
from unet_jax.storage.write_errors import report_write_errors

# The folders of the results.
IDS, MASKS, PROBABILITIES, OVERLAYS, UNCERTAINTY = "ids", "masks", "probabilities", "overlays", "uncertainty"
SAVED = (IDS, MASKS, PROBABILITIES, OVERLAYS, UNCERTAINTY)
# The suffixes of the formats of ids and masks, and of those of probabilities.
MASK_FORMATS = {"png": ".png", "tiff": ".tif", "zarr": ".zarr"}
PROBABILITY_FORMATS = {"npz": ".npz", "zarr": ".zarr", "tiff": ".tif"}
_SUFFIXES = tuple(dict.fromkeys((*MASK_FORMATS.values(), *PROBABILITY_FORMATS.values())))
# Pixels of the largest image whose ids and masks are PNG where no format is chosen. Pillow warns of 1.3 times as many.
LARGEST_PNG = 2**26
# The mark of this file's page; see `plotting.index_page`.
PAGE_BY = "unet-jax predict"
# The value of probability 1, and of the largest entropy, in a TIFF.
FULL = 65535


@dataclasses.dataclass(frozen=True)
class Choice:
    """What is written.

    Attributes:
      save: some of `SAVED`.
      mask_format: of ids and masks, one of `MASK_FORMATS`; "" for PNG, and TIFF above `LARGEST_PNG` pixels.
      probability_format: one of `PROBABILITY_FORMATS`.

    Raises:
      UserError: a value is unknown.
    """

    save: tuple[str, ...] = (IDS, MASKS, OVERLAYS)
    mask_format: str = ""
    probability_format: str = "npz"

    def __post_init__(self) -> None:
        if not self.save or set(self.save) - set(SAVED):
            raise UserError(f"--save={','.join(self.save)}: give some of {', '.join(SAVED)}, with commas between them")
        for flag, value, known in (
            ("mask_format", self.mask_format or "png", MASK_FORMATS),
            ("probability_format", self.probability_format, PROBABILITY_FORMATS),
        ):
            if value not in known:
                raise UserError(f"--{flag}={value} is unknown; give one of {', '.join(known)}")

    def settings(self) -> dict[str, Any]:
        """Returns the choice as JSON-able values, equal for equal results."""
        chosen: dict[str, Any] = {"save": [kind for kind in SAVED if kind in self.save]}
        if IDS in self.save or MASKS in self.save:
            chosen["mask_format"] = self.mask_format or "by size"
        if PROBABILITIES in self.save:
            chosen["probability_format"] = self.probability_format
        return chosen


DEFAULT = Choice()


class MaskFolder(ResultFolder):
    """The folders of the results: `ids/`, `masks/<class>/`, `probabilities/`, `overlays/`, `uncertainty/`, as far as they are saved.

    A folder is made when its first file is written. The name of an image may have slashes; then its files lie in subfolders.

    Args:
      predictor: gives the classes.
      out_dir: the folder that holds them.
      choice: what is written.
      palette: the data set's colours.

    Attributes:
      class_names: one per output channel.
      activation: "softmax" or "sigmoid".
      report_classes: the classes that masks are written for.
      report_channels: the output channels of `report_classes`.
      colours: the colours of `report_classes`.
      choice: what is written.
      by_kind: the folders of each kind of result that is written.

    Raises:
      UserError: the folders of two classes would have one name, or a format cannot be written into a bucket.
    """

    kinds = SAVED
    summaries = (index_page.NAME,)

    def __init__(
        self,
        predictor: Segmenter,
        out_dir: str | os.PathLike,
        *,
        choice: Choice = Choice((IDS, MASKS), mask_format="png"),
        palette: Sequence = (),
    ):
        self.out = to_path(out_dir)
        self.class_names, self.activation = predictor.class_names, predictor.activation
        self.report_classes, self.report_channels = predictor.report_classes, predictor.report_channels
        colours = drawing.class_colours(self.class_names, palette)
        self.colours = [colours[channel] for channel in self.report_channels]
        self.choice = choice
        self._masks = [self.out / MASKS / safe_name(name) for name in predictor.report_classes]
        if len(set(self._masks)) < len(self._masks):
            raise UserError(
                f"eval.classes: two of {', '.join(predictor.report_classes)} would share a folder; rename a class"
            )
        in_tiff = {PROBABILITIES, UNCERTAINTY} & set(choice.save)
        if in_bucket(self.out) and (in_tiff or choice.mask_format not in ("", "png")):
            raise UserError(f"--out={self.out} is in a bucket, which takes PNG files alone; give a local folder")
        self.by_kind = {
            kind: self._masks if kind == MASKS else [self.out / kind] for kind in SAVED if kind in choice.save
        }
        self.folders = [folder for folders in self.by_kind.values() for folder in folders]
        # As texts: there may be very many images, and to join paths takes long.
        self._possible = list(map(str, (*self._masks, *(self.out / kind for kind in SAVED if kind != MASKS))))

    @property
    def needs(self) -> Needs:
        """What is given of each image."""
        saved = self.choice.save
        return Needs(OVERLAYS in saved, PROBABILITIES in saved, UNCERTAINTY in saved)

    def files(self, name: str) -> list[tuple[str, list[str]]]:
        """Returns, for each result of an image, its folder and the names that it may have: the format may depend on the size."""
        of_masks = [MASK_FORMATS[self.choice.mask_format]] if self.choice.mask_format else [".png", ".tif"]
        of_probabilities = [PROBABILITY_FORMATS[self.choice.probability_format]]
        suffixes = {
            IDS: of_masks,
            MASKS: of_masks,
            PROBABILITIES: of_probabilities,
            OVERLAYS: [".png"],
            UNCERTAINTY: [".tif"],
        }
        return [named(str(folder), name, suffixes[kind]) for kind, places in self.by_kind.items() for folder in places]

    def possible_files(self, name: str) -> list[tuple[str, list[str]]]:
        """Returns folders, and the names of what any choice writes there for an image."""
        return [named(folder, name, _SUFFIXES) for folder in self._possible]

    def check_classes(self) -> None:
        """Checks that the masks that lie there are of the same classes. Else `ids/` would mix numbers of different classes.

        Raises:
          UserError: they are of other classes.
        """
        parent = self._masks[0].parent
        there = {path.name for path in glob(parent, "*") if path.is_dir()}
        if there and there != {folder.name for folder in self._masks}:
            raise UserError(
                f"{parent} holds masks of the classes {', '.join(sorted(there))}, and those of the network are "
                f"{', '.join(folder.name for folder in self._masks)}; write to another folder"
            )

    def writer(self, name: str, size: Sequence[int], measures: Mapping[str, float]) -> "ImageResult":
        """Returns what writes the results of an image; see `ResultFolder.open`.

        Raises:
          UserError, OSError: a file cannot be written.
        """
        result = ImageResult(self)
        try:
            result.open(name, size, measures)
        except BaseException:
            result.discard()
            raise
        return result

    def check(self, overwrite: bool) -> None:
        """Checks that the masks that lie there are of the same classes, and that no other page would be replaced.

        Raises:
          UserError: one of both is not so.
        """
        self.check_classes()
        page = self.out / index_page.NAME
        if (
            OVERLAYS in self.choice.save
            and not overwrite
            and page.exists()
            and not index_page.is_page_of(page, PAGE_BY)
        ):
            raise UserError(f"{page} exists, and `{PAGE_BY}` did not write it; {record.REMEDY}")

    def check_size(self, name: str, size: Sequence[int]) -> None:
        """Accepts every size."""

    def finish(self) -> None:
        """Writes the page of the overlays and the table of the uncertainty, of all images in the folder."""
        if OVERLAYS in self.choice.save:
            _write_index(self.out)
        if UNCERTAINTY in self.choice.save:
            _write_table(self.out)

    def remove_others(self, names: Collection[str]) -> None:
        """Removes the files of other names: an earlier evaluation left them, of images that are no longer in the split.

        Raises:
          UserError: a file cannot be removed.
        """
        with report_write_errors():
            for folder in self.folders:
                remove_others(folder, names)

    def read(self, name: str) -> np.ndarray:
        """Returns the masks of the reported classes that were written as NAME.png: bool `[H, W, K']`."""
        contents = ((folder / f"{name}.png").read_bytes() for folder in self._masks)
        return np.stack([np.asarray(Image.open(io.BytesIO(content))) > 0 for content in contents], -1)


class ImageResult:
    """The results of one image, while they are written; see `ResultFolder.open`.

    Args:
      folder: says what is written, and where.
    """

    def __init__(self, folder: MaskFolder):
        self._folder = folder
        # By folder.
        self._writers: dict[Path, PngBands | BandWriter] = {}
        self._overlay: OverlayBands | None = None

    def open(self, name: str, size: Sequence[int], measures: Mapping[str, float]) -> None:
        """Opens the files; see `ResultFolder.open`."""
        height, width = size
        folder, choice = self._folder, self._folder.choice
        mask_format = choice.mask_format or ("png" if height * width <= LARGEST_PNG else "tiff")
        for kind, places in folder.by_kind.items():
            for place in places:
                if kind == OVERLAYS:
                    path = place / f"{name}.png"
                    self._overlay = OverlayBands(path, size, folder.report_classes, folder.colours)
                elif kind == UNCERTAINTY:
                    path = place / f"{name}.tif"
                    self._writers[place] = uncertainty_files.create_map(path, size, measures)
                elif kind == PROBABILITIES:
                    path = place / f"{name}{PROBABILITY_FORMATS[choice.probability_format]}"
                    writer, dtype = _PROBABILITY_WRITERS[choice.probability_format]
                    self._writers[place] = writer(path, (height, width, len(folder.class_names)), dtype)
                else:
                    path = place / f"{name}{MASK_FORMATS[mask_format]}"
                    self._writers[place] = _MASK_WRITERS[mask_format](path, (height, width))
                path.parent.mkdir(parents=True, exist_ok=True)

    def write(
        self,
        start: int,
        masks: np.ndarray,
        ids: np.ndarray,
        image: np.ndarray | None = None,
        probabilities: np.ndarray | None = None,
    ) -> None:
        """Adds a band that begins at the row `start`; the arrays are those of `ResultFolder.write`.

        Raises:
          OSError: the disk is full.
        """
        masks = masks[..., self._folder.report_channels]
        for kind, places in self._folder.by_kind.items():
            for k, place in enumerate(places):
                if kind == OVERLAYS and self._overlay is not None and image is not None:
                    self._overlay.write(image, masks)
                elif kind == PROBABILITIES and probabilities is not None:
                    self._writers[place].write(start, _stored(probabilities, self._folder.choice.probability_format))
                elif kind == UNCERTAINTY and probabilities is not None:
                    uncertain = entropy(probabilities, self._folder.activation)
                    self._writers[place].write(start, _in_16_bits(uncertain))
                elif kind == IDS:
                    self._writers[place].write(start, ids)
                elif kind == MASKS:
                    self._writers[place].write(start, masks[..., k].astype(np.uint8) * 255)

    def close(self) -> None:
        """Gives the files their names.

        Raises:
          OSError: a file cannot be written.
        """
        for writer in self._all():
            writer.close()

    def discard(self) -> None:
        """Removes files that do not have their names yet."""
        for writer in self._all():
            writer.discard()

    def _all(self) -> list[PngBands | BandWriter | OverlayBands]:
        return [*self._writers.values(), *([self._overlay] if self._overlay else [])]


_MASK_WRITERS: dict[str, Callable[..., PngBands | BandWriter]] = {
    "png": PngBands,
    "tiff": TiffBands,
    "zarr": ZarrBands,
}
_PROBABILITY_WRITERS: dict[str, tuple[Callable[..., BandWriter], type]] = {
    "npz": (NpzBands, np.float16),
    "zarr": (ZarrBands, np.float16),
    "tiff": (TiffBands, np.uint16),
}


def _stored(probabilities: np.ndarray, probability_format: str) -> np.ndarray:
    """Returns probabilities as a format holds them: float16 with NaN where the image is unknown, or in a TIFF 0 to `FULL`."""
    return _in_16_bits(probabilities) if probability_format == "tiff" else probabilities.astype(np.float16)


def _in_16_bits(values: np.ndarray) -> np.ndarray:
    """Returns values of 0..1 as 0 to `FULL`; NaN is 0."""
    return np.rint(np.nan_to_num(values) * np.float32(FULL)).astype(np.uint16)


def remove_others(folder: Path, names: Collection[str]) -> None:
    """Removes each NAME.png and NAME.tif of a folder whose NAME is not in `names`."""
    for suffix in (".png", ".tif"):
        for path in glob(folder, f"*{suffix}"):
            if path.name.removesuffix(suffix) not in names:
                path.unlink(missing_ok=True)


def file_name(id_: str) -> str:
    r"""Returns an example's id as the name of a file: /, \ and % become %XX, so that no two ids share a name.

    >>> file_name("a/b"), file_name("a%2Fb")
    ('a%2Fb', 'a%252Fb')
    """
    return re.sub(r"[%/\\\0]", lambda match: f"%{ord(match[0]):02X}", id_)


def safe_name(name: str) -> str:
    """Returns a class name as the name of a folder.

    >>> safe_name("cell wall")
    'cell_wall'
    """
    return re.sub(r"[^\w.-]+", "_", name).strip(".") or "_"


def _write_index(out_dir: Path) -> None:
    """Writes the page of all overlays that lie in the folder.

    Another process may write overlays and the page at the same time. So the folder is listed again after the page is
    written, until nothing is new: the last page that is written shows all overlays.
    """
    shown: list[str] = []
    while shown != (files := sorted(str(path.relative_to(out_dir)) for path in _files(out_dir / OVERLAYS, ".png"))):
        shown = files
        names = (file.removeprefix(f"{OVERLAYS}/").removesuffix(".png") for file in files)
        pictures = [index_page.Picture(file, name) for file, name in zip(files, names, strict=True)]
        index_page.write_index_page(out_dir, f"{out_dir.name}: predicted masks", pictures, by=PAGE_BY)


def _write_table(out_dir: Path) -> None:
    """Writes the table of the uncertainty of all images in the folder, until nothing is new; see `_write_index`."""
    folder = out_dir / UNCERTAINTY
    listed: list[str] | None = None
    while listed != (files := sorted(str(path.relative_to(folder)) for path in _files(folder, ".tif"))):
        listed = files
        uncertainty_files.write_table(out_dir, [file.removesuffix(".tif") for file in files])


def _files(folder: Path, suffix: str) -> Iterator[Path]:
    """Yields the files of a suffix in a folder and its subfolders, without hidden ones, such as `._a.png` of a Mac."""
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.name.endswith(suffix):
            if not path.name.startswith("."):
                yield path
        elif path.is_dir():
            yield from _files(path, suffix)
