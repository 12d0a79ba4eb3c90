"""Trains and scores one experiment: config in, workdir out.

    python run_train.py --config=configs/default.py --workdir=runs/electrodes
    python run_train.py --config=configs/battery_xray.py:FOLDER --workdir=runs/battery --config.optim.learning_rate=1e-3

    python run_train.py --config=configs/electrodes_sweep.py --workdir=runs/sweep --sweep_index=0

The last is one point of a sweep (get_sweep() of the config file), such as a job of a cluster's job array.

    python run_train.py --config=configs/smoke.py --workdir=runs/check --verify_resume

This one trains nothing of use: it kills and resumes the config's first steps and says whether they come out equal.

The same command again goes on from the workdir's latest checkpoint, after a crash, a Ctrl-C or on another number of
devices. Every key and its meaning: configs/default.py. Results in the workdir: metrics.jsonl, curves.png, checkpoints/,
eval/ (scores, masks, overlays).
"""

import sys

from absl import flags
from ml_collections import config_flags

from unet_jax.errors import UserError
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
VERIFY = flags.DEFINE_bool(
    "verify_resume", False, "Train the first steps twice, once killed and resumed, and compare bit by bit."
)
VERIFY_STEPS = flags.DEFINE_integer("verify_steps", 12, "Steps that --verify_resume trains.", lower_bound=6)
VERIFY_KILLS = flags.DEFINE_integer("verify_kills", 3, "Kills of --verify_resume, a third in a save.", lower_bound=1)
DETERMINISTIC = flags.DEFINE_bool("deterministic", False, "Ask XLA for the same bits in every run on GPUs; slower.")
flags.mark_flags_as_required(["config", "workdir"])


def before_devices() -> None:
    """What must be asked for before JAX starts its devices, and so before several processes join."""
    if DETERMINISTIC.value:
        determinism.enable_gpu_determinism()


def main() -> None:
    from unet_jax.analysis.verify_resume.verify import verify_resume
    from unet_jax.experiment import sweep
    from unet_jax.runs import loop
    from unet_jax.runtime import parallel  # after the flags: --help needs no jax

    config, workdir = CONFIG.value, WORKDIR.value
    if SWEEP_INDEX.value is not None:
        path, _, _ = config_flags.get_config_filename(flags.FLAGS["config"]).partition(":")
        point = sweep.choose_point(sweep.read_sweep(path), SWEEP_INDEX.value)
        sweep.apply_point(config, point, given=config_flags.get_override_values(flags.FLAGS["config"]))
        workdir = f"{workdir}/{sweep.point_name(SWEEP_INDEX.value, point)}"
        print(f"point {SWEEP_INDEX.value} of the sweep: {sweep.describe_point(point)}; into {workdir}")
    if VERIFY.value and parallel.process_count() > 1:
        raise UserError("--verify_resume is for one process: add --nomultiprocess, and no --coordinator")
    if VERIFY.value:
        own = ("config", "workdir", "sweep_index", "profile_steps", "verify_resume", "verify_steps", "verify_kills")
        passed_on = cli.given_flags(exclude=own)
        command = [sys.executable, __file__, *passed_on]
        steps, kills = VERIFY_STEPS.value, VERIFY_KILLS.value
        sys.exit(not verify_resume(config, workdir, command=command, num_steps=steps, num_kills=kills))
    try:
        loop.train_and_evaluate(config, workdir, profile_steps=PROFILE_STEPS.value)
    except loop.Interrupted as stopped:
        print(f"{stopped}; the same command goes on from there", file=sys.stderr)
        sys.exit(130)  # as after Ctrl-C: whoever started the run sees that it is not finished


if __name__ == "__main__":
    cli.run(main, __doc__, processes=True, before=before_devices)
