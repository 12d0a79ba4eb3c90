"""Finds how far a trained U-Net++ can be pruned: scores and times every level, and writes the smallest good enough.

    python -m unet_jax.analysis.prune --workdir=runs/electrodes
    python -m unet_jax.analysis.prune --workdir=runs/electrodes --max_iou_drop=2 --mode=fast --out=runs/small
    python run_eval.py --workdir=runs/small

The run is of model.name unet_pp with model.deep_supervision. For each level, averaged over heads (accurate) and by one
head (fast), a table shows parameters, FLOPs, memory, milliseconds an image on one device, and IoU with intervals; the
lines below it say what each column is.

Chosen is the smallest level whose IoU (pooled, mean over eval.classes, on --split, in --mode) lies at most --max_iou_drop
points below that of the deepest level in the same mode. OUT gets it as a workdir, with its own parameters alone, and
prune.json, prune.csv and prune.png. Its output is that of the whole network's head, bit by bit.

Status: 2 for bad input, with one line that says what; 130 where --retrain was stopped.
"""

import sys

from absl import flags

from unet_jax.runtime import cli


def define_flags() -> None:
    flags.DEFINE_string("workdir", None, "Folder of the run, as given to run_train.py.", required=True)
    flags.DEFINE_float("max_iou_drop", 0.5, "Points of IoU that may be lost: 0.5 is 0.005.", lower_bound=0)
    flags.DEFINE_string("split", "val", "train, val or test. A level chosen on test flatters its score there.")
    flags.DEFINE_enum(
        "mode", None, ["accurate", "fast"], "In which levels are compared. Default: eval.mode of the run."
    )
    flags.DEFINE_integer("level", 0, "Write this level, whatever the rule chooses. 0: the one that it chooses.")
    flags.DEFINE_integer("rounds", 40, "Turns of each level and mode that are timed.", lower_bound=1)
    flags.DEFINE_string("out", None, "Folder to write into. Default: WORKDIR/pruned-levelN.")
    flags.DEFINE_bool("overwrite", False, "Replace a pruned network that is there, unless results were added to it.")
    flags.DEFINE_string("root", None, "Where the run's data lie now, if not where they were.")
    flags.DEFINE_bool("retrain", False, "Also train that level alone, into WORKDIR/retrained-levelN-MODE, and compare.")


def main() -> None:
    # After the flags: --help needs no jax.
    from unet_jax.analysis.prune import pruning
    from unet_jax.runs.stop_signal import Interrupted

    names = ("max_iou_drop", "split", "level", "rounds", "overwrite", "retrain")
    given = {name: flags.FLAGS[name].value for name in names}
    given |= {name: flags.FLAGS[name].value or "" for name in ("mode", "out", "root")}
    try:
        pruning.prune(flags.FLAGS.workdir, **given)
    except Interrupted as stopped:
        print(f"{stopped}; the same command with --overwrite goes on from there", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    define_flags()
    cli.run(main, __doc__)
