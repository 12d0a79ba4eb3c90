"""Plates of image files, found by a trained network or in true masks, as tables, for `unet-jax measure --plates`."""

import dataclasses
import math
import os
from collections.abc import Sequence
from typing import Any

import jax
from etils.epath import Path

from unet_jax.errors import UserError
from unet_jax.inference import record
from unet_jax.inference.folder import FolderJob, predict_job
from unet_jax.inference.inputs import Input, find_inputs
from unet_jax.measurement.pixel_size import PixelSize
from unet_jax.measurement.plates.folder import SCORES, PlateFolder
from unet_jax.measurement.plates.roles import Roles, find_roles
from unet_jax.measurement.plates.scores import score_image, summarize
from unet_jax.measurement.plates.text import format_scores
from unet_jax.measurement.tables import Row, to_csv
from unet_jax.measurement.true_masks import TrueMasks
from unet_jax.runs.calibration.plate_intervals import read_factor
from unet_jax.runs.load import Opened
from unet_jax.runs.measure import TRUTH, check_one_part, measure_left, settings_of_pixel
from unet_jax.runs.predict import open_for_folder, print_result
from unet_jax.runtime.memory import prediction_budget, to_bytes
from unet_jax.storage.paths import expand, write_whole
from unet_jax.storage.write_errors import report_write_errors
from unet_jax.version import __version__


@dataclasses.dataclass(frozen=True)
class PlateOptions:
    """What is measured of plates.

    Attributes:
      anode: the class of the negative plates; "" as `roles.find_roles` finds it. The next two likewise.
      cathode: the class of the positive plates.
      stack: the class from which the plates come out.
      pixel: the size of a pixel; None for that in the tags of each file, if there is one.
      min_overhang: the smallest overhang that is OK, in the unit of `pixel` or in pixels; None for no verdict.
    """

    anode: str = ""
    cathode: str = ""
    stack: str = ""
    pixel: PixelSize | None = None
    min_overhang: float | None = None

    def roles(self, class_names: Sequence[str]) -> Roles:
        """Returns the roles of classes.

        Raises:
          UserError: as `find_roles`; or an overhang is to be judged, and no class is that over which the anodes reach.
        """
        roles = find_roles(class_names, self.anode, self.cathode, self.stack)
        if self.min_overhang is not None and not (roles.cathode or roles.stack):
            raise UserError(
                f"--min_overhang={self.min_overhang:g}: no class of {', '.join(class_names)} is that of the cathodes or of the stack; "
                "name it with --cathode=CLASS or --stack=CLASS"
            )
        return roles

    @property
    def limit(self) -> float:
        """The smallest overhang that is OK; NaN for no verdict."""
        return math.nan if self.min_overhang is None else self.min_overhang


def measure_plates(
    models: Sequence[str | os.PathLike],
    images: Sequence[str | os.PathLike],
    truth: str | os.PathLike,
    out: str | os.PathLike,
    *,
    options: PlateOptions,
    class_names: Sequence[str] = (),
    mask_values: Sequence[int] = (),
    overwrite: bool = False,
    recursive: bool = False,
    shard: tuple[int, int] = (1, 1),
    flag: str = "--model",
    **chosen: Any,
) -> None:
    """Measures the plates that networks find, those of true masks, or both, and scores the first against the second.

    Args:
      models: the networks; () for none.
      images: image files; () for none.
      truth: the folder of true masks; "" for none.
      out: the folder of the results; with both, the true masks are measured into its subfolder `TRUTH`.
      options: what is measured.
      class_names: of the true masks, by class id; () for those of the network.
      mask_values: of the true masks; see `TrueMasks`.
      overwrite: replaces results that are there.
      recursive: takes the images of subfolders, too.
      shard: (i, n) for the i-th of n parts.
      flag: the name of `models` in messages.
      **chosen: the network's options.

    Raises:
      UserError: as `runs.measure.measure`, `PlateOptions.roles`.
    """
    common: dict[str, Any] = {"overwrite": overwrite, "recursive": recursive}
    check_one_part(truth, shard)
    memory = chosen.get("memory", "")
    budget = to_bytes(memory) if memory else prediction_budget(jax.local_devices())
    if not models:
        alone = TrueMasks(truth, class_names, mask_values)
        measure_truth(alone, out, images=images, options=options, budget=budget, **common)
        return
    opened, about = open_for_folder(models, images, out, overwrite=overwrite, flag=flag, **chosen)
    roles = options.roles(opened.segmenter.class_names)
    masks = None
    if truth:
        # Before the images are predicted, which takes longer.
        names = class_names or opened.segmenter.class_names
        masks = TrueMasks(truth, names, mask_values, measured=roles.classes, how=opened.reading)
        masks.check_images([image.name for image in find_inputs(images, recursive, opened.reading).images])
    settings = record.settings_of(opened.segmenter, **about)
    predicted = _measure_images(opened, roles, images, out, options, settings, budget, shard=shard, **common)
    if masks is None:
        return
    of_truth = dataclasses.replace(options, **dataclasses.asdict(roles))
    true = measure_truth(masks, expand(out, "--out") / TRUTH, images=images, options=of_truth, budget=budget, **common)
    scores = summarize(
        [score_image(predicted.read_tips(name), true.read_tips(name)) for name in predicted.names],
        num_kinds=len(roles.plates),
    )
    with report_write_errors():
        rows: list[Row] = [{"score": name, "value": value} for name, value in scores.items()]
        write_whole(predicted.out / SCORES, to_csv(rows, ["score", "value"]).encode())
    print(f"{format_scores(scores)}\n  {predicted.out / SCORES}")


