"""Compares trained runs: scores over seeds with intervals, a paired test between configs, and the gap of train to val.

    python -m unet_jax.analysis.compare runs/unet-seed0 runs/unet-seed1 runs/unet_pp-seed0 runs/unet_pp-seed1 --out=OUT
    python -m unet_jax.analysis.compare runs/mine-* --splits=train,val --out=OUT

Runs that differ in their seed alone are one group, named by what tells the groups apart. Keys that change no result, such
as data.cache_dir or eval.num_pictures, do not count. All runs must be on the same data.

Each DIR's scores are those in DIR/eval/SPLIT.json, of its best checkpoint in its own eval.mode. What is missing is scored
and written there, as by run_eval.py --split=SPLIT. A file of another checkpoint or mode, or without the pixel counts of the
reported classes, ends the program; with --overwrite it is scored anew.

The tables go to stdout, and the lines below them say what each figure is. With train and val they show the gap of the two,
too. OUT gets compare.csv (a row for each group), compare.json (all of it), compare.png, and, where groups differ in
data.train_fraction, gap.png, the gap by the fraction. Files of the same names are replaced.
"""

from absl import flags

from unet_jax.runtime import cli


def define_flags() -> None:
    flags.DEFINE_list(
        "splits", [], "Of train, val and test, e.g. train,val. Default: test, or val where there is no test."
    )
    flags.DEFINE_enum("metric", "iou", ["iou", "dice"], "What is compared, the mean over eval.classes.")
    flags.DEFINE_string("out", "", "Folder to write into. Default: nothing but missing scores is written.")
    flags.DEFINE_bool("overwrite", False, "Replace scores that are not of the best checkpoint, or lack pixel counts.")


def main(*workdirs: str) -> None:
    # After the flags: --help needs no jax.
    from unet_jax.analysis.compare import comparison

    names = ("splits", "metric", "out", "overwrite")
    comparison.compare(workdirs, **{name: flags.FLAGS[name].value for name in names})


if __name__ == "__main__":
    define_flags()
    cli.run(main, __doc__, arguments=("DIR...",))
