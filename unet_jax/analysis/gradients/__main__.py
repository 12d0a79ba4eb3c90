"""Gradient flow: how much of the loss's gradient reaches each convolution, compared between runs and steps.

    python -m unet_jax.analysis.gradients --workdir=runs/electrodes --steps=0,50,latest
    python -m unet_jax.analysis.gradients --workdir=runs/unet --workdir=runs/unet_pp --steps=0,200 --out=runs/gradients
    python -m unet_jax.analysis.gradients --config=configs/electrodes_fc_densenet.py --steps=0 --out=runs/gradients

For each run and step s: the state after s steps, the batch that it is trained on next, and of that batch's loss, augmented
and with dropout as in training, the gradient for each convolution's kernel, before clipping. A state that is no checkpoint
is made again from the nearest one before it, or from step 0, by training on in memory; what that takes is printed first.
The run's data have to be there. On the packages and the number of devices of the run a state is the run's, bit by bit.

The measure is |g| / |w|, a kernel's gradient norm over its norm: the fraction of itself by which gradient descent at rate 1
would change it (the inverse of the trust ratio of You et al., "Large Batch Training of Convolutional Networks", 2017). It
can be compared between layers of any size and scale; |g| and its root mean square depend on both; the CSV has all three.
Depth is the number of convolutions on the longest way from the image. A gradient is of one batch, so it is noisy.

OUT gets gradients.csv (a line for each run, step and layer, with all three) and gradients.png, a panel for each step.
"""

from absl import flags
from ml_collections import config_flags

from unet_jax.runtime import cli


def define_flags() -> None:
    flags.DEFINE_multi_string("workdir", [], "Folder of a run, as given to run_train.py; once for each run.")
    flags.DEFINE_list("steps", ["0", "latest"], "Steps with commas between: numbers from 0, best, latest.")
    flags.DEFINE_string("out", "", "Folder to write into. Default, for one run: WORKDIR/gradients.")
    config_flags.DEFINE_config_file("config", None, "A config to compare with the runs: one more run, from step 0.")


def main() -> None:
    from pathlib import Path

    from unet_jax.analysis.gradients.compare import compare  # after the flags: --help needs no jax

    values = flags.FLAGS
    name = config_flags.get_config_filename(values["config"]) if values.config is not None else ""
    compare(values.workdir, values.steps, config=values.config, config_name=Path(name).stem, out=values.out)


if __name__ == "__main__":
    define_flags()
    cli.run(main, __doc__)