def _measure_images(
    opened: Opened,
    roles: Roles,
    images: Sequence[str | os.PathLike],
    out: str | os.PathLike,
    options: PlateOptions,
    settings: dict[str, Any],
    budget: float,
    **how: Any,
) -> PlateFolder:
    """Finds the plates of image files with a trained network, and measures them; prints what was written."""
    factor = read_factor(opened, roles)
    if math.isnan(factor) and roles.cathode:
        print("note: overhangs have no interval; for one run, `unet-jax calibrate --workdir=RUN` fits it")

    def open_folder(place: Path, inputs: Sequence[Input]) -> PlateFolder:
        names = opened.segmenter.class_names
        return PlateFolder(
            place, inputs, names, roles, pixel=options.pixel, limit=options.limit, factor=factor, budget=budget
        )

    settings = settings | _settings(options, roles) | {"interval": None if math.isnan(factor) else factor}
    job = FolderJob(images, out, open_folder, settings, how=opened.reading, **how)
    batch_size = opened.runs[0].config.eval.batch_size
    print_result(predict_job(opened.segmenter, job, batch_size=batch_size, show_progress=True), opened.describe())
    return job.folder


def measure_truth(
    masks: TrueMasks,
    out: str | os.PathLike,
    *,
    images: Sequence[str | os.PathLike] = (),
    options: PlateOptions,
    budget: float,
    overwrite: bool = False,
    recursive: bool = False,
) -> PlateFolder:
    """Measures the plates of true masks into the tables of a network's.

    Args:
      masks: the true masks.
      out: the folder of the results.
      images: image files, whose masks alone are measured and whose tags may give the size of a pixel; () for all masks.
      options: what is measured.
      budget: the bytes that an image may take.
      overwrite: replaces results that are there.
      recursive: takes the images of subfolders, too.

    Returns:
      The folder.

    Raises:
      UserError: an image has no mask, a mask cannot be read, or as `PlateOptions.roles`.
    """
    roles = options.roles(masks.names)
    of_images = {image.name: image for image in find_inputs(images, recursive, masks.how).images} if images else {}
    masks.check_images(list(of_images))

    def open_folder(place: Path, inputs: Sequence[Input]) -> PlateFolder:
        inputs = list(of_images.values()) or inputs
        return PlateFolder(place, inputs, masks.names, roles, pixel=options.pixel, limit=options.limit, budget=budget)

    settings = {"version": __version__, **masks.settings(), **_settings(options, roles)}
    paths = [masks.images[name].path for name in of_images or masks.images]
    job = FolderJob(paths, out, open_folder, settings, overwrite=overwrite, how=masks.how_masks)
    measure_left(masks, job, lambda name: masks.read(name)[..., masks.channels])
    return job.folder


def _settings(options: PlateOptions, roles: Roles) -> dict[str, Any]:
    """Returns what decides the measurements, as JSON-able values. A verdict is made anew by each call."""
    return {record.RESULTS: "plates", "plates": dataclasses.asdict(roles)} | settings_of_pixel(options.pixel)
