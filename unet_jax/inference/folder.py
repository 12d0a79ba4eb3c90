"""Prediction of image files: masks and pictures as files."""

import contextlib
import io
import itertools
import math
import os
import re
import sys
import unicodedata
from collections.abc import Callable, Collection, Iterator, Sequence

import numpy as np
from etils.epath import Path
from PIL import Image

from unet_jax.data.batch_size import balanced_batch_size
from unet_jax.data.datasets import image_files, listing
from unet_jax.errors import UserError
from unet_jax.inference.predictor import Predictor, forward
from unet_jax.inference.throughput import ThroughputMeter
from unet_jax.plotting import drawing, index_page
from unet_jax.segmentation import to_masks
from unet_jax.storage.paths import expand, glob, is_below, is_same, to_path, write_whole
from unet_jax.storage.write_errors import report_write_errors

# The folders of the results.
IDS, MASKS, OVERLAYS = "ids", "masks", "overlays"
# The mark of this file's page; see `plotting.index_page`.
PAGE_BY = "unet-jax predict"
REMEDY = "write to another folder, or pass --overwrite to replace what is there"


def predict_folder(
    predictor: Predictor,
    images: str | os.PathLike | Sequence[str | os.PathLike],
    out_dir: str | os.PathLike,
    *,
    batch_size: int = 4,
    overwrite: bool = False,
    palette: Sequence = (),
    process_index: int = 0,
    process_count: int = 1,
    progress: Callable[[int], None] = lambda num_images: None,
) -> dict:
    """Predicts image files, at the size of the source: those of a folder (not of its subfolders), or a list.

    Writes for an image NAME.ext:

    - `ids/NAME.png`: 8-bit, one class id per pixel; where classes overlap, the id of `segmentation.to_masks`;
    - `masks/<class>/NAME.png`: 8-bit, 0 or 255, for each reported class;
    - `overlays/NAME.png`: the image with the masks in colour and a legend, enlarged where it is small.

    `index.html` shows all overlays that lie in the folder. Such a page of an earlier call is replaced; another file of this
    name counts as a result that exists.

    A line on stderr names the files of a folder that are no images; see `list_inputs`.

    Every file is read before anything is written, so that an unreadable one is found first. It is read again to be
    predicted, because the images together may not fit in memory. Each image is predicted once.

    Args:
      predictor: the network.
      images: a folder of images, or a list of image files and of such folders.
      out_dir: the folder of the results.
      batch_size: the number of images in a batch, rounded up to fill the devices.
      overwrite: replaces results that exist.
      palette: the data set's colours.
      process_index: the number of this process, from 0, among those that share the images.
      process_count: the number of processes that share the images.
      progress: is called after each batch with its number of images.

    Returns:
      `num_images`, `num_compiles`, `seconds`, `images_per_s` (as in `evaluate`), and `folders`, the paths of those written.

    Raises:
      UserError: a file or folder is absent, a folder has no image, files cannot be read or written, an image does not fit
        the network or the memory, two images would have one name, `out_dir` is a file, lies in a folder of the images, or
        holds the images, a run, a data set or masks of other classes, or a result exists and `overwrite` is False.
    """
    out = expand(out_dir, "--out")
    others: list[Path] = []
    inputs = [images] if isinstance(images, str | os.PathLike) else images
    paths = list_inputs(inputs, others.append)
    writer = MaskFolder(predictor, out, overlays=True, palette=palette)
    with report_write_errors():
        _check_out(out, inputs, paths)
        writer.check_classes()
        for path in (folder / f"{path.stem}.png" for path in paths for folder in writer.folders):
            if not overwrite and path.exists():
                raise UserError(f"{path} exists; {REMEDY}")
        page = out / index_page.NAME
        if not overwrite and page.exists() and not index_page.is_page_of(page, PAGE_BY):
            raise UserError(f"{page} exists, and `{PAGE_BY}` did not write it; {REMEDY}")
    names = [path.name for path in paths]
    sizes = _padded_sizes(paths, predictor)
    if process_index == 0:
        _print_others(others)
    # The largest first: if they do not fit into the memory, nothing has been written.
    paths = sorted(paths, key=lambda path: (-math.prod(sizes[path]), sizes[path], path))[process_index::process_count]
    program, throughput = predictor.program(forward), ThroughputMeter()
    num_shapes = len(program.shapes)
    for group in (list(group) for _, group in itertools.groupby(paths, sizes.get)):
        rows = balanced_batch_size(len(group), max(batch_size, 1))
        for chunk in (group[start : start + rows] for start in range(0, len(group), rows)):
            arrays, shapes_before = [image_files.read_image(path) for path in chunk], len(program.shapes)
            with _naming(chunk[0]):
                predicted = predictor.predict_images(arrays, rows)
            for path, array, probabilities in zip(chunk, arrays, predicted, strict=True):
                masks, ids = to_masks(probabilities, predictor.module.activation)
                writer.write(path.stem, masks, ids, array)
            throughput.tick(len(chunk), len(program.shapes) == shapes_before)
            progress(len(chunk))
    if process_index == 0:
        _write_index(out, names)
    counts = {"num_images": len(paths), "num_compiles": len(program.shapes) - num_shapes}
    return counts | throughput.read() | {"folders": [str(folder) for folder in writer.folders]}


