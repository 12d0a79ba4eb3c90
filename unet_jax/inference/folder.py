"""Prediction of image files: from the files to the files of their results."""

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from etils.epath import Path

from unet_jax.data.store.cache import read_error
from unet_jax.errors import UserError
from unet_jax.inference import record, uncertainty_files
from unet_jax.inference.inputs import Input, Inputs, find_inputs
from unet_jax.inference.outputs import DEFAULT, OVERLAYS, SAVED, UNCERTAINTY, Choice, MaskFolder
from unet_jax.inference.prediction_loop import PredictionLoop, image_sizes
from unet_jax.inference.segmenter import Segmenter
from unet_jax.plotting import index_page
from unet_jax.storage.paths import expand, is_below, is_same, remove_leftovers
from unet_jax.storage.write_errors import report_write_errors

# The mark of this file's page; see `plotting.index_page`.
PAGE_BY = "unet-jax predict"


def predict_folder(
    predictor: Segmenter,
    images: str | os.PathLike | Sequence[str | os.PathLike],
    out_dir: str | os.PathLike,
    *,
    batch_size: int = 4,
    overwrite: bool = False,
    recursive: bool = False,
    shard: tuple[int, int] = (1, 1),
    choice: Choice = DEFAULT,
    palette: Sequence = (),
    about: Mapping[str, Any] | None = None,
    show_progress: bool = False,
) -> dict[str, Any]:
    """Predicts image files, at the size of the source: those of a folder, of a tree of folders, of a pattern, or of a list.

    Writes for an image NAME.ext, as `save` says:

    - `ids/NAME.png`: 8-bit, one class id per pixel; where classes overlap, the id of `segmentation.to_masks`;
    - `masks/<class>/NAME.png`: 8-bit, 0 or 255, for each reported class;
    - `overlays/NAME.png`: the image with the masks in colour and a legend, enlarged where it is small;
    - `uncertainty/NAME.tif`, and `uncertainty.csv` for all images of the folder; see `inference.uncertainty_files`.

    With `recursive`, NAME is the path below the folder that was given: `ids/day_1/cell_3.png`.

    `index.html` shows all overlays that lie in the folder. Such a page of an earlier call is replaced; another file of this
    name counts as a result that exists.

    A line on stderr names the files of a folder that are no images; see `find_inputs`.

    `prediction.json` says which network and settings made the results, and from which files; see `inference.record`. A call
    with the same settings goes on: it predicts the images of which a result is missing. So a call that was interrupted
    leaves, called again, the files of one that was not.

    Every file is read before anything is written, so that an unreadable one is found first. It is read again to be
    predicted, because the images together may not fit in memory. Each image is predicted once. The next batch is read, and
    the last one is written, while one is computed.

    Args:
      predictor: the network, or an ensemble.
      images: a folder of images or a pattern of their names, or a list of image files, such folders and such patterns.
      out_dir: the folder of the results.
      batch_size: the number of images in a batch, rounded up to fill the devices.
      overwrite: replaces results that exist. All results of the images are removed before the first is written.
      recursive: takes the images of all subfolders, too.
      shard: (i, n) predicts the i-th of n parts of the images, i from 1; all parts may write to one folder, at once or one
        after the other.
      choice: what is written, and in which formats.
      palette: the data set's colours.
      about: what else decides the results, such as the step of the checkpoint; JSON-able. It goes into `prediction.json`.
      show_progress: shows a bar with the time left.

    Returns:
      `num_images` (predicted now), `num_approximate` of them, `num_finished` (of this part, finished before), `num_there` (finished now) of `num_all`
      (of all parts), `num_compiles`, `seconds`, `images_per_s` (as in `evaluate`), and `folders`, the paths of those written.

    Raises:
      UserError: a file or folder is absent, a folder has no image, files cannot be read or written, a file changes while it
        is read, an image does not fit the network or the memory, two images would have one name, `out_dir` is a file, lies
        in a folder of the images, or holds the images, a run, a data set, masks of other classes or results of other
        settings, or a result exists that was not made from this file, and `overwrite` is False.
    """
    _check_options(shard, overwrite)
    out = expand(out_dir, "--out")
    found = find_inputs([images] if isinstance(images, str | os.PathLike) else images, recursive)
    part = found.images[shard[0] - 1 :: shard[1]]
    folder = MaskFolder(predictor, out, choice=choice, palette=palette)
    stamps = _stamps(found.images)
    with report_write_errors():
        _check_out(out, found)
        folder.check_classes()
        folder.check_names(image.name for image in found.images)
        plan = record.Record(record.settings_of(predictor, **choice.settings(), **(about or {})), stamps)
        there = folder.listing()
        goes_on = record.compare(out, plan, there.results, overwrite=overwrite, exact=shard[1] > 1)
        page = out / index_page.NAME
        if OVERLAYS in choice.save and not overwrite and page.exists() and not index_page.is_page_of(page, PAGE_BY):
            raise UserError(f"{page} exists, and `{PAGE_BY}` did not write it; {record.REMEDY}")
    finished = {image.name for image in part if goes_on and there.has_all(image.name)}
    sizes = image_sizes(part, finished, predictor)
    for line in found.describe_others():
        print(line, file=sys.stderr)
    left = [image for image in part if image.name not in finished]

    def begin() -> None:
        """Writes the record. Called when the largest images are computed: if they do not fit, nothing has been written."""
        with report_write_errors():
            out.mkdir(parents=True, exist_ok=True)
            if overwrite:
                there.remove(stamps)
            record.write(out, plan)
            targets: dict[str, list[str]] = {}
            for place, names in (files for image in left for files in folder.files(image.name)):
                targets.setdefault(place, []).extend(names)
            remove_leftovers(targets)

    def note_parts(parts: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
        with report_write_errors():
            record.add_parts(out, parts)

    loop = PredictionLoop(predictor, folder, stamps, begin, note_parts, batch_size)
    counts = loop.run(part, finished, sizes, show_progress)
    if shard[1] == 1:
        # A part of several leaves them: another one may be writing the page.
        with report_write_errors():
            remove_leftovers({str(out): [index_page.NAME, record.NAME]})
    if OVERLAYS in choice.save:
        _write_index(out)
    if UNCERTAINTY in choice.save:
        _write_table(out)
    after = folder.listing()
    num_there = sum(after.has_all(image.name) for image in found.images)
    counts |= {"num_finished": len(finished), "num_there": num_there, "num_all": len(found.images)}
    return counts | {"folders": [str(path) for path in folder.folders]}


def _stamps(images: Sequence[Input]) -> dict[str, dict[str, Any]]:
    stamps = {}
    for image in images:
        try:
            stamps[image.name] = record.stamp(image.path)
        except OSError as error:
            raise read_error(image.path, error) from error
    return stamps


def _check_options(shard: tuple[int, int], overwrite: bool) -> None:
    """Raises UserError if there is no such part, or an option does not go with it."""
    index, count = shard
    if not 1 <= index <= count:
        raise UserError(
            f"--shard={index}/{count}: the parts are numbered from 1, so give 1/{max(count, 1)} to {max(count, 1)}/{max(count, 1)}; for a "
            f"Slurm array: --array=1-{max(count, 1)}"
        )
    if overwrite and count > 1:
        raise UserError(
            "--overwrite: one part would remove what another has just written; remove the folder of the results first, or "
            "leave --shard out"
        )


def _check_out(out_dir: Path, found: Inputs) -> None:
    """Raises UserError if the folder of the results is a file, a run or a data folder, or mixes with the images.

    Args:
      out_dir: the folder of the results.
      found: the images, and the folders that the user gave.
    """
    if out_dir.is_file():
        raise UserError(f"--out={out_dir} is a file; give a folder")
    results = [out_dir / name for name in SAVED]
    for parent, path in {image.path.parent: image.path for image in reversed(found.images)}.items():
        if is_same(parent, out_dir) or any(is_below(parent, result) for result in results if result.exists()):
            raise UserError(f"--out={out_dir} holds the image {path}; give another folder for the masks")
    for folder in found.folders:
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
