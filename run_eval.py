"""Scores a trained run on a split, or turns a folder of images into masks.

    python run_eval.py --workdir=runs/electrodes                          # scores the best checkpoint on test
    python run_eval.py --workdir=runs/electrodes --mode=fast --level=2    # U-Net++ pruned to level 2, one head
    python run_eval.py --workdir=runs/electrodes --images=FOLDER --out=FOLDER

Scores go to WORKDIR/eval/SPLIT.json, with masks and overlays beside it. With --images, OUT gets for each image a PNG of
class ids, one 0/255 mask per reported class, and an overlay. Config and classes come from the workdir.
"""

from absl import flags

from unet_jax.errors import UserError
from unet_jax.runtime import cli

WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run, as given to run_train.py.")
CHECKPOINT = flags.DEFINE_string("checkpoint", "best", "best (on val), latest, or a step.")
SPLIT = flags.DEFINE_string(
    "split", None, "train, val or test. Default: test, or val where there is no test, and it is said."
)
MODE = flags.DEFINE_enum(
    "mode", None, ["accurate", "fast"], "accurate: mean over the heads; fast: one head. Default: eval.mode of the run."
)
LEVEL = flags.DEFINE_integer("level", 0, "U-Net++'s pruning level: runs only the nodes it needs. 0: as trained.")
WEIGHTS = flags.DEFINE_enum(
    "weights",
    None,
    ["raw", "ema"],
    "ema: their moving average, of a run that kept one. Default: eval.weights of the run.",
)
IMAGES = flags.DEFINE_string("images", None, "Folder of images without masks, to predict instead of scoring a split.")
OUT = flags.DEFINE_string("out", None, "Folder for what --images gives.")
OVERWRITE = flags.DEFINE_bool("overwrite", False, "Replace results that are in --out already.")
ROOT = flags.DEFINE_string("root", None, "Where the run's data lie now, if not where they were.")
flags.mark_flag_as_required("workdir")


def main() -> None:
    from unet_jax.runs import score

    if (IMAGES.value is None) != (OUT.value is None) or "" in (IMAGES.value, OUT.value):
        raise UserError(
            "--images and --out go together, and neither is empty: the images, and the folder for their masks"
        )
    if IMAGES.value is not None and (SPLIT.value or ROOT.value):
        raise UserError("--images predicts a folder; --split and --root are for scoring: leave one of the two out")
    chosen = {"checkpoint": CHECKPOINT.value, "mode": MODE.value or "", "level": LEVEL.value}
    chosen["weights"] = WEIGHTS.value or ""
    if IMAGES.value is not None:
        score.predict_images(WORKDIR.value, IMAGES.value, OUT.value, overwrite=OVERWRITE.value, **chosen)
    else:
        score.score_run(WORKDIR.value, split=SPLIT.value or "", root=ROOT.value or "", **chosen)


if __name__ == "__main__":
    cli.run(main, __doc__, processes=True)