@contextlib.contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Adds the path of the image to a `UserError` that is raised inside the context."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def _check_out(out_dir: Path, inputs: Sequence[str | os.PathLike], paths: Sequence[Path]) -> None:
    """Raises UserError if the folder of the results is a file, a run or a data folder, or mixes with the images.

    Args:
      out_dir: the folder of the results.
      inputs: what the user gave: image files, and folders of image files.
      paths: the image files.
    """
    if out_dir.is_file():
        raise UserError(f"--out={out_dir} is a file; give a folder")
    results = [out_dir / name for name in (IDS, MASKS, OVERLAYS)]
    for parent, path in {path.parent: path for path in reversed(paths)}.items():
        if is_same(parent, out_dir) or any(is_below(parent, result) for result in results if result.exists()):
            raise UserError(f"--out={out_dir} holds the image {path}; give another folder for the masks")
    for folder in (path for path in (expand(given, "image") for given in inputs) if path.is_dir()):
        # A link may lead a folder of results there, too.
        if any(is_below(place, folder) for place in (out_dir, *results)):
            raise UserError(
                f"--out={out_dir} is inside the folder of the images, {folder}, and the masks could be taken for images "
                "later; give a folder outside of it"
            )
    if (out_dir / "config.json").exists() and (out_dir / "checkpoints").is_dir():
        raise UserError(
            f"--out={out_dir} is the folder of a run: it holds config.json and checkpoints/; give another folder, such as "
            f"{out_dir / 'predicted'}"
        )
    if (out_dir / "images").is_dir():
        raise UserError(
            f"--out={out_dir} is a data folder: it holds images/, and the masks could mix with its masks/; give another folder"
        )


def list_inputs(
    inputs: Sequence[str | os.PathLike], on_other: Callable[[Path], None] = lambda path: None
) -> list[Path]:
    """Returns the paths of the image files that are given, alone or by their folders, each once.

    The suffix decides what an image file is (`listing.SUFFIXES`), for a file that is given alone, too.

    Args:
      inputs: image files, and folders of image files; each local or in a bucket.
      on_other: gets everything else in a folder, except what is hidden and `listing.DESKTOP_FILES`.

    Raises:
      UserError: none is given, a file or folder is absent, a file has another suffix, a folder has no image, a name is not
        UTF-8, or two files have one name without the suffix, in some file system: their results would share a file.
    """
    by_name: dict[str, Path] = {}
    for given in inputs:
        path = expand(given, "image")
        files = [path]
        if path.is_dir():
            files = list(listing.list_images(path, on_other=on_other).values())
            if not files:
                raise UserError(f"{path}: has no image; looked for {', '.join(listing.SUFFIXES)}")
        elif not path.exists():
            raise UserError(f"{path}: is neither an image file nor a folder of images; check the path")
        elif path.suffix.lower() not in listing.SUFFIXES:
            raise UserError(
                f"{path}: is no image file by its suffix; known suffixes: {', '.join(listing.SUFFIXES)}. Save it as PNG "
                "or TIFF"
            )
        else:
            listing.check_file(path)
        for file in files:
            twin = by_name.setdefault(_result_key(file), file)
            if os.path.abspath(twin) != os.path.abspath(file):
                same = (
                    "one name" if twin.stem == file.stem else "names that differ only in case or in their Unicode form"
                )
                raise UserError(
                    f"{file} and {twin} have {same}, {file.stem}, and their results would share a file; rename one, or "
                    "predict them into two folders"
                )
    if not by_name:
        raise UserError("no image is given; give image files or a folder of images")
    return list(by_name.values())


