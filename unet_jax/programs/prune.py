"""Finds how far a trained U-Net++ can be pruned: scores and times every level, and writes the smallest good enough.

    unet-jax prune --workdir=runs/electrodes
    unet-jax prune --workdir=runs/electrodes --max_iou_drop=2 --mode=fast --out=runs/small
    unet-jax eval --workdir=runs/small

The run must have model.name unet_pp and model.deep_supervision. A table shows each level twice: averaged over its heads
(accurate) and by one head (fast). It holds parameters, FLOPs, memory, milliseconds per image on one device, and IoU with
intervals; the lines below it define each column.

The program chooses the smallest level whose IoU (pooled, mean over eval.classes, on --split, in --mode) lies at most
--max_iou_drop points below that of the deepest level in the same mode. OUT gets that level as a workdir that holds only its
parameters, and prune.json, prune.csv and prune.png. Its output is that of the whole network's head, bit by bit.

Status: 2 for bad input, with one line that says what; 130 where --retrain was stopped.
"""

import sys

from absl import flags

from unet_jax.runtime import cli

FLAGS = flags.FlagValues()
flags.DEFINE_string("workdir", None, "Folder of the run, as given to `unet-jax train`.", FLAGS, required=True)
flags.DEFINE_float(
    "max_iou_drop", 0.5, "Points of IoU that may be lost: 0.5 is 0.005.", lower_bound=0, flag_values=FLAGS
)
flags.DEFINE_string("split", "val", "train, val or test. A level chosen on test flatters its score there.", FLAGS)
flags.DEFINE_enum(
    "mode",
    None,
    ["accurate", "fast"],
    "The mode in which levels are compared. Default: eval.mode of the run.",
    FLAGS,
)
flags.DEFINE_integer(
    "level", 0, "Write this level instead of the one that is chosen. 0: the chosen one.", flag_values=FLAGS
)
flags.DEFINE_integer("rounds", 40, "How often each level and mode is timed.", lower_bound=1, flag_values=FLAGS)
flags.DEFINE_string("out", None, "Folder to write into. Default: WORKDIR/pruned-levelN.", FLAGS)
flags.DEFINE_bool("overwrite", False, "Replace a pruned network that is there, unless results were added to it.", FLAGS)
flags.DEFINE_string("root", None, "Where the run's data lie now, if not where they were.", FLAGS)
flags.DEFINE_bool(
    "retrain", False, "Also train that level alone, into WORKDIR/retrained-levelN-MODE, and compare.", FLAGS
)


def main() -> None:
    """Prunes the run that the flags name."""
    # After the flags: --help needs no jax.
    from unet_jax.runs.run_folder import check_is_run

    check_is_run(FLAGS.workdir)

    from unet_jax.analysis.prune import pruning
    from unet_jax.runs.stop_signal import Interrupted

    names = ("max_iou_drop", "split", "level", "rounds", "overwrite", "retrain")
    options = {name: getattr(FLAGS, name) for name in names}
    options |= {name: getattr(FLAGS, name) or "" for name in ("mode", "out", "root")}
    try:
        pruning.prune(FLAGS.workdir, **options)
    except Interrupted as stopped:
        print(f"{stopped}; the same command with --overwrite goes on from there", file=sys.stderr)
        sys.exit(130)


def run() -> None:
    """Runs the command `prune`."""
    cli.run(main, __doc__, FLAGS)


if __name__ == "__main__":
    run()
