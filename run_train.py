"""Trains and scores one experiment: config in, workdir out.

    python run_train.py --config=configs/default.py --workdir=runs/electrodes
    python run_train.py --config=configs/battery_xray.py:FOLDER --workdir=runs/battery --config.optim.learning_rate=1e-3

    python run_train.py --config=configs/electrodes_sweep.py --workdir=runs/sweep --sweep_index=0

The last is one point of a sweep (get_sweep() of the config file), such as a job of a cluster's job array.

The same command again resumes from the workdir's latest checkpoint, after a crash, a Ctrl-C or on another number of
devices. Every key and its meaning: configs/default.py. Results in the workdir: metrics.jsonl, curves.png, checkpoints/,
eval/ (scores, masks, overlays).
"""

import sys

from absl import flags
from ml_collections import config_flags

from unet_jax.runtime import cli, determinism

CONFIG = config_flags.DEFINE_config_file(
    "config", None, "File with get_config(); --config.KEY=VALUE sets one of its keys."
)
SWEEP_INDEX = flags.DEFINE_integer(
    "sweep_index", None, "Point, from 0, of the sweep that the config file lists; its run gets a folder in --workdir."
)
PROFILE_STEPS = flags.DEFINE_string(
    "profile_steps", "", "FIRST:LAST, steps to trace (both included) into WORKDIR/profile, e.g. 10:15; for XProf."
)
WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run: made if absent, resumed if it holds one.")
DETERMINISTIC = flags.DEFINE_bool("deterministic", False, "Ask XLA for the same bits in every run on GPUs; slower.")
flags.mark_flags_as_required(["config", "workdir"])


def before_devices() -> None:
    """Sets what JAX reads when it starts its devices, so before several processes join."""
    if DETERMINISTIC.value:
        determinism.enable_gpu_determinism()


def main() -> None:
    # After the flags: --help needs no jax.
    from unet_jax.experiment import sweep
    from unet_jax.runs import loop
    from unet_jax.runs.stop_signal import Interrupted

    config, workdir = CONFIG.value, WORKDIR.value
    if SWEEP_INDEX.value is not None:
        workdir = sweep.apply_sweep_index(
            config,
            workdir,
            SWEEP_INDEX.value,
            config_file=config_flags.get_config_filename(flags.FLAGS["config"]),
            given=config_flags.get_override_values(flags.FLAGS["config"]),
        )
    try:
        loop.train_and_evaluate(config, workdir, profile_steps=PROFILE_STEPS.value)
    except Interrupted as interrupted:
        print(f"{interrupted}; the same command goes on from there", file=sys.stderr)
        # As after Ctrl-C: the caller sees that the run is not finished.
        sys.exit(130)


if __name__ == "__main__":
    cli.run(main, __doc__, processes=True, before=before_devices)