def _result_key(path: Path) -> str:
    """Returns the name of an image's results, equal for names that some file system takes for one."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", path.stem).casefold())


def _print_others(others: Sequence[Path]) -> None:
    """Prints to stderr which files are skipped, a line for each folder."""
    for folder, files in itertools.groupby(others, lambda path: path.parent):
        print(listing.describe_others(folder, list(files)), file=sys.stderr)


def _write_index(out_dir: Path, names: Sequence[str]) -> None:
    """Writes the page of the overlays: those of the images `names`, and those that an earlier call has written."""
    files = {path.name for path in glob(out_dir / OVERLAYS, "*.png")}
    files |= {f"{Path(name).stem}.png" for name in names}
    pictures = [index_page.Picture(f"{OVERLAYS}/{file}", file.removesuffix(".png")) for file in sorted(files)]
    index_page.write_index_page(out_dir, f"{out_dir.name}: predicted masks", pictures, by=PAGE_BY)


class MaskFolder:
    """The folders `ids/`, `masks/<class>/` and, with `overlays`, `overlays/` of `predict_folder`.

    They are made when the first image is written.

    Args:
      predictor: gives the classes.
      out_dir: the folder that holds them.
      overlays: True writes overlays, too.
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
        self, predictor: Predictor, out_dir: str | os.PathLike, *, overlays: bool = False, palette: Sequence = ()
    ):
        parent = to_path(out_dir)
        self.class_names = predictor.class_names
        self.report_classes, self.report_channels = predictor.report_classes, predictor.report_channels
        colours = drawing.class_colours(self.class_names, palette)
        self.colours = [colours[channel] for channel in self.report_channels]
        self._overlays = overlays
        self._masks = [parent / MASKS / safe_name(name) for name in predictor.report_classes]
        if len(set(self._masks)) < len(self._masks):
            raise UserError(
                f"eval.classes: two of {', '.join(predictor.report_classes)} would share a folder; rename a class"
            )
        self.folders = [parent / IDS, *self._masks]
        if overlays:
            self.folders.append(parent / OVERLAYS)

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
        with report_write_errors():
            for folder in self.folders:
                folder.mkdir(parents=True, exist_ok=True)
            # In one move: a killed process leaves no half file, and two evaluations of one run may write at once.
            write_whole(self.folders[0] / f"{name}.png", _png(ids))
            for channel, folder in enumerate(self._masks):
                write_whole(folder / f"{name}.png", _png(masks[..., channel].astype(np.uint8) * 255))
            if self._overlays and image is not None:
                picture = drawing.draw_prediction(image, masks, self.report_classes, self.colours)
                drawing.save_png(picture, self.folders[-1] / f"{name}.png")

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


def remove_others(folder: Path, names: Collection[str]) -> None:
    """Removes each NAME.png of a folder whose NAME is not in `names`."""
    for path in glob(folder, "*.png"):
        if path.name.removesuffix(".png") not in names:
            path.unlink(missing_ok=True)


def _png(array: np.ndarray) -> bytes:
    encoded = io.BytesIO()
    Image.fromarray(array).save(encoded, format="PNG")
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


def _padded_sizes(paths: Sequence[Path], predictor: Predictor) -> dict[Path, tuple[int, int]]:
    """Returns the padded size of every image; raises UserError that names the first file that cannot be predicted.

    Decodes each file, not only its header, so that a file that is cut short is found before the network has run.
    """
    sizes, broken = {}, []
    for path in paths:
        try:
            image = image_files.read_image(path)
            with _naming(path):
                # A corner shows the depth and the channels.
                predictor.check(image[:1, :1])
            sizes[path] = predictor.padded_size(*image.shape[:2])
        except UserError as error:
            broken.append(error)
    if broken:
        more = f" (and {len(broken) - 1} more files)" if len(broken) > 1 else ""
        raise UserError(f"{broken[0]}{more}; nothing was written")
    return sizes
