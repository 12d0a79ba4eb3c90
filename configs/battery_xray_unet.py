"""Trains U-Net on a folder of battery X-rays; all else is as in `battery_xray`. It shows what the nested skips of U-Net++ add.

    unet-jax train --config=battery_xray_unet:FOLDER --workdir=runs/battery_xray_unet

FOLDER as in `battery_xray`.

Hardware: two CPU cores. docs/explanation/results.md has the time, and the score after equal minutes.
"""

from ml_collections import ConfigDict

from unet_jax.configs import battery_xray, default


def get_config(arg: str = "") -> ConfigDict:
    """Returns the config.

    Args:
      arg: FOLDER, the folder of the data, as --config.data.root=FOLDER sets it; or FOLDER:RECIPE, with a recipe of
        augmentation.
    """
    config = battery_xray.get_config(arg)
    widths = config.model.widths
    config.model = default.unet()
    config.model.widths = widths
    return config
