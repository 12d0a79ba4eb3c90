"""Trains FCN-8s on the synthetic X-rays, with about as many parameters as in `electrodes_unet`. Its skips are sums of scores.

    unet-jax train --config=electrodes_fcn --workdir=runs/electrodes_fcn

Hardware: two CPU cores. Score on test, one seed, after two minutes of steps (--config.train.num_steps=223): pooled IoU
anode 0.534, cathode 0.535, mean 0.534. docs/explanation/results.md has the run.

Here the three scores are trained together. The authors trained in stages: each run starts from the best weights of the run
before and adds a score that begins at zero:

    unet-jax train --config=electrodes_fcn --workdir=runs/fcn_32 --config.model.stride=32
    unet-jax train --config=electrodes_fcn --workdir=runs/fcn_16 --config.model.stride=16 \
        --config.train.init_from=runs/fcn_32
    unet-jax train --config=electrodes_fcn --workdir=runs/fcn_8 --config.train.init_from=runs/fcn_16

The authors divide the learning rate by 100 at each stage: --config.optim.learning_rate=2e-5, then 2e-7.
"""

from ml_collections import ConfigDict

from unet_jax.configs import default


def get_config(arg: str = "") -> ConfigDict:
    """Returns the config.

    Args:
      arg: a recipe of augmentation, or "".
    """
    config = default.get_config(arg)
    config.model = default.fcn()
    return config
