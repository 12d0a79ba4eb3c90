"""Fits the temperature that makes the probabilities of a run frequencies, on its val split.

    unet-jax calibrate --workdir=runs/electrodes
    unet-jax predict --model=runs/electrodes scans/ --out=masks --save=probabilities --calibrated
    unet-jax eval --workdir=runs/electrodes --metrics=calibration --calibrated

Where the data have plates (electrodes), it also fits the intervals of the overhangs that `unet-jax measure --plates` writes.

The temperature goes to WORKDIR/calibration.json. It holds for the network that was chosen: checkpoint, mode, level, weights and
views; predict and eval refuse it for another one. Masks do not change, probabilities do.

Status: 2 for bad input, with one line that says what.
"""

from absl import flags

from unet_jax.runtime import cli

FLAGS = flags.FlagValues()
flags.DEFINE_string("workdir", None, "Folder of the run, as given to `unet-jax train`.", FLAGS, required=True)
cli.define_network(FLAGS)
cli.define_view_choice(FLAGS)
cli.define_plate_classes(FLAGS, "Where the data have plates")
flags.DEFINE_string("root", None, "Where the run's data lie now, if not where they were.", FLAGS)
cli.define_job(FLAGS)


def main() -> None:
    """Fits the temperature, writes it and prints it."""
    chosen = cli.network_options(FLAGS) | cli.view_options(FLAGS)
    # After the flags: --help needs no jax.
    from unet_jax.runs.run_folder import check_is_run

    check_is_run(FLAGS.workdir)
    from unet_jax.runs.calibration.fit import calibrate

    calibrate(FLAGS.workdir, root=FLAGS.root or "", plate_classes=cli.plate_classes(FLAGS), **chosen)


def run() -> None:
    """Runs the command `calibrate`."""
    cli.run(main, __doc__, FLAGS)


if __name__ == "__main__":
    run()
