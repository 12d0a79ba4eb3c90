"""FCN-8s on the embedded synthetic X-rays, about as many parameters as `electrodes_unet`'s: what skips as sums of scores do.

    unet-jax train --config=electrodes_fcn --workdir=runs/electrodes_fcn

Hardware: two CPU cores. Score on test, one seed, with two minutes of steps (--config.train.num_steps=223): pooled IoU
anode .534, cathode .535, mean .534. docs/results.md has the run.

The three scores are trained at once. In stages, as its authors did, each run starts from the best weights of the one before
and adds a score that begins at zero:

    unet-jax train --config=electrodes_fcn --workdir=runs/fcn_32 --config.model.stride=32
    unet-jax train --config=electrodes_fcn --workdir=runs/fcn_16 --config.model.stride=16 \
        --config.train.init_from=runs/fcn_32
    unet-jax train --config=electrodes_fcn --workdir=runs/fcn_8 --config.train.init_from=runs/fcn_16

The authors lower the learning rate by a hundred with each stage: --config.optim.learning_rate=2e-5, then 2e-7.
"""

from ml_collections import ConfigDict

from unet_jax.configs import default


def get_config(arg: str = "") -> ConfigDict:
    """The default experiment with the fully convolutional VGG-16, made narrow; `arg` names a recipe of augmentation."""
    config = default.get_config(arg)
    config.model = default.fcn()
    return config
