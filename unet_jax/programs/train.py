"""Trains one experiment from a config, scores it, and writes everything into a workdir.

    unet-jax train --config=default --workdir=runs/electrodes
    unet-jax train --config=battery_xray:FOLDER --workdir=runs/battery --config.optim.learning_rate=1e-3
    unet-jax train --config=default --config.model=unet --workdir=runs/unet
    unet-jax train --config=electrodes_sweep --workdir=runs/sweep --sweep_index=0

The last command trains one point of a sweep; get_sweep() of the config file lists the points. A job array of a cluster
can train all of them.

The same command again resumes from the workdir's latest checkpoint: after a crash, after Ctrl-C, or on another number of
devices. Every key and its meaning: configs/default.py. The workdir gets metrics.jsonl, curves.png, checkpoints/, and
eval/ with scores, masks and overlays.

Status: 2 for bad input, with one line that says what; 130 where the run was stopped before its end.
"""

import sys

from absl import flags

from unet_jax.runtime import cli

FLAGS = flags.FlagValues()
cli.define_config(FLAGS)
flags.DEFINE_string(
    "workdir", None, "Folder of the run: made if absent, resumed if it holds one.", FLAGS, required=True
)
flags.DEFINE_integer(
    "sweep_index",
    None,
    "Point, from 0, of the sweep that the config file lists; its run gets a folder in --workdir.",
    flag_values=FLAGS,
)
flags.DEFINE_string(
    "profile_steps",
    "",
    "FIRST:LAST, steps to trace (both included) into WORKDIR/profile, e.g. 10:15; for XProf.",
    FLAGS,
)
flags.DEFINE_bool("deterministic", False, "Ask XLA for the same bits in every run on GPUs; slower.", FLAGS)
cli.define_fresh_data(FLAGS)
cli.define_job(FLAGS)


def before_devices() -> None:
    """Sets what JAX reads when it starts its devices, so before several processes join."""
    if FLAGS.deterministic:
        # After the flags, as all imports of this kind: --help needs no jax.
        from unet_jax.runtime import determinism

        determinism.enable_gpu_determinism()


def main() -> None:
    """Trains the run that the flags describe, or resumes it."""
    from unet_jax.experiment import imports, sweep
    from unet_jax.experiment.sections import check_root, read_sections
    from unet_jax.tracking.profile_steps import read_steps

    # Bad values are found before the imports that take seconds.
    read_steps(FLAGS.profile_steps)
    config, workdir = FLAGS.config, FLAGS.workdir
    file, keys = cli.config_file(FLAGS), cli.config_keys(FLAGS)
    if FLAGS.sweep_index is None:
        sweep.check_no_sweep(file)
    else:
        workdir = sweep.apply_sweep_index(config, workdir, FLAGS.sweep_index, config_file=file, given=keys)
    imports.add_config_file(config, file)
    check_root(config, file)
    read_sections(config)
    if FLAGS.fresh_data:
        from unet_jax.data.store import cache

        cache.forget_digests(config.data.cache_dir)

    from unet_jax.runs import loop
    from unet_jax.runs.stop_signal import Interrupted

    try:
        loop.train_and_evaluate(config, workdir, profile_steps=FLAGS.profile_steps)
    except Interrupted as interrupted:
        print(f"{interrupted}; the same command goes on from there", file=sys.stderr)
        # As after Ctrl-C: the caller sees that the run is not finished.
        sys.exit(130)


def run() -> None:
    """Runs the command `train`."""
    cli.run(main, __doc__, FLAGS, before=before_devices)


if __name__ == "__main__":
    run()
