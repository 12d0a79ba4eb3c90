"""Trains U-Net on the nuclei of the Data Science Bowl 2018. It differs from `nuclei` in the network and the form of the loss.

    unet-jax train --config=nuclei_unet:FOLDER --workdir=runs/nuclei_unet

FOLDER as in `nuclei`. The loss is half the binary cross entropy and the Dice loss, as two terms. So the first can be
replaced by the cross entropy with U-Net's weight map: --config.data.weight_map=True
--config.loss.weights.binary_cross_entropy=0 --config.loss.weights.weighted_cross_entropy=0.5

Hardware: two CPU cores. docs/explanation/results.md has time and score.
"""

from ml_collections import ConfigDict

from unet_jax.configs import default, nuclei


def get_config(arg: str = "") -> ConfigDict:
    """Returns the config.

    Args:
      arg: FOLDER, the folder of the data, as --config.data.root=FOLDER sets it; or FOLDER:RECIPE, with a recipe of
        augmentation.
    """
    config = nuclei.get_config(arg)
    widths = config.model.widths
    config.model = default.unet()
    config.model.update({"widths": widths, "activation": "sigmoid"})
    config.loss.weights.update({"bce_dice": 0.0, "binary_cross_entropy": 0.5, "dice": 1.0})
    return config
