"""Prediction of image files: from the files to the files of their results."""

import dataclasses
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, TypeVar

from etils.epath import Path

from unet_jax.data.datasets.image_files import AS_STORED
from unet_jax.data.datasets.reading import Reading
from unet_jax.data.store.cache import read_error
from unet_jax.errors import UserError
from unet_jax.inference import record
from unet_jax.inference.inputs import Input, Inputs, find_inputs
from unet_jax.inference.outputs import DEFAULT, Choice, MaskFolder
from unet_jax.inference.prediction_loop import PredictionLoop, image_sizes, naming
from unet_jax.inference.result_folder import ResultFolder
from unet_jax.inference.segmenter import Segmenter
from unet_jax.storage.paths import expand, is_below, is_same, remove_leftovers
from unet_jax.storage.write_errors import report_write_errors


def predict_folder(
    predictor: Segmenter,
    images: str | os.PathLike | Sequence[str | os.PathLike],
    out_dir: str | os.PathLike,
    *,
    batch_size: int = 4,
    overwrite: bool = False,
    recursive: bool = False,
    shard: tuple[int, int] = (1, 1),
    how: Reading = AS_STORED,
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
      how: how the files are read, as in training: `load.Opened.reading`.
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
    job = FolderJob(
        images,
        out_dir,
        lambda out, _: MaskFolder(predictor, out, choice=choice, palette=palette),
        record.settings_of(predictor, **choice.settings(), **(about or {})),
        overwrite=overwrite,
        recursive=recursive,
        shard=shard,
        how=how,
    )
    return predict_job(predictor, job, batch_size=batch_size, show_progress=show_progress)


def predict_job(
    predictor: Segmenter, job: "FolderJob", *, batch_size: int = 4, show_progress: bool = False
) -> dict[str, Any]:
    """Predicts what is left of a job; arguments, result and errors are those of `predict_folder`."""
    sizes = image_sizes(job.images, job.finished, predictor)
    for image in job.left:
        with naming(image.path):
            job.folder.check_size(image.name, sizes[image.name])
    job.describe_others()
    loop = PredictionLoop(predictor, job.folder, job.stamps, job.begin, job.note_parts, batch_size)
    return loop.run(job.images, job.finished, sizes, show_progress) | job.finish()


Folder = TypeVar("Folder", bound=ResultFolder)


class FolderJob(Generic[Folder]):
    """Image files whose results are written to a folder: finds what is left to do, and refuses what would mix.

    Nothing is written before `begin`.

    Args:
      images: see `predict_folder`, as the arguments below.
      out_dir: the folder of the results.
      open_folder: returns the folder for its path and the images.
      settings: what decides the results, JSON-able.
      overwrite: replaces results that exist.
      recursive: takes the images of all subfolders, too.
      shard: (i, n) for the i-th of n parts of the images.

    Attributes:
      folder: the folder of the results.
      images: those of this part.
      finished: the names of those of `images` whose results are there.
      left: the others.
      stamps: of the files of the images of all parts, by the name of the image; see `record.stamp`.

    Raises:
      UserError: as `predict_folder`.
    """

    def __init__(
        self,
        images: str | os.PathLike | Sequence[str | os.PathLike],
        out_dir: str | os.PathLike,
        open_folder: Callable[[Path, Sequence[Input]], Folder],
        settings: Mapping[str, Any],
        *,
        overwrite: bool = False,
        recursive: bool = False,
        shard: tuple[int, int] = (1, 1),
        how: Reading = AS_STORED,
    ):
        _check_options(shard, overwrite)
        out = expand(out_dir, "--out")
        self._found = find_inputs([images] if isinstance(images, str | os.PathLike) else images, recursive, how)
        self.images = self._found.images[shard[0] - 1 :: shard[1]]
        self.folder: Folder = open_folder(out, self._found.images)
        self.stamps = _stamps(self._found.images)
        self._overwrite, self._alone = overwrite, shard[1] == 1
        with report_write_errors():
            _check_out(out, self._found, self.folder.kinds)
            self.folder.check(overwrite)
            self.folder.check_names(image.name for image in self._found.images)
            # Where files are read as they are, the settings are those of earlier versions.
            reading = {} if how == AS_STORED else {"reading": dataclasses.asdict(how)}
            self._record = record.Record({**settings, **reading}, self.stamps)
            self._there = self.folder.listing()
            goes_on = record.compare(out, self._record, self._there.results, overwrite=overwrite, exact=not self._alone)
        self.finished = {image.name for image in self.images if goes_on and self._there.has_all(image.name)}
        self.left = [image for image in self.images if image.name not in self.finished]

    def describe_others(self) -> None:
        """Names the files that are passed over, on stderr."""
        for line in self._found.describe_others():
            print(line, file=sys.stderr)

    def begin(self) -> None:
        """Writes the record. Called when the largest images are computed: if they do not fit, nothing has been written.

        Raises:
          UserError: a file cannot be written.
        """
        out = self.folder.out
        with report_write_errors():
            out.mkdir(parents=True, exist_ok=True)
            if self._overwrite:
                self._there.remove(self.stamps)
            for name in self.folder.comparisons:
                (out / name).unlink(missing_ok=True)
            record.write(out, self._record)
            targets: dict[str, list[str]] = {}
            for place, names in (files for image in self.left for files in self.folder.files(image.name)):
                targets.setdefault(place, []).extend(names)
            remove_leftovers(targets)

    def note_parts(self, parts: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
        """Adds to the record how images were predicted; see `record.add_parts`.

        Raises:
          UserError: it cannot be written.
        """
        with report_write_errors():
            record.add_parts(self.folder.out, parts)

    def finish(self) -> dict[str, Any]:
        """Writes what all images share; returns `num_finished`, `num_there`, `num_all` and `folders` of `predict_folder`.

        Raises:
          UserError: a file cannot be written.
        """
        if self._alone:
            # A part of several leaves them: another one may be writing these files.
            with report_write_errors():
                remove_leftovers({str(self.folder.out): [*self.folder.summaries, record.NAME]})
        self.folder.finish()
        after = self.folder.listing()
        num_there = sum(after.has_all(image.name) for image in self._found.images)
        return {
            "num_finished": len(self.finished),
            "num_there": num_there,
            "num_all": len(self._found.images),
            "folders": [str(path) for path in self.folder.folders],
        }


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


def _check_out(out_dir: Path, found: Inputs, kinds: Sequence[str]) -> None:
    """Raises UserError if the folder of the results is a file, a run or a data folder, or mixes with the images.

    Args:
      out_dir: the folder of the results.
      found: the images, and the folders that the user gave.
      kinds: the names of the folders with results.
    """
    if out_dir.is_file():
        raise UserError(f"--out={out_dir} is a file; give a folder")
    results = [out_dir / name for name in kinds]
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
