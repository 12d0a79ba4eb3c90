"""Scores a trained run on a split, or turns a folder of images into masks.

    unet-jax eval --workdir=runs/electrodes                          # scores the best checkpoint on test
    unet-jax eval --workdir=runs/electrodes --mode=fast --level=2    # U-Net++ pruned to level 2, one head
    unet-jax eval --workdir=runs/electrodes --metrics=instances,boundary,calibration
    unet-jax eval --workdir=runs/electrodes --images=FOLDER --out=FOLDER
    unet-jax eval --workdir=runs/a --workdir=runs/b --views=flips --uncertainty --out=FOLDER

Scores go to WORKDIR/eval/SPLIT.json and SPLIT.csv, with masks and overlays in the same folder; those of several runs go to OUT. With --images, OUT gets for each image a
PNG of class ids, a mask of 0 and 255 for each reported class, and an overlay. Config and classes come from the workdir. The
same command goes on where it was interrupted.

Status: 2 for bad input, with one line that says what.
"""

from collections.abc import Sequence

from absl import flags

from unet_jax.errors import UserError
from unet_jax.evaluation.choice import MetricChoice
from unet_jax.runtime import cli

FLAGS = flags.FlagValues()
flags.DEFINE_multi_string(
    "workdir",
    None,
    "Folder of the run, as given to `unet-jax train`. Given several times: the mean of the networks' probabilities.",
    FLAGS,
    required=True,
)
cli.define_network(FLAGS)
cli.define_views(FLAGS)
flags.DEFINE_enum(
    "split",
    None,
    ["train", "val", "test"],
    "The images to score. Default: test, or val where there is no test; the output names it.",
    FLAGS,
)
flags.DEFINE_list(
    "metrics",
    [],
    "What is scored, with commas between: pixels (IoU, Dice; always), instances (AP, F1, PQ, SEG, AJI of objects), boundary "
    "(boundary IoU, NSD, HD95, ASSD, clDice), calibration (ECE, Brier score, NLL), plates (number, tips and overhang of the plates "
    "of a stack). Default: pixels, and instances where the data have them.",
    FLAGS,
)
flags.DEFINE_float(
    "tolerance",
    2.0,
    "Distance at which NSD counts a contour as right, in pixels, or in --unit, where it must be given.",
    flag_values=FLAGS,
)
flags.DEFINE_list(
    "pixel_size",
    ["1"],
    "Size of a pixel in --unit, such as 0.05; or its height and width, such as 0.1,0.05. HD95, ASSD and --tolerance then have "
    "this unit.",
    FLAGS,
)
flags.DEFINE_string("unit", "px", "Unit of --pixel_size, such as mm.", FLAGS)
cli.define_plate_classes(FLAGS, "With --metrics=plates")
flags.DEFINE_string(
    "images",
    None,
    "An image file, a folder of images or a pattern such as 'scans/*.png', to predict instead of scoring a split.",
    FLAGS,
)
flags.DEFINE_string("out", None, "Folder for what --images gives, or for the scores of several runs.", FLAGS)
cli.define_results(FLAGS)
flags.DEFINE_string("root", None, "Where the run's data lie now, if not where they were.", FLAGS)
cli.define_fresh_data(FLAGS)
cli.define_job(FLAGS)


# The flags of the scoring of a split.
SCORE_FLAGS = ("split", "root", "fresh_data", "metrics", "tolerance", "pixel_size", "unit", *cli.PLATE_CLASS_FLAGS)


def main() -> None:
    """Scores the run, or predicts the images, as the flags say.

    Raises:
      UserError: the flags contradict each other.
    """
    images, out = FLAGS.images, FLAGS.out
    if images is not None and out is None:
        raise UserError("--out is missing: the folder for the masks of --images")
    if out is not None and images is None and len(FLAGS.workdir) == 1:
        raise UserError(
            "--images is missing: the folder of images to predict into --out; scores go to WORKDIR/eval without --out"
        )
    # The scores of several runs are results in --out, too.
    of_files = [name for name in cli.RESULT_FLAGS if name != "overwrite" or len(FLAGS.workdir) == 1]
    unused = [name for name in of_files if images is None and FLAGS[name].present]
    if unused:
        raise UserError(f"--{unused[0]} is for the prediction of files, with --images and --out; leave it out")
    of_scores = [name for name in SCORE_FLAGS if images is not None and FLAGS[name].present]
    if of_scores:
        raise UserError(f"--images predicts a folder; --{of_scores[0]} is for scoring: leave one of the two out")
    _check_lengths()
    size, of_plates = _pixel_size(FLAGS.pixel_size), cli.plate_classes(FLAGS)
    metrics = MetricChoice(tuple(FLAGS.metrics), FLAGS.tolerance, size, FLAGS.unit, of_plates)
    results, chosen = cli.result_options(FLAGS), cli.network_options(FLAGS) | cli.view_options(FLAGS)
    # After the flags: --help needs no jax.
    from unet_jax.runs.run_folder import check_is_run

    for workdir in FLAGS.workdir:
        check_is_run(workdir)
    from unet_jax.runs import predict, score

    if images is not None:
        predict.predict_images(FLAGS.workdir, images, out, flag="--workdir", **results, **chosen)
    else:
        data = {"split": FLAGS.split or "", "root": FLAGS.root or "", "fresh_data": FLAGS.fresh_data}
        several = {"uncertainty": FLAGS.uncertainty, "out": out, "overwrite": FLAGS.overwrite, "metrics": metrics}
        score.score_run(FLAGS.workdir, **data, **several, **chosen)


def _check_lengths() -> None:
    """Raises UserError if flags of lengths have no effect, or would give pixels the name of a unit."""
    scored = {"tolerance": {"boundary"}, "pixel_size": {"boundary", "plates"}, "unit": {"boundary", "plates"}}
    for name, groups in scored.items():
        if FLAGS[name].present and not groups & set(FLAGS.metrics):
            raise UserError(f"--{name} is for scores of lengths; add --metrics=boundary, or leave it out")
    if FLAGS["unit"].present and not FLAGS["pixel_size"].present:
        raise UserError(f"--unit={FLAGS.unit}: give the size of a pixel in it, too, such as --pixel_size=0.05")
    if FLAGS["unit"].present and "boundary" in FLAGS.metrics and not FLAGS["tolerance"].present:
        raise UserError(f"--unit={FLAGS.unit}: --tolerance is in this unit, too; give it, such as --tolerance=0.1")


def _pixel_size(values: Sequence[str]) -> tuple[float, float]:
    """Returns height and width of a pixel.

    Raises:
      UserError: there are not one or two numbers.
    """
    try:
        height, width = (float(value) for value in ([*values, *values] if len(values) == 1 else values))
    except ValueError as error:
        raise UserError(f"--pixel_size={','.join(values)}: give one number, or height,width") from error
    return height, width


def run() -> None:
    """Runs the command `eval`."""
    cli.run(main, __doc__, FLAGS)


if __name__ == "__main__":
    run()
