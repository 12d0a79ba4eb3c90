"""U-Net on the nuclei of the Data Science Bowl 2018: as configs/nuclei.py, but for the network and how its loss is put.

    unet-jax train --config=nuclei_unet:FOLDER --workdir=runs/nuclei_unet

FOLDER as for configs/nuclei.py. The loss is half the binary cross entropy and the Dice, as two terms, so that the first
can be exchanged for that with U-Net's map of weights: --config.data.weight_map=True
--config.loss.weights.binary_cross_entropy=0 --config.loss.weights.weighted_cross_entropy=.5

Hardware: two CPU cores; time and score: docs/results.md.
"""

from ml_collections import ConfigDict

from unet_jax.configs import default, nuclei


def get_config(arg: str = "") -> ConfigDict:
    """`arg` is the data's folder, as --config.data.root=FOLDER sets it, or FOLDER:RECIPE, with one of augmentation."""
    config = nuclei.get_config(arg)
    widths = config.model.widths
    config.model = default.unet()
    config.model.update({"widths": widths, "activation": "sigmoid"})
    config.loss.weights.update({"bce_dice": 0.0, "binary_cross_entropy": 0.5, "dice": 1.0})
    return config
