"""U-Net on the embedded synthetic X-rays, otherwise as the default: what the nested skips are compared with.

    unet-jax train --config=electrodes_unet --workdir=runs/electrodes_unet

Hardware: two CPU cores, 2 minutes. Score on test, one seed: pooled IoU anode .925, cathode .924, mean .924.
"""

from ml_collections import ConfigDict

from unet_jax.configs import default


def get_config(arg: str = "") -> ConfigDict:
    """The default experiment with the plain network; `arg` names a recipe of augmentation."""
    config = default.get_config(arg)
    config.model = default.unet()
    return config
