"""U-Net on a folder of battery X-rays, otherwise as `battery_xray`: what the nested skips are compared with.

    unet-jax train --config=battery_xray_unet:FOLDER --workdir=runs/battery_xray_unet

FOLDER as for configs/battery_xray.py.

Hardware: two CPU cores; time and score at equal minutes: docs/results.md.
"""

from ml_collections import ConfigDict

from unet_jax.configs import battery_xray, default


def get_config(arg: str = "") -> ConfigDict:
    """`arg` is the data's folder, as --config.data.root=FOLDER sets it, or FOLDER:RECIPE, with one of augmentation."""
    config = battery_xray.get_config(arg)
    widths = config.model.widths
    config.model = default.unet()
    config.model.widths = widths
    return config
