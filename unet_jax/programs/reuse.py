"""Measures feature reuse: how much each convolution of a trained network weighs each of the maps that it reads.

    unet-jax reuse --workdir=runs/electrodes
    unet-jax reuse --workdir=runs/electrodes --out=runs/reuse --checkpoint=latest

Measured are the nodes x^{i,j} of U-Net++, the decoder nodes of U-Net, and the layers of FC-DenseNet's blocks. For each
source of its first convolution: the mean absolute weight on the slice of channels that came from that source (Huang et al.,
"Densely Connected Convolutional Networks", CVPR 2017, figure 5: the L1 norm, normalised by the number of maps). The next
column divides it by the mean over all that the convolution reads: 1 is even use, 0 none.

OUT gets reuse.csv and reuse.png, a heat map for each grid or block: columns are the readers, rows the sources. Row 1 of a
dense block is its input.

Status: 2 for bad input, with one line that says what.
"""

from absl import flags

from unet_jax.runtime import cli

FLAGS = flags.FlagValues()
flags.DEFINE_string("workdir", None, "Folder of the run, as given to `unet-jax train`.", FLAGS, required=True)
flags.DEFINE_string("checkpoint", "best", "best, latest or a step.", FLAGS)
flags.DEFINE_string("out", "", "Folder to write into. Default: WORKDIR/reuse.", FLAGS)


def main() -> None:
    """Measures the run that the flags name."""
    # After the flags: --help needs no jax.
    from unet_jax.runs.run_folder import check_is_run

    check_is_run(FLAGS.workdir)

    from unet_jax.analysis import reuse

    reuse.measure_run(FLAGS.workdir, checkpoint=FLAGS.checkpoint, out=FLAGS.out)


def run() -> None:
    """Runs the command `reuse`."""
    cli.run(main, __doc__, FLAGS)


if __name__ == "__main__":
    run()
