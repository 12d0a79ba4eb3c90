"""What the skip connections of trained networks are good for: place, boundaries, and maps that fit each other.

    python -m unet_jax.analysis.skips --workdir=runs/unet --workdir=runs/unet_pp
    python -m unet_jax.analysis.skips --workdir=runs/unet --mean=both --out=runs/skips
    python -m unet_jax.analysis.skips --workdir=runs/unet --workdir=runs/unet_pp --similarity

Localisation: IoU and boundary IoU of a split (pooled), first of the network as it is, then with the output of each node,
and with each skip connection alone, replaced by its mean of each channel; other readers of the same map still see the
real one. --mean=set takes the mean over all images of the split, which leaves nothing of the image; --mean=image that of
each image's own map, which leaves what is in it and takes where; both are of the maps as the network computes them, mirrored
padding included. The table shows points lost. OUT gets skips.csv, skips.json and skips.png, a column of panels for each run.

Semantic gap: --similarity replaces nothing and compares the maps that each node concatenates: linear CKA over all pixels of
the split, 1 for equal up to rotation and scale. OUT gets similarity.csv, similarity.json and similarity.png.

The networks may be any, on the same images. Status: 2 for bad input, with one line that says what.
"""

from absl import flags

from unet_jax.runtime import cli


def define_flags() -> None:
    flags.DEFINE_multi_string(
        "workdir", None, "Folder of a run, as given to run_train.py; once for each run.", required=True
    )
    flags.DEFINE_string("split", "val", "train, val or test.")
    flags.DEFINE_enum("mean", "set", ["set", "image", "both"], "The mean that stands for a map.")
    flags.DEFINE_float("boundary_distance", 0.02, "Distance of boundary IoU from the contour, in image diagonals.")
    flags.DEFINE_bool("similarity", False, "Compare the maps that nodes join, and replace nothing.")
    flags.DEFINE_string("checkpoint", "best", "best, latest or a step.")
    flags.DEFINE_enum("mode", None, ["accurate", "fast"], "All heads or one. Default: eval.mode of each run.")
    flags.DEFINE_string(
        "out", "", "Folder to write into; what is there is replaced. Default: skips in the first workdir."
    )
    flags.DEFINE_string("root", "", "Where the runs' data lie now, if not where they were.")


def main() -> None:
    # After the flags: --help needs no jax.
    from unet_jax.analysis.skips.study import study

    values = flags.FLAGS
    names = ("split", "mean", "boundary_distance", "similarity", "checkpoint", "out", "root")
    given = {name: values[name].value for name in names} | {"mode": values.mode or ""}
    study(values.workdir, **given)


if __name__ == "__main__":
    define_flags()
    cli.run(main, __doc__)
