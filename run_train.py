"""Trains and scores one experiment: config in, workdir out.

    python run_train.py --config=configs/default.py --workdir=runs/electrodes
    python run_train.py --config=configs/battery_xray.py:FOLDER --workdir=runs/battery --config.optim.learning_rate=1e-3

The same command again goes on from the workdir's latest checkpoint, after a crash, a Ctrl-C or on another number of
devices. Every key and its meaning: configs/default.py. Results in the workdir: metrics.jsonl, curves.png, checkpoints/,
eval/ (scores, masks, overlays).
"""

import sys

from absl import flags
from ml_collections import config_flags

from unet_jax import cli

CONFIG = config_flags.DEFINE_config_file(
    "config", None, "File with get_config(); --config.KEY=VALUE sets one of its keys."
)
WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run: made if absent, resumed if it holds one.")
flags.mark_flags_as_required(["config", "workdir"])


def main() -> None:
    from unet_jax.training import loop  # after the flags: --help needs no jax

    try:
        loop.train_and_evaluate(CONFIG.value, WORKDIR.value)
    except loop.Interrupted as stopped:
        print(f"{stopped}; the same command goes on from there", file=sys.stderr)
        sys.exit(130)  # as after Ctrl-C: whoever started the run sees that it is not finished


if __name__ == "__main__":
    cli.run(main, __doc__)
