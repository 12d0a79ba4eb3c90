"""Trains U-Net++ on the nuclei of the Data Science Bowl 2018 with a class between nuclei that touch; else as `nuclei`.

    unet-jax train --config=nuclei_borders:FOLDER --workdir=runs/nuclei_borders

FOLDER as in `nuclei`, with instances/. The classes exclude each other, so the network has a softmax. The loss is the cross entropy
plus the Dice loss of each class. The loss of `nuclei` has one Dice for all channels together, in which the border, 0.3 % of the
pixels, does not count. The weight of the border is 10. In 333 steps it is not learned, in 1000 it is.

Hardware: two CPU cores, 12 minutes. docs/how-to/measure.md says how well touching nuclei are found.
"""

from ml_collections import ConfigDict

from unet_jax.configs import nuclei


def get_config(arg: str = "") -> ConfigDict:
    """Returns the config.

    Args:
      arg: FOLDER, the folder of the data, as --config.data.root=FOLDER sets it; or FOLDER:RECIPE, with a recipe of
        augmentation.
    """
    config = nuclei.get_config(arg)
    config.data.targets = "borders"
    config.model.activation = "softmax"
    config.loss.weights.update({"bce_dice": 0.0, "cross_entropy": 1.0, "dice": 1.0})
    config.loss.class_weights = (1.0, 1.0, 10.0)
    config.train.update({"num_steps": 1000, "eval_every": 500})
    return config
