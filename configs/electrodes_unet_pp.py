"""Trains U-Net++ with four levels on the synthetic X-rays: a larger network and a longer run than the default.

    unet-jax train --config=electrodes_unet_pp --workdir=runs/electrodes_unet_pp

Hardware: two CPU cores; time and score: not measured yet.
"""

from ml_collections import ConfigDict

from unet_jax.configs import default


def get_config(arg: str = "") -> ConfigDict:
    """Returns the config.

    Args:
      arg: a recipe of augmentation, or "".
    """
    config = default.get_config(arg)
    config.model.widths = (16, 32, 64, 128, 256)
    config.train.update({"num_steps": 480, "eval_every": 160})
    return config
