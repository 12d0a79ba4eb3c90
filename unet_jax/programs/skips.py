"""Measures what the skip connections of trained networks contribute: localisation, boundaries, similar maps.

    unet-jax skips --workdir=runs/unet --workdir=runs/unet_pp
    unet-jax skips --workdir=runs/unet --mean=both --out=runs/skips
    unet-jax skips --workdir=runs/unet --workdir=runs/unet_pp --similarity

Localisation: it measures IoU and boundary IoU of a split (pooled), first of the unchanged network. Then it replaces the
output of each node, and of each skip connection alone, by the mean of each channel, and measures again. Other readers
of the same map still get the real one. --mean=set takes the mean over all images of the split, which removes all
information about the image.
--mean=image takes the mean over each image's map, which keeps what is in the image and removes where it is. Both are means
of the maps as the network computes them, mirrored padding included. The table shows points lost. OUT gets skips.csv,
skips.json and skips.png, a column of panels for each run.

Semantic gap: --similarity replaces nothing. It compares the maps that each node concatenates by linear CKA over all pixels
of the split: 1 for maps that are equal up to rotation and scale. OUT gets similarity.csv, similarity.json and
similarity.png.

Any networks can be compared, on the same images.

Status: 2 for bad input, with one line that says what.
"""

from absl import flags

from unet_jax.runtime import cli

FLAGS = flags.FlagValues()
flags.DEFINE_multi_string(
    "workdir",
    None,
    "Folder of a run, as given to `unet-jax train`; once for each run.",
    flag_values=FLAGS,
    required=True,
)
flags.DEFINE_string("split", "val", "train, val or test.", FLAGS)
flags.DEFINE_enum("mean", "set", ["set", "image", "both"], "The mean that replaces a map.", FLAGS)
flags.DEFINE_float(
    "boundary_distance", 0.02, "Distance of boundary IoU from the contour, in image diagonals.", flag_values=FLAGS
)
flags.DEFINE_bool("similarity", False, "Compare the maps that nodes join, and replace nothing.", FLAGS)
flags.DEFINE_string("checkpoint", "best", "best, latest or a step.", FLAGS)
flags.DEFINE_enum("mode", None, ["accurate", "fast"], "All heads or one. Default: eval.mode of each run.", FLAGS)
flags.DEFINE_string(
    "out", "", "Folder to write into; what is there is replaced. Default: skips in the first workdir.", FLAGS
)
flags.DEFINE_string("root", "", "Where the runs' data lie now, if not where they were.", FLAGS)


def main() -> None:
    """Studies the runs that the flags name."""
    # After the flags: --help needs no jax.
    from unet_jax.runs.run_folder import check_is_run

    for workdir in FLAGS.workdir:
        check_is_run(workdir)

    from unet_jax.analysis.skips.study import study

    names = ("split", "mean", "boundary_distance", "similarity", "checkpoint", "out", "root")
    study(FLAGS.workdir, mode=FLAGS.mode or "", **{name: getattr(FLAGS, name) for name in names})


def run() -> None:
    """Runs the command `skips`."""
    cli.run(main, __doc__, FLAGS)


if __name__ == "__main__":
    run()
