"""Objects of image files, found by a trained network or in true masks, as tables, for `unet-jax measure`."""

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
import tifffile
from etils.epath import Path

from unet_jax.data.datasets.image_files import AS_STORED
from unet_jax.data.targets import OBJECT_ID
from unet_jax.errors import UserError
from unet_jax.evaluation import instances
from unet_jax.inference import record
from unet_jax.inference.ensemble import Ensemble
from unet_jax.inference.folder import FolderJob, predict_job
from unet_jax.inference.inputs import Input, find_inputs
from unet_jax.inference.prediction_loop import naming
from unet_jax.inference.predictor import Predictor
from unet_jax.inference.segmenter import Segmenter
from unet_jax.measurement import agreement
from unet_jax.measurement.object_folder import AGREEMENT, MATCHES, Classes, ObjectFolder
from unet_jax.measurement.objects import DEFAULT, Options
from unet_jax.measurement.pixel_size import PixelSize
from unet_jax.measurement.tables import Row, to_csv
from unet_jax.measurement.true_masks import TrueMasks
from unet_jax.plotting.drawing import class_colours
from unet_jax.runs.load import Opened
from unet_jax.runs.predict import open_for_folder, print_result
from unet_jax.runtime.memory import prediction_budget, to_bytes
from unet_jax.storage.digests import json_sha256
from unet_jax.storage.paths import expand, write_whole
from unet_jax.storage.write_errors import report_write_errors
from unet_jax.version import __version__

# The folder of the true objects.
TRUTH = "truth"


def measure(
    models: Sequence[str | os.PathLike],
    images: Sequence[str | os.PathLike],
    truth: str | os.PathLike,
    out: str | os.PathLike,
    *,
    class_names: Sequence[str] = (),
    mask_values: Sequence[int] = (),
    shard: tuple[int, int] = (1, 1),
    flag: str = "--model",
    options: Options = DEFAULT,
    pixel: PixelSize | None = None,
    overwrite: bool = False,
    recursive: bool = False,
    **chosen: Any,
) -> None:
    """Measures what networks find, true masks, or both, which are then compared.

    Args:
      models: the networks; () for none.
      images: image files; () for none.
      truth: the folder of true masks; "" for none.
      out: the folder of the results; with both, the true masks are measured into its subfolder `TRUTH`.
      class_names: of the true masks, by class id; () for those of the network.
      mask_values: of the true masks; see `TrueMasks`.
      shard: see `measure_images`.
      flag: the name of `models` in messages.
      options: how masks become objects.
      pixel: the size of a pixel; see `measure_images`.
      overwrite: replaces results that are there.
      recursive: takes the images of subfolders, too.
      **chosen: the network's options.

    Raises:
      UserError: as `measure_images`, `measure_truth` and `compare`.
    """
    common: dict[str, Any] = {"pixel": pixel, "overwrite": overwrite, "recursive": recursive}
    check_one_part(truth, shard)
    if not models:
        alone = TrueMasks(truth, class_names, mask_values)
        measure_truth(alone, out, images=images, options=options, memory=chosen.get("memory", ""), **common)
        return
    opened, about = open_for_folder(models, images, out, overwrite=overwrite, flag=flag, **chosen)
    masks = None
    if truth:
        # Before the images are predicted, which takes longer.
        masks = _true_masks(opened, truth, class_names, mask_values)
        masks.check_images([image.name for image in find_inputs(images, recursive, opened.reading).images])
    predicted = measure_images(opened, about, images, out, options=options, shard=shard, **common)
    if masks is None:
        return
    if options.split == "probability":
        # The truth has none.
        print("note: true masks have no probabilities, so true objects are not split; --split=distance splits both")
        options = dataclasses.replace(options, split="", split_depth=0.0)
    true = measure_truth(
        masks,
        expand(out, "--out") / TRUTH,
        images=images,
        options=options,
        colours=predicted.classes.colours,
        memory=int(predicted.budget),
        **common,
    )
    compare(predicted, true)


def check_one_part(truth: str | os.PathLike, shard: tuple[int, int]) -> None:
    """Raises UserError if true masks are given, and only a part of the images."""
    if truth and shard != (1, 1):
        raise UserError("--shard: true masks are measured and compared in one part; leave it out, or --truth")


def _true_masks(
    opened: Opened, truth: str | os.PathLike, class_names: Sequence[str], mask_values: Sequence[int]
) -> TrueMasks:
    """Returns the true masks of the classes that a network reports."""
    names, measured = opened.segmenter.class_names, opened.segmenter.report_classes
    # A network of one class finds the class id 1.
    names = names if len(names) > 1 else ("background", *names)
    if opened.runs[0].border_width:
        # The masks of the data have no border.
        names = names[:-1]
        measured = names[1:]
    return TrueMasks(truth, class_names or names, mask_values, measured=measured, how=opened.reading)


