"""Checks a folder of images and masks before a training: errors, warnings, and what is in it.

    unet-jax check FOLDER
    unet-jax check FOLDER --out=OUT                 # also writes pictures
    unet-jax check FOLDER --masks_dir=masks3 --class_names="('background', 'stack', 'plate')"

FOLDER may also be a file or a folder of annotations; see `unet-jax import`. The flags are the keys of `data` of the same names
(configs/default.py). Tables go to stdout, and below them a line "warning: ..." for each thing that may be a mistake. Each line
"error: ..." on stderr names something that would stop a training.

OUT gets sheet.png (images with outlined masks), alike.png (pairs of images in different splits that look alike, if there
are any) and check.json (every error and warning, the thousand most similar pairs, and the number of all such pairs).

Status: 0 if training would begin, with warnings or without; 1 with --strict if there is a warning; 2 if there is an error,
or if OUT cannot be written (that line comes last).
"""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from absl import flags
from ml_collections.config_flags.tuple_parser import TupleParser

from unet_jax.errors import UserError
from unet_jax.runtime import cli

if TYPE_CHECKING:
    from etils.epath import Path

    from unet_jax.data.check.survey import Survey

FLAGS = flags.FlagValues()


def _define_tuple(name: str, default: tuple, text: str) -> None:
    flags.DEFINE(TupleParser(), name, default, text, FLAGS, serializer=flags.ArgumentSerializer())


# The keys of `data` that say how a folder is read.
OPTIONS = (
    "masks_dir",
    "class_names",
    "num_classes",
    "mask_values",
    "palette",
    "masks",
    "axes",
    "channels",
    "missing_chunks",
    "one_mask",
    "image_name",
    "mask_name",
    "instance_name",
    "split_file",
    "split_fractions",
    "nan",
)
flags.DEFINE_string("nan", "error", "void takes pixels that are NaN or infinite for void; error refuses them.", FLAGS)
flags.DEFINE_string("masks_dir", "masks", "Folder of masks in FOLDER.", FLAGS)
_define_tuple("class_names", (), "By class id, e.g. \"('background', 'plate')\".")
flags.DEFINE_integer(
    "num_classes", 0, "Classes of a mask. 0: as many as names, else the largest id in the masks + 1.", flag_values=FLAGS
)
_define_tuple("mask_values", (), 'Pixel values of class 0, 1, ..., e.g. "(0, 255)"; none if they are ids.')
_define_tuple("palette", (), 'An RGB triple per class, for RGB masks, e.g. "((0, 0, 0), (255, 0, 0))".')
flags.DEFINE_string("masks", "classes", "What the masks hold: classes, or instances, numbers of objects.", FLAGS)
flags.DEFINE_string("axes", "", "What each dimension of a file is, e.g. ZCYX; by default what the file says.", FLAGS)
_define_tuple("channels", (), "Channels of the images that are kept, e.g. (0, 3).")
flags.DEFINE_string("missing_chunks", "error", "fill reads Zarr arrays with missing chunks.", FLAGS)
flags.DEFINE_bool("one_mask", False, "Take a mask of one page for all pages of an image.", FLAGS)
flags.DEFINE_string("image_name", "{stem}", "Names of the images without suffix, e.g. 'image_{stem}'.", FLAGS)
flags.DEFINE_string("mask_name", "{stem}", "Names of the masks, e.g. '{stem}_mask'.", FLAGS)
flags.DEFINE_string("instance_name", "{stem}", "Names of the instances.", FLAGS)
flags.DEFINE_string(
    "split_file", "", "A CSV that replaces index.csv; images that it does not name are left out.", FLAGS
)
_define_tuple("split_fractions", (0.7, 0.15, 0.15), "Fractions of train, val and test where no file gives the splits.")
_define_tuple("patch", (96, 96), "Height and width of a training window, as data.patch.")
flags.DEFINE_string("out", None, "Folder for sheet.png, alike.png and check.json.", FLAGS)
flags.DEFINE_bool("strict", False, "End with status 1 if there is a warning.", FLAGS)


def main(root: str) -> None:
    """Checks the folder `root`, prints the result, and exits with its status.

    Raises:
      UserError: a flag is not allowed, or OUT cannot be written.
    """
    # After the flags: --help needs no OpenCV.
    from unet_jax.data.annotations.cached import take_annotations
    from unet_jax.data.check.dataset_warnings import find_warnings
    from unet_jax.data.check.report import format_survey, shorten
    from unet_jax.data.check.survey import survey_folder
    from unet_jax.data.datasets.options import check_values
    from unet_jax.storage import paths

    window = FLAGS.patch
    if len(window) != 2 or not all(isinstance(n, int) and n > 0 for n in window):
        raise UserError(f"--patch={window}: give (height, width) in pixels, two whole numbers above 0")
    out = None if FLAGS.out is None else paths.expand(FLAGS.out, "--out")
    for folder in (paths.to_path(root) / name for name in ("images", FLAGS.masks_dir, "instances")):
        if out is not None and folder.is_dir() and paths.is_below(out, folder):
            raise UserError(
                f"--out={FLAGS.out} lies in {folder}, and the pictures would be taken for data; give another folder"
            )
    options = {"root": root, **{name: getattr(FLAGS, name) for name in OPTIONS}}
    check_values("image_folder", options)
    take_annotations(options)
    survey = survey_folder(**options)
    warnings = find_warnings(survey, window)
    if survey.images:
        print(f"{root}\n\n{format_survey(survey)}\n")
    for line in warnings:
        print(f"warning: {line}")
    verdict = "training would not begin" if survey.errors else "training can begin"
    print(f"{_counted(survey.errors, 'error')}, {_counted(warnings, 'warning')}: {verdict}", flush=True)
    for line in shorten(survey.errors):
        print(f"error: {line}", file=sys.stderr)
    # Last, so that a folder that cannot be written hides nothing of the above.
    if out is not None:
        print(f"written: {', '.join(map(str, _write(survey, warnings, out)))}")
    if survey.errors:
        sys.exit(2)
    sys.exit(1 if FLAGS.strict and warnings else 0)


def _counted(items: Sequence, noun: str) -> str:
    return f"{len(items)} {noun}" if len(items) == 1 else f"{len(items)} {noun}s"


def _write(survey: "Survey", warnings: list[str], out: "Path") -> "list[Path]":
    """Writes pictures and check.json, and deletes the pictures of an earlier check; returns the paths."""
    from unet_jax.data.check import contact_sheet
    from unet_jax.plotting import drawing
    from unet_jax.storage import json_file
    from unet_jax.storage.write_errors import report_write_errors

    pictures = {
        "sheet.png": contact_sheet.draw_sheet if survey.images else None,
        "alike.png": contact_sheet.draw_alike_sheet if survey.alike else None,
    }
    written = []
    with report_write_errors():
        out.mkdir(parents=True, exist_ok=True)
        for name, draw in pictures.items():
            (out / name).unlink(missing_ok=True)
            if draw:
                drawing.save_png(draw(survey), out / name)
                written.append(out / name)
        alike = [[survey.images[i].row.id, survey.images[j].row.id, round(r, 4)] for i, j, r in survey.alike]
        report = {
            "errors": list(map(str, survey.errors)),
            "warnings": warnings,
            "alike": alike,
            "num_alike": survey.num_alike,
        }
        json_file.write(out / "check.json", report, indent=1)
    return [*written, out / "check.json"]


def run() -> None:
    """Runs the command `check`."""
    cli.run(main, __doc__, FLAGS, arguments=("FOLDER",))


if __name__ == "__main__":
    run()
