"""Counts and measures the objects of images: those that a trained network finds, and those of true masks.

    unet-jax measure --model=electrodes --images=scans --out=measured
    unet-jax measure --workdir=runs/nuclei --images=slides --out=measured --split=distance --min_area=20
    unet-jax measure --workdir=runs/battery --images=scans --out=measured --pixel_size=0.05 --unit=mm
    unet-jax measure --truth=data/masks --class_names=background,anode,cathode --out=measured_truth
    unet-jax measure --workdir=runs/battery --images=data/images --truth=data/masks --out=measured
    unet-jax measure --plates --model=electrodes --images=scans --out=measured --min_overhang=10

OUT gets objects.csv (one row for each object: area, centroid, box, axes, perimeter, intensity, ...), images.csv (number, area and
coverage of the objects of each class), labels/CLASS/ (TIFF images of the objects' numbers) and outlines/ (GeoJSON, which
QuPath opens). objects/ has the table of each image. An object is a set of connected pixels of a class.

With a network and --truth, OUT/truth/ gets the same of the true masks. Objects are matched by their overlap (IoU of at least
0.5), and OUT/agreement.csv says for each column how far the measurements differ: bias and limits of agreement.

With --plates, the plates of an electrode stack are measured instead: OUT gets plates.csv (one row for each plate: polarity, tip,
overhang over its neighbours, with intervals where `unet-jax calibrate` has fitted them), cells.csv (one row for each image:
numbers, smallest and mean overhang, OK or NG), plates/ (the table of each image) and labels/. With --truth, plate_scores.csv says how
good they are.

The same command goes on where it was interrupted: it measures the images whose results are missing.

Status: 2 for bad input, with one line that says what; then nothing is written.
"""

import math

from absl import flags

from unet_jax.errors import UserError
from unet_jax.runtime import cli

FLAGS = flags.FlagValues()
flags.DEFINE_multi_string(
    "workdir", None, "The folder of a run. Given several times: the mean of the networks' probabilities.", FLAGS
)
flags.DEFINE_multi_string("model", None, "A shipped network by its name, or the folder of a run, as --workdir.", FLAGS)
flags.DEFINE_multi_string(
    "images",
    None,
    "A folder of images, an image file, or a pattern of names; may be given several times. With --truth alone: where the "
    "intensities of the true objects are measured.",
    FLAGS,
)
flags.DEFINE_string(
    "truth",
    None,
    "A folder of true masks with the names of the images: images of class ids, or a folder for each class with masks of 0 and "
    "255, as `unet-jax predict` writes them to masks/.",
    FLAGS,
)
flags.DEFINE_string("out", None, "Folder of the results; made if it does not exist.", FLAGS, required=True)
flags.DEFINE_float(
    "pixel_size",
    None,
    "The length of a pixel's side; adds columns in --unit. Default: as OME metadata, ImageJ or a resolution in centimetres "
    "say in the TIFF of each image, or else none.",
    flag_values=FLAGS,
)
flags.DEFINE_string("unit", "", "The unit of --pixel_size: nm, um, mm, cm or m.", FLAGS)
flags.DEFINE_integer(
    "connectivity",
    2,
    "1: pixels that share an edge are of one object. 2: pixels that share a corner only, too.",
    flag_values=FLAGS,
)
flags.DEFINE_bool("fill_holes", False, "Fill what an object encloses.", FLAGS)
flags.DEFINE_string(
    "split",
    "",
    "Split objects that touch, by a watershed: distance (on the distance to the border) or probability (of the network). "
    "An image is then held in memory as a whole.",
    FLAGS,
)
flags.DEFINE_float(
    "split_depth",
    0.0,
    "Two tops are two objects if the saddle between them lies more than this below the lower one: in pixels for distance "
    "(default 0.75), from 0 to 1 for probability (default 0.1).",
    flag_values=FLAGS,
)
flags.DEFINE_integer("min_area", 0, "Drop objects of fewer pixels.", flag_values=FLAGS)
flags.DEFINE_list(
    "class_names", [], "With --truth: the classes by id, with commas; the first is the background.", FLAGS
)
flags.DEFINE_list(
    "mask_values", [], "With --truth: the pixel values of class 0, 1, ..., with commas; none if they are ids.", FLAGS
)
flags.DEFINE_bool(
    "plates", False, "Measure the plates of an electrode stack, and their overhang, instead of objects.", FLAGS
)
cli.define_plate_classes(FLAGS, "With --plates")
flags.DEFINE_float(
    "min_overhang",
    None,
    "With --plates: an image with a smaller overhang is NG, another one OK. In the --unit of --pixel_size, or in pixels.",
    flag_values=FLAGS,
)
cli.define_network(FLAGS)
cli.define_view_choice(FLAGS)
cli.define_files(FLAGS)