def measure_images(
    opened: Opened,
    about: Mapping[str, Any],
    images: Sequence[str | os.PathLike],
    out: str | os.PathLike,
    *,
    options: Options = DEFAULT,
    pixel: PixelSize | None = None,
    overwrite: bool = False,
    recursive: bool = False,
    shard: tuple[int, int] = (1, 1),
) -> ObjectFolder:
    """Finds the objects of image files with a trained network, and measures them; prints what was written.

    Args:
      opened: the network, or several.
      about: what of their checkpoints decides the results; see `runs.predict.open_for_folder`.
      images: image files.
      out: the folder of the results; see `measurement.object_folder`.
      options: how masks become objects.
      pixel: the size of a pixel; None for that in the tags of each file, if there is one.
      overwrite: replaces results that are there.
      recursive: takes the images of subfolders, too.
      shard: (i, n) for the i-th of n parts.

    Returns:
      The folder.

    Raises:
      UserError: as `inference.folder.predict_folder`; or an image is too large to be split within the memory.
    """
    segmenter, run = opened.segmenter, opened.runs[0]
    colours = class_colours(segmenter.class_names, run.facts["palette"])
    channels = [OBJECT_ID] if run.border_width else segmenter.report_channels
    names = [segmenter.class_names[channel] for channel in channels]
    classes = Classes(names, channels, [colours[channel] for channel in channels], run.border_width)

    def open_folder(place: Path, inputs: Sequence[Input]) -> ObjectFolder:
        return ObjectFolder(place, inputs, classes, options, pixel=pixel, budget=_budget(segmenter))

    settings = record.settings_of(segmenter, **_settings(options, pixel), **about)
    common: dict[str, Any] = {"overwrite": overwrite, "recursive": recursive, "shard": shard}
    job = FolderJob(images, out, open_folder, settings, how=opened.reading, **common)
    result = predict_job(segmenter, job, batch_size=run.config.eval.batch_size, show_progress=True)
    print_result(result, opened.describe())
    return job.folder


def measure_truth(
    masks: TrueMasks,
    out: str | os.PathLike,
    *,
    images: Sequence[str | os.PathLike] = (),
    options: Options = DEFAULT,
    pixel: PixelSize | None = None,
    colours: Sequence[Sequence[int]] = (),
    overwrite: bool = False,
    recursive: bool = False,
    memory: int | str = "",
) -> ObjectFolder:
    """Measures the objects of true masks into the tables of `measure_images`.

    Args:
      masks: the true masks.
      out: the folder of the results.
      images: image files for the intensities, and for the size of a pixel; () for none.
      options: how masks become objects.
      pixel: the size of a pixel; None for that in the tags of the image or, without images, of the mask.
      colours: RGB of each class; () for those of the package.
      overwrite: replaces results that are there.
      recursive: takes the images of subfolders, too.
      memory: the bytes that a watershed may take; "" for a quarter of the memory.

    Returns:
      The folder.

    Raises:
      UserError: an image has no mask, a mask cannot be read, or as `measure_images`.
    """
    if options.split == "probability":
        raise UserError("--split=probability: true masks have no probabilities; give --split=distance, or leave it out")
    of_images = {image.name: image for image in find_inputs(images, recursive, masks.how).images} if images else {}
    masks.check_images(list(of_images))
    wanted = of_images or masks.images
    given = colours or class_colours(("background", *masks.names))[1:]
    classes = Classes(masks.names, masks.channels, given)
    budget = to_bytes(memory) if memory else prediction_budget(jax.local_devices())

    def open_folder(place: Path, inputs: Sequence[Input]) -> ObjectFolder:
        inputs = list(of_images.values()) or inputs
        return ObjectFolder(
            place, inputs, classes, options, pixel=pixel, budget=budget, with_intensities=bool(of_images)
        )

    settings = {"version": __version__, **masks.settings(), **_settings(options, pixel)}
    settings["images_sha256"] = json_sha256([record.stamp(image.path) for image in of_images.values()])
    paths = [masks.images[name].path for name in wanted]
    if masks.how != AS_STORED:
        settings["reading_of_images"] = dataclasses.asdict(masks.how)
    job = FolderJob(paths, out, open_folder, settings, overwrite=overwrite, how=masks.how_masks)

    def check(name: str, of_image: np.ndarray) -> None:
        _check_size(of_image, of_images.get(name), masks.images[name].path)

    measure_left(masks, job, masks.read, check)
    return job.folder


