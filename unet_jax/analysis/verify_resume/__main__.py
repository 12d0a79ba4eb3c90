"""Checks that a run of a config that is killed and resumed gives the same bits as an undisturbed one.

    python -m unet_jax.analysis.verify_resume --config=configs/smoke.py --workdir=runs/check
    python -m unet_jax.analysis.verify_resume --config=configs/default.py --workdir=runs/check --steps=24 --kills=6

Trains the config's first steps twice with run_train.py: once undisturbed, once with SIGKILLs at random moments, a third of
them in a save. Then compares the last checkpoint and the rows of metrics.jsonl bit by bit. WORKDIR/verify_resume gets both
runs and what they printed. On a GPU add --deterministic, or run after run differs.

Status: 0 for equal, 1 for different, 2 for bad input.
"""

import sys
from pathlib import Path

from absl import flags
from ml_collections import config_flags

from unet_jax.errors import UserError
from unet_jax.runtime import cli

PROGRAM = Path(__file__).absolute().parents[3] / "run_train.py"


def define_flags() -> None:
    config_flags.DEFINE_config_file("config", None, "File with get_config(); --config.KEY=VALUE sets one of its keys.")
    flags.DEFINE_string("workdir", None, "Local folder that gets the folder verify_resume.", required=True)
    flags.DEFINE_integer("steps", 12, "Steps that each run trains.", lower_bound=6)
    flags.DEFINE_integer("kills", 3, "Kills of the second run; a third of them, rounded up, in a save.", lower_bound=1)
    flags.DEFINE_integer("sweep_index", None, "Point, from 0, of the sweep that the config file lists.")
    flags.DEFINE_bool("deterministic", False, "Train with run_train.py --deterministic.")
    flags.mark_flag_as_required("config")


def main() -> None:
    # After the flags: --help needs no jax.
    from unet_jax.analysis.verify_resume.verify import verify_resume
    from unet_jax.experiment import sweep

    values = flags.FLAGS
    if not PROGRAM.exists():
        raise UserError(f"{PROGRAM} is not there; run this from a checkout of the repository")
    config, workdir = values.config, values.workdir
    if values.sweep_index is not None:
        workdir = sweep.apply_sweep_index(
            config,
            workdir,
            values.sweep_index,
            config_file=config_flags.get_config_filename(values["config"]),
            given=config_flags.get_override_values(values["config"]),
        )
    # The runs are of one process each, also within a job of several.
    command = [sys.executable, str(PROGRAM), "--nomultiprocess"]
    if values.deterministic:
        command.append("--deterministic")
    if not values.compilation_cache:
        command.append("--nocompilation_cache")
    equal = verify_resume(config, workdir, command=command, num_steps=values.steps, num_kills=values.kills)
    if not equal:
        sys.exit(1)


if __name__ == "__main__":
    define_flags()
    cli.run(main, __doc__)