# The flags that say how masks become objects, and those of plates.
OBJECT_FLAGS = ("connectivity", "fill_holes", "split", "split_depth", "min_area")
PLATE_FLAGS = (*cli.PLATE_CLASS_FLAGS, "min_overhang")
# The flags that choose a network.
NETWORK_FLAGS = ("checkpoint", "mode", "level", "weights", "views", "force_views")


def main() -> None:
    """Measures the objects, and prints what was written.

    Raises:
      UserError: flags are missing, or do not go together.
    """
    files, chosen = cli.file_options(FLAGS), cli.network_options(FLAGS) | cli.view_options(FLAGS)
    models, flag = (FLAGS.workdir, "--workdir") if FLAGS.workdir else (FLAGS.model, "--model")
    _check(models)
    try:
        mask_values = [int(value) for value in FLAGS.mask_values]
    except ValueError as error:
        raise UserError(f"--mask_values={','.join(FLAGS.mask_values)}: give whole numbers, with commas") from error
    # After the flags: --help needs no jax.
    from unet_jax.measurement import pixel_size
    from unet_jax.measurement.objects import Options

    options = Options(FLAGS.connectivity, FLAGS.fill_holes, FLAGS.split, FLAGS.split_depth, FLAGS.min_area)
    pixel = pixel_size.given(FLAGS.pixel_size, FLAGS.unit)
    common = {"class_names": FLAGS.class_names, "mask_values": mask_values, "flag": flag, **files, **chosen}
    paths = (models or (), FLAGS.images or (), FLAGS.truth or "", FLAGS.out)
    if FLAGS.plates:
        from unet_jax.runs.measure_plates import PlateOptions, measure_plates

        plate_options = PlateOptions(**cli.plate_classes(FLAGS), pixel=pixel, min_overhang=FLAGS.min_overhang)
        measure_plates(*paths, options=plate_options, **common)
        return
    from unet_jax.runs import measure

    measure.measure(*paths, options=options, pixel=pixel, **common)


def _check(models: list[str] | None) -> None:
    """Raises UserError if flags are missing, or do not go together."""
    if FLAGS.workdir and FLAGS.model:
        raise UserError(
            "--workdir and --model both name a network; give one of them, several times for several networks"
        )
    if not models and not FLAGS.truth:
        raise UserError(
            "--workdir, --model or --truth is missing; for example: unet-jax measure --model=electrodes --images=scans "
            "--out=measured"
        )
    if models and not FLAGS.images:
        raise UserError("--images is missing: a network needs images; give a folder of them")
    if not models and (unused := next((name for name in NETWORK_FLAGS if FLAGS[name].present), "")):
        raise UserError(f"--{unused} is for a network; add --workdir or --model, or leave it out")
    if FLAGS.recursive and not FLAGS.images:
        raise UserError("--recursive takes the images of subfolders, and --truth alone has none; leave it out")
    if FLAGS.min_overhang is not None and not math.isfinite(FLAGS.min_overhang):
        raise UserError(
            f"--min_overhang={FLAGS.min_overhang}: give a number, in the --unit of --pixel_size or in pixels"
        )
    of_other = OBJECT_FLAGS if FLAGS.plates else PLATE_FLAGS
    if unused := next((name for name in of_other if FLAGS[name].present), ""):
        raise UserError(
            f"--{unused} is for objects, and --plates measures plates; leave one of the two out"
            if FLAGS.plates
            else f"--{unused} is for plates; add --plates, or leave it out"
        )
    if (FLAGS.class_names or FLAGS.mask_values) and not FLAGS.truth:
        raise UserError("--class_names and --mask_values say how true masks are read; add --truth, or leave them out")


def run() -> None:
    """Runs the command `measure`."""
    cli.run(main, __doc__, FLAGS)


if __name__ == "__main__":
    run()
