"""Compares trained runs: scores over seeds with intervals, a paired test between configs, and the gap of train to val.

    unet-jax compare runs/unet-seed0 runs/unet-seed1 runs/unet_pp-seed0 runs/unet_pp-seed1 --out=OUT
    unet-jax compare runs/mine-* --splits=train,val --out=OUT

Runs that differ only in their seed are one group. A group is named by the keys in which the groups differ. Keys that change
no result, such as data.cache_dir or eval.num_pictures, do not count. All runs must be on the same data.

Each DIR's scores are those in DIR/eval/SPLIT.json: of its best checkpoint, in its eval.mode. What is missing is scored and
written there, as `unet-jax eval --split=SPLIT` does. A file of another checkpoint or mode, or one that lacks the pixel
counts of the reported classes, ends the program; with --overwrite it is scored anew.

The tables go to stdout; the lines below them define each figure, and say about how many seeds and images it takes to tell a
difference of 0.01. Images that share a group in the data, such as a field of view, are alike: intervals and tests take them as
one unit. With train and val the tables show the gap between the two as well. OUT gets compare.csv (a row for each group of runs),
compare.json (everything) and compare.png. Where groups of runs differ in
data.train_fraction it also gets gap.png, the gap over the fraction. Files of the same names are replaced.

Status: 2 for bad input, with one line that says what.
"""

from absl import flags

from unet_jax.runtime import cli

FLAGS = flags.FlagValues()
flags.DEFINE_list(
    "splits", [], "Some of train, val, test, e.g. train,val. Default: test, or val where there is no test.", FLAGS
)
flags.DEFINE_enum("metric", "iou", ["iou", "dice"], "What is compared: the mean over eval.classes.", FLAGS)
flags.DEFINE_string("out", "", "Folder to write into. Default: only missing scores are written.", FLAGS)
flags.DEFINE_bool(
    "overwrite", False, "Replace scores that are not of the best checkpoint, or lack pixel counts.", FLAGS
)


def main(*workdirs: str) -> None:
    """Compares the runs in these folders."""
    # After the flags: --help needs no jax.
    from unet_jax.analysis.compare import comparison

    names = ("splits", "metric", "out", "overwrite")
    comparison.compare(workdirs, **{name: getattr(FLAGS, name) for name in names})


def run() -> None:
    """Runs the command `compare`."""
    cli.run(main, __doc__, FLAGS, arguments=("DIR...",))


if __name__ == "__main__":
    run()
