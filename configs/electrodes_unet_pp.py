"""U-Net++ with four levels on the embedded synthetic X-rays: larger and longer than the default.

    unet-jax train --config=electrodes_unet_pp --workdir=runs/electrodes_unet_pp

Hardware: two CPU cores; time and score: not measured yet.
"""

from ml_collections import ConfigDict

from unet_jax.configs import default


def get_config(arg: str = "") -> ConfigDict:
    """The default experiment with one level and 160 steps more; `arg` names a recipe of augmentation."""
    config = default.get_config(arg)
    config.model.widths = (16, 32, 64, 128, 256)
    config.train.update({"num_steps": 480, "eval_every": 160})
    return config
