"""Checks that a run that is killed and resumed gives the same bits as an undisturbed one.

    unet-jax verify-resume --config=smoke --workdir=runs/proof
    unet-jax verify-resume --config=default --workdir=runs/proof --steps=24 --kills=6

Trains the config's first steps twice: once undisturbed, once with SIGKILLs at random moments, a third of them in a save.
Then compares the last checkpoint and the rows of metrics.jsonl bit by bit. WORKDIR/verify_resume gets both runs and
their output. On a GPU add --deterministic; without it two runs may differ. On a CPU the result holds for the number of cores
that the report names.

Status: 0 for equal, 1 for different, 2 for bad input.
"""

import sys

from absl import flags

from unet_jax.runtime import cli

FLAGS = flags.FlagValues()
cli.define_config(FLAGS)
flags.DEFINE_string("workdir", None, "Local folder that gets the folder verify_resume.", FLAGS, required=True)
flags.DEFINE_integer("steps", 12, "Steps that each run trains.", lower_bound=6, flag_values=FLAGS)
flags.DEFINE_integer(
    "kills", 3, "Kills of the second run; a third of them, rounded up, in a save.", lower_bound=1, flag_values=FLAGS
)
flags.DEFINE_integer("sweep_index", None, "Point, from 0, of the sweep that the config file lists.", flag_values=FLAGS)
flags.DEFINE_bool("deterministic", False, "Train with `unet-jax train --deterministic`.", FLAGS)


def main() -> None:
    """Checks the config that the flags name; exits with status 1 where the runs differ."""
    # After the flags: --help needs no jax.
    from unet_jax.experiment import imports, sweep
    from unet_jax.experiment.sections import check_root, read_sections

    config, workdir = FLAGS.config, FLAGS.workdir
    file, keys = cli.config_file(FLAGS), cli.config_keys(FLAGS)
    if FLAGS.sweep_index is not None:
        workdir = sweep.apply_sweep_index(config, workdir, FLAGS.sweep_index, config_file=file, given=keys)
    imports.add_config_file(config, file)
    check_root(config, file)
    read_sections(config)

    from unet_jax.analysis.verify_resume.verify import verify_resume

    # The runs are of one process each, also within a job of several.
    command = [sys.executable, "-m", "unet_jax.programs.train", "--nomultiprocess"]
    if FLAGS.deterministic:
        command.append("--deterministic")
    if not FLAGS.compilation_cache:
        command.append("--nocompilation_cache")
    equal = verify_resume(config, workdir, command=command, num_steps=FLAGS.steps, num_kills=FLAGS.kills)
    if not equal:
        sys.exit(1)


def run() -> None:
    """Runs the command `verify-resume`."""
    cli.run(main, __doc__, FLAGS)


if __name__ == "__main__":
    run()
