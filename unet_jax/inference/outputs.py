"""Writes what a prediction gives: class ids, masks, probabilities and overlays, each in a folder."""

import io
import itertools
import os
import re
from collections.abc import Collection, Iterable, Sequence

import numpy as np
from etils.epath import Path
from PIL import Image

from unet_jax.errors import UserError
from unet_jax.inference.predictor import Predictor
from unet_jax.plotting import drawing
from unet_jax.storage.paths import glob, to_path, write_whole
from unet_jax.storage.write_errors import report_write_errors

# The folders of the results.
IDS, MASKS, PROBABILITIES, OVERLAYS = "ids", "masks", "probabilities", "overlays"
SAVED = (IDS, MASKS, PROBABILITIES, OVERLAYS)


class MaskFolder:
    """The folders of the results: `ids/`, `masks/<class>/`, `overlays/`, as far as they are saved.

    A folder is made when its first file is written. The name of an image may have slashes; then its files lie in subfolders.

    Args:
      predictor: gives the classes.
      out_dir: the folder that holds them.
      save: what is written: some of "ids", "masks" and "overlays".
      palette: the data set's colours.

    Attributes:
      class_names: one per output channel.
      report_classes: the classes that masks are written for.
      report_channels: the output channels of `report_classes`.
      colours: the colours of `report_classes`.
      folders: the paths of the folders.

    Raises:
      UserError: the folders of two classes would have one name.
    """

    def __init__(
        self,
        predictor: Predictor,
        out_dir: str | os.PathLike,
        *,
        save: Collection[str] = (IDS, MASKS),
        palette: Sequence = (),
    ):
        self._out = to_path(out_dir)
        self.class_names = predictor.class_names
        self.report_classes, self.report_channels = predictor.report_classes, predictor.report_channels
        colours = drawing.class_colours(self.class_names, palette)
        self.colours = [colours[channel] for channel in self.report_channels]
        self._save = tuple(save)
        self._masks = [self._out / MASKS / safe_name(name) for name in predictor.report_classes]
        if len(set(self._masks)) < len(self._masks):
            raise UserError(
                f"eval.classes: two of {', '.join(predictor.report_classes)} would share a folder; rename a class"
            )
        self.folders = [
            folder
            for kind in SAVED
            if kind in self._save
            for folder in (self._masks if kind == MASKS else [self._out / kind])
        ]

    def files(self, name: str) -> list[Path]:
        """Returns the paths of all results of an image."""
        return [folder / f"{name}.png" for folder in self.folders]

    def possible_files(self, name: str) -> list[Path]:
        """Returns the paths of what any choice of `save` writes for an image."""
        return [folder / f"{name}.png" for folder in (self._out / IDS, *self._masks, self._out / OVERLAYS)]

    def listing(self) -> "Listing":
        """Returns the results that lie in the folders now."""
        return Listing(self)

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

    def write(self, name: str, masks: np.ndarray, ids: np.ndarray, image: np.ndarray | None = None) -> None:
        """Writes NAME.png into each folder.

        Args:
          name: of the files, without a suffix.
          masks: the masks of all classes, bool `[H, W, K]`.
          ids: class ids, uint8 `[H, W]`.
          image: the image, for the overlay; without it, no overlay is written.

        Raises:
          UserError: a file cannot be written.
        """
        masks = masks[..., self.report_channels]
        contents: dict[Path, bytes] = {}
        if IDS in self._save:
            contents[self._out / IDS] = png(ids)
        if MASKS in self._save:
            contents |= {folder: png(masks[..., k].astype(np.uint8) * 255) for k, folder in enumerate(self._masks)}
        if OVERLAYS in self._save and image is not None:
            picture = drawing.draw_prediction(image, masks, self.report_classes, self.colours)
            contents[self._out / OVERLAYS] = png(picture, compress_level=1)
        with report_write_errors():
            for folder, content in contents.items():
                path = folder / f"{name}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                # In one move: a killed process leaves no half file, and two evaluations of one run may write at once.
                write_whole(path, content)

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


class Listing:
    """The results that lie in the folders of a `MaskFolder`. Each folder is listed once, when it is first asked for.

    Args:
      folder: the folders.
    """

    def __init__(self, folder: MaskFolder):
        self._folder = folder
        self._names: dict[Path, set[str]] = {}

    def has(self, path: Path) -> bool:
        """Returns True if a result is there."""
        if path.parent not in self._names:
            self._names[path.parent] = (
                {found.name for found in path.parent.iterdir()} if path.parent.is_dir() else set()
            )
        return path.name in self._names[path.parent]

    def results(self, name: str) -> list[Path]:
        """Returns the results of an image that are there, whatever is saved now."""
        return [path for path in self._folder.possible_files(name) if self.has(path)]

    def has_all(self, name: str) -> bool:
        """Returns True if every result of an image is there."""
        return all(map(self.has, self._folder.files(name)))

    def remove(self, names: Iterable[str]) -> None:
        """Removes all results of images.

        Raises:
          OSError: a file cannot be removed.
        """
        for path in itertools.chain.from_iterable(map(self.results, names)):
            path.unlink(missing_ok=True)


def remove_others(folder: Path, names: Collection[str]) -> None:
    """Removes each NAME.png of a folder whose NAME is not in `names`."""
    for path in glob(folder, "*.png"):
        if path.name.removesuffix(".png") not in names:
            path.unlink(missing_ok=True)


def png(array: np.ndarray, **options: int) -> bytes:
    """Returns an array uint8 `[H, W]` or `[H, W, 3]` as the bytes of a PNG file; `options` are those of Pillow."""
    encoded = io.BytesIO()
    Image.fromarray(array).save(encoded, format="PNG", **options)
    return encoded.getvalue()


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