def measure_left(
    masks: TrueMasks,
    job: FolderJob,
    read: Callable[[str], np.ndarray],
    check: Callable[[str, np.ndarray], None] = lambda name, of_image: None,
) -> None:
    """Measures the true masks that a folder lacks; prints how many, and where they are.

    Args:
      masks: the true masks.
      job: the folder, and what is left to be measured.
      read: returns the masks of an image by its name, bool `[H, W, K]`.
      check: raises UserError if the masks of an image cannot be measured. Nothing is written before the first is checked.

    Raises:
      UserError: a mask cannot be read or measured.
    """
    begun = False
    for image in job.left:
        of_image = read(image.name)
        with naming(masks.images[image.name].path):
            job.folder.check_size(image.name, of_image.shape)
        check(image.name, of_image)
        if not begun:
            job.begin()
            begun = True
        job.folder.write(image.name, of_image, np.zeros(of_image.shape[:2], np.uint8))
    result = job.finish()
    print(f"{len(job.left)} of {result['num_all']} true masks measured; written to: {job.folder.out}")


def compare(predicted: ObjectFolder, true: ObjectFolder) -> list[Row]:
    """Matches predicted and true objects, and writes how far their measurements agree, to the folder of the predicted ones.

    `agreement.csv` has a row for each class and column, `matches.csv` one for each pair of objects.

    Args:
      predicted: the measurements of a network.
      true: those of true masks, of the same images and classes.

    Returns:
      The rows of `agreement.csv`.

    Raises:
      UserError: a file cannot be read or written.
    """
    pairs: dict[str, list] = {name: [] for name in true.classes.names}
    counts: dict[str, list[int]] = {name: [0, 0] for name in true.classes.names}
    matches: list[Row] = []
    for name in predicted.names:
        tables = [
            {row["label"]: {"image": name, **row} for row in folder.read_objects(name)} for folder in (true, predicted)
        ]
        of_classes = zip(true.classes.names, true.labels_of(name), predicted.labels_of(name), strict=True)
        for class_name, *files in of_classes:
            for side, table in enumerate(tables):
                counts[class_name][side] += sum(row["class"] == class_name for row in table.values())
            in_truth, in_prediction = (tifffile.imread(os.fspath(file)) for file in files)
            found = instances.matches(instances.overlaps(in_truth, in_prediction), agreement.IOU)
            for one, other, iou in zip(*(column.tolist() for column in found), strict=True):
                pairs[class_name].append((tables[0][str(one)], tables[1][str(other)]))
                matches.append({"image": name, "class": class_name, "label": other, "label_true": one, "iou": iou})
    rows = [row for name in pairs for row in agreement.compare(pairs[name], name, *counts[name])]
    with report_write_errors():
        write_whole(predicted.out / AGREEMENT, to_csv(rows, ["class", "column"]).encode())
        write_whole(predicted.out / MATCHES, to_csv(matches, ["image", "class", "label", "label_true", "iou"]).encode())
    for name, (num_true, num_predicted) in counts.items():
        print(
            f"{name}: {num_true} true objects, {num_predicted} predicted, {len(pairs[name])} matched (IoU >= {agreement.IOU})"
        )
    print(f"  {predicted.out / AGREEMENT}\n  {predicted.out / MATCHES}")
    return rows


def _settings(options: Options, pixel: PixelSize | None) -> dict[str, Any]:
    """Returns what decides the measurements, as JSON-able values."""
    return {record.RESULTS: "objects"} | dataclasses.asdict(options) | settings_of_pixel(pixel)


def settings_of_pixel(pixel: PixelSize | None) -> dict[str, Any]:
    """Returns the size of a pixel as JSON-able values; None for that in the tags of each file."""
    return {"pixel_size": pixel.size, "unit": pixel.unit} if pixel else {"pixel_size": "of each file"}


def _budget(segmenter: Segmenter) -> float:
    """Returns the bytes that a prediction may take."""
    if isinstance(segmenter, Ensemble):
        return min(predictor.budget for predictor in segmenter.predictors)
    return segmenter.budget if isinstance(segmenter, Predictor) else np.inf


def _check_size(masks: np.ndarray, image: Input | None, path: Path) -> None:
    """Raises UserError if a mask has another size than its image."""
    if image is not None and (shape := image.open().shape[:2]) != masks.shape[:2]:
        raise UserError(
            f"{path}: has {masks.shape[1]} x {masks.shape[0]} pixels, its image {shape[1]} x {shape[0]}; make them the same size"
        )
