"""Measures how much of the loss's gradient reaches each convolution, compared between runs and steps.

    unet-jax gradients --workdir=runs/electrodes --steps=0,50,latest
    unet-jax gradients --workdir=runs/unet --workdir=runs/unet_pp --steps=0,200 --out=runs/gradients
    unet-jax gradients --config=electrodes_fc_densenet --steps=0 --out=runs/gradients

For each run and step s it takes the state after s steps and the batch on which that state is trained next. Of that
batch's loss, augmented and with dropout as in training, it takes the gradient for each convolution's kernel, before
clipping. A state without a checkpoint is made again: the run is trained on in memory from the nearest checkpoint before
it, or from step 0. The program first prints how many steps that takes. The run's data must be available. With the
packages and the number of devices of the run, the state equals the run's, bit by bit.

The measure is |g| / |w|, a kernel's gradient norm over its norm: the relative change by a step of gradient descent at
rate 1, the inverse of the trust ratio of You et al., "Large Batch Training of Convolutional Networks", 2017. It can be
compared between layers of any size and scale; |g| and its root mean square depend on both. Depth is the number of
convolutions on the longest path from the image. A gradient is of one batch, so it is noisy.

OUT gets gradients.csv (a line for each run, step and layer, with all three) and gradients.png, a panel for each step.

Status: 2 for bad input, with one line that says what.
"""

from absl import flags

from unet_jax.runtime import cli

FLAGS = flags.FlagValues()
flags.DEFINE_multi_string(
    "workdir", [], "Folder of a run, as given to `unet-jax train`; once for each run.", flag_values=FLAGS
)
cli.define_config(FLAGS, required=False)
flags.DEFINE_list("steps", ["0", "latest"], "Steps with commas between: numbers from 0, best, latest.", FLAGS)
flags.DEFINE_string("out", "", "Folder to write into. Default, for one run: WORKDIR/gradients.", FLAGS)


def main() -> None:
    """Measures the runs and the config that the flags name."""
    from pathlib import Path

    name = ""
    if FLAGS.config is not None:
        from unet_jax.experiment.sections import read_sections

        name = Path(cli.config_file(FLAGS)).stem
        read_sections(FLAGS.config)
    # After the flags: --help needs no jax.
    from unet_jax.runs.run_folder import check_is_run

    for workdir in FLAGS.workdir:
        check_is_run(workdir)

    from unet_jax.analysis.gradients.compare import compare

    compare(FLAGS.workdir, FLAGS.steps, config=FLAGS.config, config_name=name, out=FLAGS.out)


def run() -> None:
    """Runs the command `gradients`."""
    cli.run(main, __doc__, FLAGS)


if __name__ == "__main__":
    run()
